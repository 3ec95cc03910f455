"""A monitor alone on a bench, with the channel of a pair."""

from __future__ import annotations

import pytest

from actors.testkit.bench import Bench
from protocol.chain.messages import Spent, WatchSpend
from protocol.channel.messages import (
    AddHtlc,
    Born,
    CancelAdd,
    Durable,
    Held,
    LearnedPreimage,
    Rests,
    Unheld,
    Update,
)
from protocol.monitor import onchain, resting
from protocol.monitor.messages import (
    Addresses,
    Claim,
    ClaimKept,
    Guard,
    Guarding,
    HtlcArrived,
    HtlcRefused,
    Release,
)
from tests.kit.benches import HEIGHT, TIP, bench
from tests.kit.pair import Pair

OTHER = bytes([2]) * 32


def _guarded() -> tuple[Bench, Pair]:
    """A monitor that keeps alice's channel of a pair."""
    pair = Pair()
    monitor = bench("monitors")
    monitor.hear("chain", TIP)
    monitor.hear("funding", Guard(channel=pair.alice.disk, since=HEIGHT), durable=True)
    return monitor, pair


def test_a_monitor_guards_before_it_says_so_and_gives_birth_after_every_restart() -> None:
    monitor, pair = _guarded()
    index = pair.alice.disk.setup.key_index
    assert monitor.take(Guarding) == [Guarding(key_index=index)]
    assert [watch.txid for watch in monitor.take(WatchSpend)] == [
        pair.alice.disk.setup.funding_txid
    ]
    assert [born.channel for born in monitor.take(Born)] == [pair.alice.disk]

    monitor.restart()
    assert not monitor.take(Born)
    monitor.linked("peers")
    assert [born.channel for born in monitor.take(Born)] == [pair.alice.disk]
    assert len(monitor.take(Addresses)) == 1


def test_a_monitor_answers_an_update_once_it_is_written_and_takes_none_twice() -> None:
    monitor, pair = _guarded()
    channel = pair.alice.disk
    update = Update(
        channel_id=channel.id, update_id=1, core=channel.core.but(update_id=1, ready_sent=True)
    )
    monitor.hear("peers", update)
    monitor.hear("peers", update)
    assert monitor.take(Durable) == [Durable(channel_id=channel.id, update_id=1)] * 2
    assert monitor.row(f"core/{channel.id.hex()}").ready_sent

    # a gap is a defect: nothing may be built on it
    with pytest.raises(AssertionError, match="a gap"):
        monitor.hear("peers", update.but(update_id=3, core=channel.core.but(update_id=3)))


def test_what_follows_from_an_update_that_was_put_aside_is_not_heard() -> None:
    monitor, pair = _guarded()
    channel, place = pair.alice.disk, f"watch/{pair.alice.disk.id.hex()}"
    monitor.driver.rows.write(
        place, monitor.row(place).but(stopped=("update 1",), alarm=resting.DEFECT)
    )
    first, second = (
        Update(channel_id=channel.id, update_id=n, core=channel.core.but(update_id=n))
        for n in (1, 2)
    )
    monitor.take(Born)
    monitor.hear("peers", second)
    monitor.linked("peers")
    assert not monitor.take(Durable) and not monitor.take(Born)

    # the one that was put aside is heard after all: the channel lives again
    monitor.hear("peers", first)
    assert [one.update_id for one in monitor.take(Durable)] == [1]
    assert len(monitor.take(Born)) == 1 and monitor.row(place).alarm is None


def test_a_preimage_that_was_put_aside_lets_nothing_follow() -> None:
    """Else the update after it would forget the HTLC, and with it the money upstream."""
    monitor, pair = _guarded()
    channel, place = pair.alice.disk, f"watch/{pair.alice.disk.id.hex()}"
    fact = LearnedPreimage(channel_id=channel.id, htlc_id=0, preimage=bytes(32))
    update = Update(channel_id=channel.id, update_id=1, core=channel.core.but(update_id=1))
    monitor.put_aside("peers", fact)
    assert monitor.take(Rests) and "put aside" in monitor.row(place).alarm
    monitor.take(Born)

    monitor.hear("peers", update)
    monitor.linked("peers")
    assert not monitor.take(Durable) and not monitor.take(Born)

    letters = monitor.ask("listdeadletters")
    assert letters is not None
    monitor.ask("retrydeadletter", id=letters.result[0]["id"])
    assert monitor.take(Born) and monitor.row(place).alarm is None
    monitor.hear("peers", update)
    assert monitor.take(Durable)


def test_what_was_put_aside_of_a_channel_is_heard_in_its_order() -> None:
    """Else the later one would be taken for heard, and be nowhere."""
    monitor, pair = _guarded()
    channel, place = pair.alice.disk, f"watch/{pair.alice.disk.id.hex()}"
    fact = LearnedPreimage(channel_id=channel.id, htlc_id=0, preimage=bytes(32))
    update = Update(
        channel_id=channel.id, update_id=1, core=channel.core.but(update_id=1, ready_sent=True)
    )
    monitor.put_aside("peers", fact)
    monitor.pass_time(1)
    monitor.put_aside("peers", update)
    monitor.restart()
    found = monitor.ask("listdeadletters")
    assert found is not None
    ids = {row["message"]: row["id"] for row in found.result}

    refused = monitor.ask("retrydeadletter", id=ids["Update"])
    assert refused is not None and ids["LearnedPreimage"] in refused.text
    for message in ("LearnedPreimage", "Update"):
        heard = monitor.ask("retrydeadletter", id=ids[message])
        assert heard is not None and heard.code is None
    assert monitor.row(f"core/{channel.id.hex()}").ready_sent
    assert monitor.row(place).stopped == () and monitor.take(Born)


