"""What a peer may make us keep, and what it may make our commitment cost."""

from __future__ import annotations

import random

import pytest

from actors.engine import links
from actors.engine.table import Table
from actors.tree import NODE
from protocol.channel import commitments, headroom, limits, machine, stages
from protocol.channel.messages import AddHtlc, Born, ResolveHtlc, Update
from protocol.channel.operation import MAX_REASON
from protocol.channel.state import Channel, Fee, Htlc
from protocol.crypto.hashes import sha256
from protocol.errors import PeerFault
from protocol.machine import Step
from protocol.monitor import htlcs
from protocol.monitor.rows import RESOLUTIONS
from protocol.onion import sphinx
from protocol.wire.commitment import UpdateFailHtlc
from tests.kit import enforcing
from tests.kit.pair import HEIGHT, End, Pair


def _offer(pair: Pair, end: End, count: int, amount_msat: int) -> None:
    adds = [
        AddHtlc(
            channel_id=end.channel.id,
            origin=f"o{number}",
            amount_msat=amount_msat,
            payment_hash=sha256(number.to_bytes(4, "big")),
            cltv_expiry=500,
            last_height=HEIGHT,
            onion=bytes(1366),
        )
        for number in range(count)
    ]
    end.turn(*[lambda turn, one=one: machine.hear_monitor(turn, one) for one in adds])
    pair.run()


@pytest.mark.parametrize(("size", "kept"), [(292, 292), (MAX_REASON, MAX_REASON), (65_491, 0)])
def test_a_failure_message_is_bounded_when_it_is_heard(size: int, kept: int) -> None:
    pair = Pair()
    pair.ready()
    _offer(pair, pair.alice, 1, 10_000_000)
    fail = UpdateFailHtlc(channel_id=pair.alice.channel.id, id=0, reason=bytes(size))

    pair.alice.turn(lambda turn: machine.hear_peer(turn, fail))

    assert pair.alice.channel.core.failed is None
    assert len(pair.alice.channel.htlcs["ours/0"].failure or b"") == kept


def test_a_channel_full_of_failures_fits_into_a_frame() -> None:
    """483 relayed failures as long as they may be, on their way upstream, in what is kept of it."""
    pair = Pair(push_msat=500_000_000)
    pair.ready()
    _offer(pair, pair.alice, 483, 50_000)
    bob = pair.bob
    longest = bytes(MAX_REASON)
    rows, cid = Table(), bob.channel.id
    resolutions = {
        number: ResolveHtlc(channel_id=bob.channel.id, htlc_id=number, failure=longest)
        for number in range(483)
    }
    for number, settle in resolutions.items():
        rows.set(RESOLUTIONS, (cid, number), settle)
    updates: list[Update] = []
    bob.write_allowed = False
    bob.turn(
        *[lambda turn, one=one: machine.hear_monitor(turn, one) for one in resolutions.values()]
    )
    updates += bob.pending
    step = Step(rows)
    for update in updates:
        for htlc in update.htlcs:
            htlcs.moved(step, cid, htlc)
    bob.write()
    kept = tuple(RESOLUTIONS.below(step, cid).values())

    assert len(kept) == 483
    assert sum(len(one.failure) for one in kept) == 0, "it stands in the HTLC"
    assert sum(len(htlc.failure or b"") for htlc in bob.disk.htlcs.values()) == 483 * MAX_REASON
    born = NODE.encode(Born(channel=bob.disk, resolutions=kept))
    assert len(born) < links.MAX_FRAME // 16


def _unbounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """bob offers whatever he likes."""
    monkeypatch.setattr(headroom.Headroom, "_take", lambda self, offered: None)


@pytest.mark.parametrize(("anchors", "amount_msat"), [(False, 1_900_000), (True, 600_000)])
def test_an_htlc_of_which_we_could_not_pay_the_fee_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, anchors: bool, amount_msat: int
) -> None:
    """alice opened and has little: each HTLC of bob makes her commitment dearer."""
    pair = Pair(anchors=anchors, push_msat=980_000_000)
    pair.ready()
    _unbounded(monkeypatch)

    with pytest.raises(PeerFault, match="we, the opener, could not pay") as caught:
        _offer(pair, pair.bob, 483, amount_msat)

    assert not caught.value.fatal
    alice = pair.alice
    tx = enforcing.signed(alice.disk, alice.secrets)
    paid_sat = 1_000_000 - sum(out.amount_sat for out in tx.outputs)
    agreed = commitments.feerate(alice.disk.core, ours=True, we_opened=True)
    assert paid_sat * 1000 // tx.weight >= agreed - 1


def test_what_an_honest_peer_offers_is_always_taken() -> None:
    """It stops by itself before our fee is in danger."""
    pair = Pair(push_msat=980_000_000)
    pair.ready()

    _offer(pair, pair.bob, 483, 600_000)

    assert pair.alice.channel.core.failed is None
    assert 10 < len(pair.alice.channel.htlcs) < 483
    assert limits.opener_cost_sat(pair.alice.channel, 1000, len(pair.alice.channel.htlcs)) <= 20_000


def test_an_empty_failure_is_unreadable_and_nothing_worse() -> None:
    secrets = [bytes([number]) * 32 for number in (1, 2)]

    assert sphinx.read_failure(secrets, b"") is None
    assert sphinx.obfuscate(secrets[0], b"") == b""


@pytest.mark.parametrize("anchors", [False, True])
def test_who_has_plenty_can_afford_what_is_looked_at_closely(anchors: bool) -> None:
    """HTLCs of both sides in any state, at any feerate: the short look never says more."""
    dice = random.Random(anchors)
    pair = Pair(anchors=anchors, push_msat=200_000_000)
    pair.ready()
    said = []
    for _ in range(400):
        channel = _any_state(pair.alice if dice.random() < 0.5 else pair.bob, dice)
        plenty = limits._has_plenty(channel, ours=False)
        affordable = limits._affordable_msat(channel) >= 0
        said.append((plenty, affordable))
        assert affordable or not plenty
        if channel.setup.we_opened and limits._has_plenty(channel, ours=True):
            assert limits._own_fee_left_msat(channel) >= 0
    assert {(True, True), (False, True), (False, False)} <= set(said)


def _any_state(end: End, dice: random.Random) -> Channel:
    htlcs = {}
    for number in range(dice.randrange(0, 40)):
        preimage = bytes(32) if dice.random() < 0.5 else None
        stage = dice.randrange(stages.PROPOSED, stages.GONE)
        htlc = Htlc(
            ours=dice.random() < 0.5,
            id=number,
            amount_msat=dice.choice((300_000, 5_000_000, 40_000_000)),
            payment_hash=bytes(32),
            cltv_expiry=500,
            onion=b"",
            stage=stage,
            preimage=preimage if stage >= stages.REMOVING else None,
        )
        htlcs[htlc.key] = htlc
    rates = [dice.randrange(250, 20_000) for _ in range(dice.randrange(1, 4))]
    fees = [Fee(feerate_per_kw=rates[0], stage=stages.COMMITTED)]
    fees += [Fee(feerate_per_kw=rate, stage=stages.PROPOSED) for rate in rates[1:]]
    core = end.channel.core.but(fees=tuple(fees))
    return end.channel.but(htlcs=htlcs, core=core)
