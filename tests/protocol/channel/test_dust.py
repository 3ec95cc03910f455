"""Too many HTLCs of theirs without an output: what is above the limit is failed (BOLT 2)."""

from __future__ import annotations

import pytest

from actors.testkit.node import World, sentences
from actors.testkit.node.stories import diamond
from protocol.channel import limits, machine
from protocol.wire.commitment import UpdateAddHtlc
from tests.kit.pair import Pair

SMALL_MSAT = 353_000  # the dust limit is 354 sat


def _added(*amounts_msat: int) -> list[bool]:
    """bob hears of these; -> which of them are above the limit."""
    pair = Pair()
    pair.ready()
    for number, amount_msat in enumerate(amounts_msat):
        add = UpdateAddHtlc(
            channel_id=pair.bob.channel.id,
            id=number,
            amount_msat=amount_msat,
            payment_hash=bytes(32),
            cltv_expiry=500,
            onion_routing_packet=bytes(1366),
        )
        pair.bob.turn(lambda turn, add=add: machine.hear_peer(turn, add))
    assert pair.bob.channel.core.failed is None
    return [pair.bob.channel.htlcs[f"theirs/{n}"].dusty for n in range(len(amounts_msat))]


def test_small_htlcs_are_marked_from_the_first_that_is_too_much() -> None:
    fits = limits.MAX_DUST_EXPOSURE_MSAT // SMALL_MSAT

    assert _added(*[SMALL_MSAT] * (fits + 3)) == [False] * fits + [True] * 3


def test_an_htlc_with_an_output_of_its_own_is_never_too_much() -> None:
    fits = limits.MAX_DUST_EXPOSURE_MSAT // SMALL_MSAT

    assert _added(*[SMALL_MSAT] * fits, 60_000_000) == [False] * (fits + 1)


def test_what_is_too_much_is_failed_and_not_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    alice, bob = world.node("alice"), world.node("bob")
    diamond.linked(world, [("alice", "bob")])
    made = sentences.invoice(bob, 200_000, "small")
    monkeypatch.setattr(limits, "overflows_dust", lambda *_: True)

    with pytest.raises(sentences.Refused, match="temporary_channel_failure"):
        sentences.ask(alice, "payments", "pay", bolt11=made["bolt11"])

    (row,) = bob.rows("payments", "invoice").values()
    assert row.status == "unpaid"
    diamond.at_rest(world)