def test_an_alarm_of_another_kind_outlives_what_was_put_aside() -> None:
    monitor, pair = _guarded()
    place = f"watch/{pair.alice.disk.id.hex()}"
    fact = LearnedPreimage(channel_id=pair.alice.disk.id, htlc_id=0, preimage=bytes(32))
    monitor.put_aside("peers", fact)
    monitor.driver.rows.write(place, monitor.row(place).but(alarm="the peer closed it alone"))
    found = monitor.ask("listdeadletters")
    assert found is not None
    monitor.ask("retrydeadletter", id=found.result[0]["id"])

    assert monitor.row(place).alarm == "the peer closed it alone"


def test_an_end_that_was_put_aside_lets_nothing_follow() -> None:
    monitor, pair = _guarded()
    channel = pair.alice.disk
    watch = onchain.funding_watch(channel.setup, 0)
    spent = Spent(
        reason=watch.reason, txid=watch.txid, vout=watch.vout, raw=bytes(10), height=HEIGHT
    )
    monitor.put_aside("chain", spent)

    assert monitor.take(Rests)
    monitor.hear("peers", Update(channel_id=channel.id, update_id=1, core=channel.core))
    assert not monitor.take(Durable)


def test_a_wish_that_was_put_aside_leaves_the_channel_alone() -> None:
    monitor, pair = _guarded()
    channel = pair.alice.disk
    monitor.put_aside("payments", CancelAdd(channel_id=channel.id, origin="ab/1/1"))

    assert not monitor.take(Rests)
    assert "put aside" in monitor.row(f"watch/{channel.id.hex()}").alarm


def test_a_wish_outlives_a_restart_until_it_is_taken_back() -> None:
    monitor, pair = _guarded()
    wish = AddHtlc(
        channel_id=pair.alice.disk.id, origin="ab/1/1", amount_msat=1000, payment_hash=bytes(32),
        cltv_expiry=HEIGHT + 30, last_height=HEIGHT + 30, onion=bytes(1366),
    )  # fmt: skip
    monitor.hear("payments", wish, durable=True)
    assert monitor.take(AddHtlc) == [wish]
    monitor.restart()
    monitor.linked("peers")
    (born,) = monitor.take(Born)[-1:]
    assert born.adds == (wish,)

    monitor.hear(
        "payments", CancelAdd(channel_id=wish.channel_id, origin=wish.origin), durable=True
    )
    assert monitor.take(AddHtlc) == [wish.but(withdrawn=True)]
    refused = ((wish.origin, "withdrawn", True),)
    core = pair.alice.disk.core.but(update_id=1)
    update = Update(channel_id=wish.channel_id, update_id=1, core=core, refused=refused)
    monitor.hear("peers", update)
    assert [one.origin for one in monitor.take(HtlcRefused)] == [wish.origin]
    assert not monitor.rows("add_htlc")


def test_a_claim_of_which_nothing_is_left_here_holds_nobody() -> None:
    monitor, pair = _guarded()
    cid = pair.alice.disk.id
    claim = Claim(
        channel_id=cid, payment_id=bytes(32), preimage=bytes(32), parts=((cid, 0), (OTHER, 0)),
        amount_msat=1000, label="x",
    )  # fmt: skip
    monitor.hear("payments", claim, durable=True)

    # payments may go on: the HTLC is gone already, with its preimage
    assert [one.channel_id for one in monitor.take(ClaimKept)] == [cid]
    assert not monitor.take(Held) and not monitor.rows("claim")
    hold = f"claim/{claim.payment_id.hex()}"
    monitor.hear("payments", Release(channel_id=cid, hold=hold), durable=True)
    assert monitor.take(Unheld) == [Unheld(channel_id=cid, hold=hold)]


def test_a_claim_over_two_channels_is_kept_and_holds_until_it_is_released() -> None:
    pair, monitor = Pair(), bench("monitors")
    monitor.hear("chain", TIP)
    monitor.hear("funding", Guard(channel=pair.bob.disk, since=HEIGHT), durable=True)
    write = pair.bob.write

    def written_here_too() -> None:
        for update in pair.bob.pending:
            monitor.hear("peers", update)
        write()

    pair.bob.write = written_here_too  # type: ignore[method-assign]
    pair.ready()
    preimage = bytes([5]) * 32
    pair.offer(pair.alice, 20_000_000, preimage)
    pair.run()
    cid = pair.bob.disk.id
    assert [one.htlc_id for one in monitor.take(HtlcArrived)] == [0]

    claim = Claim(
        channel_id=cid, payment_id=bytes(32), preimage=preimage, parts=((cid, 0), (OTHER, 0)),
        amount_msat=1000, label="x",
    )  # fmt: skip
    monitor.hear("payments", claim, durable=True)
    assert [one.channel_id for one in monitor.take(ClaimKept)] == [cid]
    hold = f"claim/{claim.payment_id.hex()}"
    assert monitor.take(Held) == [Held(channel_id=cid, hold=hold)]

    # born again, it is held as before, and knows the preimage
    monitor.take(Born)
    monitor.restart()
    monitor.linked("peers")
    (born,) = monitor.take(Born)
    assert born.holds == (hold,)
    assert [one.preimage for one in born.resolutions] == [preimage]
    monitor.hear("payments", Release(channel_id=cid, hold=hold), durable=True)
    assert monitor.take(Unheld) == [Unheld(channel_id=cid, hold=hold)]
