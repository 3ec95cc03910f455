"""Connections are few: peers with a channel have theirs, of the others the oldest leaves."""

from __future__ import annotations

import pytest

from actors.testkit.node import Node, World, sentences
from actors.testkit.node.stories import tale
from protocol.crypto import secp
from protocol.machine import Abandoned, Answer
from protocol.peer.port import Connected

GUESTS = 3


def _strangers(count: int) -> list[bytes]:
    return [secp.public_key(bytes([number]) * 32) for number in range(50, 50 + count)]


def _come(node: Node, stranger: bytes) -> None:
    driver = node.drivers["peers"]
    driver.hear_port(Connected(node_id=stranger, inbound=True, host="127.0.0.1", port=9))
    while driver.busy:
        driver.flush()
    node.world.settle()


def _there(node: Node) -> set[bytes]:
    return {row.node_id for row in node.rows("peers", "~peer").values()}


def _few_places() -> tuple[World, Node, Node]:
    world = tale.begin()
    tale.open_it(world)
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    alice.drivers["peers"].machine.us.guests = GUESTS
    return world, alice, bob


def test_strangers_take_no_place_of_a_peer_with_a_channel() -> None:
    world, alice, bob = _few_places()
    strangers = _strangers(GUESTS + 4)

    for stranger in strangers:
        _come(alice, stranger)
    assert _there(alice) == {bob.id, *strangers[-GUESTS:]}
    assert sentences.usable(alice, tale.the_channel(world))

    world.cut(alice, bob)
    world.advance(10)
    cid = tale.the_channel(world)
    sentences.until(world, lambda: sentences.usable(alice, cid), "it comes back to its place")


@pytest.mark.parametrize("opening", [1, GUESTS])
def test_an_opening_under_way_keeps_its_place_unless_all_have_one(opening: int) -> None:
    """open_channel costs a peer nothing: with one each, a thousand could keep everybody out."""
    world, alice, bob = _few_places()
    strangers = _strangers(GUESTS + 1)
    for stranger in strangers[:GUESTS]:
        _come(alice, stranger)
    for stranger in strangers[:opening]:
        row = alice.row("peers", f"~peer/{stranger.hex()}")
        busy = row.but(negotiations=(bytes(32),))
        alice.drivers["peers"].rows.write(f"~peer/{stranger.hex()}", busy)

    _come(alice, strangers[-1])

    gone = strangers[1] if opening == 1 else strangers[0]
    assert _there(alice) == {bob.id, *strangers} - {gone}


def test_a_wait_that_nobody_waits_for_is_forgotten() -> None:
    world, alice, bob = _few_places()
    made = sentences.ask(
        bob, "payments", "invoice", label="x", amount_msat=1_000_000, description="x"
    )
    world.ask(bob, "payments", "waitinvoice", number="gone", label="x")
    world.ask(bob, "payments", "waitinvoice", number="stays", label="x")
    world.settle()
    assert len(bob.rows("payments", "~wait")) == 2

    bob.drivers["payments"].hear("api", 0, Abandoned(id="api/gone"))
    assert [row.ask.id for row in bob.rows("payments", "~wait").values()] == ["api/stays"]
    sentences.ask(alice, "payments", "pay", bolt11=made["bolt11"])

    sentences.until(world, lambda: "stays" in bob.answers, "whoever still waits is told")
    assert isinstance(bob.answers["stays"], Answer) and "gone" not in bob.answers
