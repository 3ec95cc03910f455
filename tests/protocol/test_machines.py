"""Each machine alone on a bench: what it hears, keeps and says, and what a restart leaves of it."""

from __future__ import annotations

import pytest

from actors.testkit.bench import Bench
from protocol.bitcoin.transaction import Outpoint, Transaction, TxIn, TxOut, serialize
from protocol.chain.messages import Broadcast, Sent, WatchSpend
from protocol.chain.port import Poll, Polled, Send, Submitted
from protocol.channel.messages import AddHtlc, Born, CancelAdd, Durable, Held, Unheld, Update
from protocol.channel.proof import Side
from protocol.crypto.hashes import sha256
from protocol.funding.messages import IsConnected, PeerState
from protocol.gossip.messages import OwnChannel, OwnTerms, Since
from protocol.machine import Answer
from protocol.monitor.messages import (
    Addresses,
    Claim,
    ClaimKept,
    Guard,
    Guarding,
    HtlcArrived,
    HtlcRefused,
    Release,
    ReportState,
    StateReported,
)
from protocol.onion import payload, sphinx
from protocol.onion.payload import HopPayload
from protocol.peer.port import Connected, Listen, Write
from protocol.wallet.messages import CoinsRefused, NewScript, ReserveCoins, ScriptIs
from protocol.wallet.port import Adopt, Build, Built, Examined, Reveal, Revealed
from tests.kit.benches import HEIGHT, SYSTEM, TIP, bench, settings
from tests.kit.pair import Pair

# ---- payments -----------------------------------------------------------------------------------

AMOUNT = 50_000_000
CHANNEL, OTHER = bytes([1]) * 32, bytes([2]) * 32


def _payments() -> Bench:
    """With a whole snapshot, at a height."""
    found = bench("payments")
    assert found.delivered == [("monitors", ReportState())]
    found.hear("monitors", StateReported(of=1, used=False), durable=True)
    found.hear("chain", TIP)
    return found


def _result(answer: Answer | None) -> object:
    assert answer is not None and answer.code is None, answer
    return answer.result


def _arrives(made: dict[str, str], channel: bytes, amount_msat: int, height: int) -> HtlcArrived:
    """An HTLC for an invoice of ours."""
    hop = HopPayload(
        amount_msat=amount_msat,
        cltv_expiry=height,
        payment_secret=bytes.fromhex(made["payment_secret"]),
        total_msat=AMOUNT,
    )
    payment_hash = bytes.fromhex(made["payment_hash"])
    hops = [(settings().node_id, payload.encode(hop))]
    return HtlcArrived(
        channel_id=channel, htlc_id=0, amount_msat=amount_msat, payment_hash=payment_hash,
        cltv_expiry=height, onion=sphinx.wrap(bytes([7]) * 32, hops, payment_hash)[0],
    )  # fmt: skip


