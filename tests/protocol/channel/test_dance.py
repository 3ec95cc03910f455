"""The commitment dance between two machines: balances, any legal order, breaks, rebirths."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.bitcoin.script import p2wpkh
from protocol.bitcoin.transaction import parse
from protocol.channel import commitments, stages
from tests.kit.pair import CAPACITY_SAT, Pair

PREIMAGE = bytes([9]) * 32


def _settled(pair: Pair) -> None:
    for end in (pair.alice, pair.bob):
        assert commitments.quiet(end.channel)
        assert end.live.unacked == () and end.live.unsent == ()
        assert end.disk == end.channel
        assert end.channel.core.ours_msat + end.channel.core.theirs_msat == CAPACITY_SAT * 1000
    assert pair.alice.channel.core.ours_msat == pair.bob.channel.core.theirs_msat


@pytest.mark.parametrize("anchors", [True, False])
def test_one_payment_each_way(anchors: bool) -> None:
    """What is fulfilled moves, on both sides alike."""
    pair = Pair(anchors=anchors)
    pair.ready()

    pair.offer(pair.alice, 50_000_000, PREIMAGE)
    pair.run()
    assert pair.bob.channel.htlcs["theirs/0"].stage == stages.COMMITTED
    pair.settle(pair.bob, 0, preimage=PREIMAGE)
    pair.offer(pair.bob, 7_000_000, PREIMAGE)
    pair.run()
    pair.settle(pair.alice, 0, preimage=PREIMAGE)
    pair.run()

    _settled(pair)
    assert pair.balances() == (600_000_000 - 43_000_000, 400_000_000 + 43_000_000)
    assert pair.alice.preimages == {0: PREIMAGE}


def test_a_failed_htlc_moves_nothing() -> None:
    pair = Pair()
    pair.ready()

    pair.offer(pair.alice, 50_000_000)
    pair.offer(pair.alice, 60_000_000, n=1)
    pair.run()
    pair.settle(pair.bob, 0, failure=b"reason")
    pair.settle(pair.bob, 1, malformed=(bytes(32), 0xC005))
    pair.run()

    _settled(pair)
    assert pair.balances() == (600_000_000, 400_000_000)


def test_nothing_is_said_before_it_is_durable() -> None:
    """commitment_signed and revoke_and_ack wait for the write that they follow from."""
    pair = Pair()
    pair.ready()
    pair.alice.write_allowed = False

    pair.offer(pair.alice, 50_000_000)
    assert not pair.alice.outbox
    pair.alice.write()
    assert len(pair.alice.outbox) == 2

    pair.bob.write_allowed = False
    pair.run()
    assert not pair.bob.outbox
    assert pair.bob.disk.core.our_number == 0
    pair.bob.write()
    assert pair.bob.disk.core.our_number == 1
    assert len(pair.bob.outbox) == 2


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_order_with_breaks_and_rebirths(data: st.DataObject) -> None:
    """Adds, removals, deliveries, cuts and crashes in any order: both ends agree in the end."""
    pair = Pair(anchors=data.draw(st.booleans()))
    pair.ready()
    offered = {pair.alice: 0, pair.bob: 0}
    for _ in range(data.draw(st.integers(1, 40))):
        end = data.draw(st.sampled_from([pair.alice, pair.bob]))
        match data.draw(st.sampled_from(["offer", "deliver", "deliver", "settle", "cut", "crash"])):
            case "offer":
                pair.offer(end, data.draw(st.integers(1, 3_000_000)), PREIMAGE, offered[end])
                offered[end] += 1
            case "deliver":
                pair.step()
            case "settle":
                _settle_one(pair, data)
            case "cut":
                pair.cut()
                pair.connect() if data.draw(st.booleans()) else _reconnect(pair)
            case "crash":
                pair.cut()
                end.crash()
                _reconnect(pair)

    _finish(pair)

    _settled(pair)


def _reconnect(pair: Pair) -> None:
    """Connected, with the reestablish messages still on their way."""
    from protocol.channel import reestablish
    from protocol.features import OUR_INIT

    for end in (pair.alice, pair.bob):
        end.live = end.live.but(features=OUR_INIT)
        end.turn(reestablish.on_connected)


def _settle_one(pair: Pair, data: st.DataObject) -> None:
    for end in (pair.alice, pair.bob):
        for htlc in end.disk.htlcs.values():
            if not htlc.ours and htlc.stage == stages.COMMITTED and htlc.id not in end.resolutions:
                how = data.draw(st.sampled_from(["preimage", "failure"]))
                value = PREIMAGE if how == "preimage" else b"no"
                pair.settle(end, htlc.id, **{how: value})
                return


def _finish(pair: Pair) -> None:
    pair.cut()
    pair.connect()
    for _ in range(50):
        pair.run()
        for end in (pair.alice, pair.bob):
            for htlc in end.disk.htlcs.values():
                if (
                    not htlc.ours
                    and htlc.stage == stages.COMMITTED
                    and htlc.id not in end.resolutions
                ):
                    pair.settle(end, htlc.id, preimage=PREIMAGE)


@pytest.mark.parametrize("simple", [True, False])
@pytest.mark.parametrize("who", ["alice", "bob"])
def test_cooperative_close(who: str, simple: bool) -> None:
    """Both ends hold a closing transaction that pays both."""
    pair = Pair()
    pair.ready()
    if not simple:
        for end in (pair.alice, pair.bob):
            end.live = end.live.but(features=end.live.features - {61})
    closer, other = (pair.alice, pair.bob) if who == "alice" else (pair.bob, pair.alice)
    other.live = other.live.but(
        channel=other.channel.but(
            setup=other.channel.setup.but(
                ours=other.channel.setup.ours.but(shutdown_script=p2wpkh(b"b" * 33))
            )
        )
    )

    pair.close(closer, p2wpkh(b"a" * 33))
    pair.run()

    closings = [end.channel.core.closing_tx for end in (pair.alice, pair.bob)]
    assert None not in closings
    tx = parse(closings[0] or b"")
    assert len(tx.outputs) == 2
    assert CAPACITY_SAT - 3000 < sum(out.amount_sat for out in tx.outputs) < CAPACITY_SAT
    if not simple:
        assert closings[0] == closings[1]


def test_close_waits_for_htlcs() -> None:
    pair = Pair()
    pair.ready()
    pair.offer(pair.alice, 50_000_000, PREIMAGE)
    pair.run()

    pair.close(pair.bob, p2wpkh(b"a" * 33))
    pair.close(pair.alice, p2wpkh(b"b" * 33))
    pair.run()
    assert pair.alice.channel.core.closing_tx is None
    pair.settle(pair.bob, 0, preimage=PREIMAGE)
    pair.run()

    assert pair.alice.channel.core.closing_tx is not None