def test_payments_claims_a_set_on_all_its_channels_and_is_paid_when_all_have_it() -> None:
    payments = _payments()
    made = payments.ask("invoice", label="x", amount_msat=AMOUNT, description="x")
    terms = _result(made)
    assert isinstance(terms, dict)
    payments.take(ReportState)

    payments.hear("monitors", _arrives(terms, CHANNEL, AMOUNT // 2, HEIGHT + 50), durable=True)
    assert not payments.take(Claim), "half of it is not it"
    payments.restart()
    payments.hear("chain", TIP)
    payments.hear("monitors", _arrives(terms, OTHER, AMOUNT // 2, HEIGHT + 50), durable=True)

    claims = payments.take(Claim)
    assert sorted(claim.channel_id for claim in claims) == [CHANNEL, OTHER]
    assert {claim.parts for claim in claims} == {((CHANNEL, 0), (OTHER, 0))}
    assert {sha256(claim.preimage).hex() for claim in claims} == {terms["payment_hash"]}

    kept = [ClaimKept(channel_id=one.channel_id, payment_id=one.payment_id) for one in claims]
    payments.hear("monitors", kept[0], durable=True)
    assert payments.row("invoice/x").status == "unpaid" and not payments.take(Release)
    payments.restart()
    payments.hear("monitors", kept[1], durable=True)
    assert payments.row("invoice/x").status == "paid"
    assert [one.channel_id for one in payments.take(Release)] == [CHANNEL, OTHER]


def test_payments_says_again_what_a_monitor_may_not_have_heard() -> None:
    payments = _payments()
    terms = _result(payments.ask("invoice", label="x", amount_msat=AMOUNT, description="x"))
    assert isinstance(terms, dict)
    payments.deaf.add("monitors")
    payments.hear("monitors", _arrives(terms, CHANNEL, AMOUNT, HEIGHT + 50), durable=True)
    (claim,) = payments.take(Claim)

    payments.restart()
    assert not payments.take(Claim), "there is no link yet"
    payments.linked("monitors")
    assert payments.take(Claim) == [claim]
    payments.deaf.clear()
    payments.linked("monitors")
    payments.take(Claim)
    payments.linked("monitors")
    assert not payments.take(Claim), "it has been acknowledged"


# ---- monitors -----------------------------------------------------------------------------------


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
    monitor.driver.rows.write(place, monitor.row(place).but(stopped=1, alarm="put aside"))
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
    assert born.offers == (wish,)

    monitor.hear(
        "payments", CancelAdd(channel_id=wish.channel_id, origin=wish.origin), durable=True
    )
    assert monitor.take(AddHtlc) == [wish.but(withdrawn=True)]
    refused = ((wish.origin, "withdrawn", True),)
    core = pair.alice.disk.core.but(update_id=1)
    update = Update(channel_id=wish.channel_id, update_id=1, core=core, refused=refused)
    monitor.hear("peers", update)
    assert [one.origin for one in monitor.take(HtlcRefused)] == [wish.origin]
    assert not monitor.rows("offer")


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
    assert [one.preimage for one in born.settles] == [preimage]
    monitor.hear("payments", Release(channel_id=cid, hold=hold), durable=True)
    assert monitor.take(Unheld) == [Unheld(channel_id=cid, hold=hold)]


# ---- chain and wallet ---------------------------------------------------------------------------

COIN = Outpoint(bytes([3]) * 32, 0)
SPEND = serialize(Transaction((TxIn(COIN),), (TxOut(1000, b"\x51"),)))


def test_chain_sends_again_what_was_not_mined_and_answers_its_owner() -> None:
    chain = bench("chain")
    (poll,) = chain.take(Poll)
    chain.report(Polled(asked=poll.height, keep=5, blocks=(), feerate_per_kw=1000))
    chain.hear("funding", Broadcast(purpose="1", raw=SPEND, report=True), durable=True)
    assert [order.raw for order in chain.take(Send)] == [SPEND]

    chain.restart()
    assert [order.raw for order in chain.take(Send)] == [SPEND]
    chain.report(Submitted(owner="funding", purpose="1", raw=SPEND, refused=""))
    assert [(one.purpose, one.refused) for one in chain.take(Sent)] == [("1", "")]


def test_a_purpose_has_one_script_for_ever() -> None:
    wallet = bench("wallet")
    assert len(wallet.take(Adopt)) == 1
    wallet.hear("funding", NewScript(purpose="1"))
    assert wallet.take(Reveal) == [Reveal(purpose="1")]
    wallet.report(Revealed(purpose="1", script=b"\x51", address="a", external=0, internal=-1))
    assert wallet.take(ScriptIs) == [ScriptIs(purpose="1", script=b"\x51")]

    wallet.restart()
    wallet.take(Adopt)
    wallet.hear("funding", NewScript(purpose="1"))
    assert wallet.take(ScriptIs) == [ScriptIs(purpose="1", script=b"\x51")]
    assert not wallet.take(Reveal)


def test_coins_that_do_not_suffice_are_refused_and_nothing_is_kept() -> None:
    wallet = bench("wallet")
    wallet.hear("chain", TIP)
    wallet.report(Examined(height=HEIGHT, hash=bytes(32), time=0, ours=()))
    wallet.hear(
        "funding", ReserveCoins(purpose="1", outputs=((b"\x51", 1000),), feerate_per_kw=1000)
    )
    (order,) = wallet.take(Build)
    assert order.request.purpose == "1"
    wallet.report(Built(purpose="1", raw=None, reason="not enough", external=-1, internal=-1))

    assert [one.purpose for one in wallet.take(CoinsRefused)] == ["1"]
    assert not wallet.rows("reservation")


# ---- peers, funding, gossiper, router -----------------------------------------------------------

PEER = settings("bob").node_id


def test_peers_listens_when_all_monitors_have_said_their_channels() -> None:
    peers = bench("peers", system=SYSTEM.sized(monitors=2))
    assert not peers.take(Listen)
    peers.hear("monitors-1", Addresses(known=(), of=2))
    assert not peers.take(Listen)
    peers.hear("monitors-2", Addresses(known=(), of=2))
    assert len(peers.take(Listen)) == 1


def test_whoever_connects_is_greeted() -> None:
    peers = bench("peers")
    peers.report(Connected(node_id=PEER, inbound=True, host="127.0.0.1", port=9735))

    (greeting,) = peers.take(Write)
    assert (greeting.node_id, greeting.message[:2]) == (PEER, b"\x00\x10")
    peers.hear("funding", IsConnected(peer=PEER, purpose="1", place=0))
    (state,) = peers.take(PeerState)
    assert state.absent, "it has not said its init yet"


def test_funding_asks_whether_the_peer_is_there_before_anything_is_kept() -> None:
    funding = bench("funding")
    funding.hear("chain", TIP)
    wanted = {"id": PEER.hex(), "amount_sat": 100_000, "announce": False, "push_msat": 0}
    assert funding.ask("fundchannel", destinations=[wanted]) is None
    (question,) = funding.take(IsConnected)
    assert question.peer == PEER
    absent = PeerState(
        peer=PEER, purpose=question.purpose, place=0, features=frozenset(), absent="gone"
    )
    funding.hear("peers", absent)

    (answer,) = funding.answers.values()
    assert answer.code is not None and "gone" in answer.text
    assert not funding.rows("opening")


def test_the_router_asks_for_what_is_new_after_its_start() -> None:
    router = bench("router")
    router.linked("gossiper")

    (since,) = router.take(Since)
    assert since.serial == 0
    refused = router.ask("getroute", id=PEER.hex(), amount_msat=1000, riskfactor=10)
    assert refused is not None and refused.code == 205


def test_a_gossiper_keeps_our_channels_and_tells_payments_its_terms_after_every_restart() -> None:
    gossiper = bench("gossiper")
    gossiper.hear("chain", TIP)
    side = Side(node_id=PEER, funding_key=PEER)
    own = OwnChannel(
        channel_id=CHANNEL, scid=bytes(8), txid=bytes(32), theirs=side, their_half=None,
        called=bytes(8), key_index=1, capacity_sat=1_000_000, least_msat=1, most_msat=10**9,
    )  # fmt: skip
    gossiper.hear("monitors", own)
    (terms,) = gossiper.take(OwnTerms)
    assert (terms.channel_id, terms.peer, terms.public) == (CHANNEL, PEER, False)

    gossiper.restart()
    gossiper.linked("payments")
    assert gossiper.take(OwnTerms) == [terms]
