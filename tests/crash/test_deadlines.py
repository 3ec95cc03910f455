"""A payment whose time is over: its payer hears "nothing is in flight", and that stays true."""

from __future__ import annotations

from typing import Any

import pytest

from actors.testkit.node import World, sentences
from actors.testkit.node.stories import diamond, tale
from actors.testkit.node.world import Link
from actors.testkit.points import step_until
from actors.tree import NODE
from protocol.channel.messages import AddHtlc, Update

QUESTION = "pay in time"


def _paying_somebody_who_is_away() -> World:
    """alice's offer waits for bob, who has gone; she gives him two seconds."""
    world = tale.begin()
    tale.open_it(world)
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    invoice = sentences.ask(
        bob, "payments", "invoice", label="x", amount_msat=10**7, description="x"
    )
    world.stop(bob, "peers")
    world.settle()
    world.ask(alice, "payments", "pay", number=QUESTION, bolt11=invoice["bolt11"], retry_for=2)
    world.settle()
    return world


def _under_way(world: World, link: Link) -> Any:
    queue = world.links.get(link)
    if not queue or queue[0][1][0] != "item":
        return None
    return NODE.decode(queue[0][1][2])


def _back_and_check(world: World) -> None:
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    sentences.until(world, lambda: QUESTION in alice.answers, "the payer is answered")
    assert alice.answers[QUESTION].code == 210
    world.start_again(bob, "peers")
    for _ in range(60):
        world.advance(1)
    assert bob.row("payments", "invoice/x").status == "unpaid"
    assert [row.status for row in alice.rows("payments", "payment").values()] == ["failed"]
    sentences.pay(alice, bob, 1_000_000, "the channel works")


@pytest.mark.parametrize("victim", ["monitors", "peers", "payments", "*"])
def test_a_withdrawal_on_its_way_survives_a_kill(victim: str) -> None:
    world = _paying_somebody_who_is_away()

    def withdrawn(world: World) -> bool:
        item = _under_way(world, ("alice", "monitors", "peers"))
        return isinstance(item, AddHtlc) and item.withdrawn

    step_until(world, withdrawn)
    world.kill(world.nodes["alice"], victim)

    _back_and_check(world)


@pytest.mark.parametrize("victim", ["monitors", "peers", "payments", "*"])
def test_a_refusal_on_its_way_survives_a_kill(victim: str) -> None:
    """The monitor dies before it writes: what it still calls an offer is not made again."""
    world = _paying_somebody_who_is_away()

    def refused(world: World) -> bool:
        item = _under_way(world, ("alice", "peers", "monitors"))
        return isinstance(item, Update) and bool(item.refused)

    step_until(world, refused)
    world.kill(world.nodes["alice"], victim)

    _back_and_check(world)


@pytest.mark.parametrize("last", ["payments", "monitors", "chain", "peers"])
def test_a_relay_that_has_waited_too_long_is_not_offered_on(last: str) -> None:
    """bob is down for 150 blocks with an offer to carol in hand, and whatever of him wakes last: it
    would expire long before the one upstream, or both at once, and what is claimed is lost."""
    world = diamond.line_world()
    alice, bob, carol = (world.nodes[name] for name in ("alice", "bob", "carol"))
    made = sentences.ask(
        carol, "payments", "invoice", label="x", amount_msat=50_000_000, description="x"
    )
    world.stop(carol, "peers")
    world.settle()
    world.ask(alice, "payments", "pay", number="paid", bolt11=made["bolt11"], retry_for=3600)
    sentences.until(world, lambda: bob.rows("monitors", "add_htlc"), "bob wants to offer it on")
    for node in (alice, bob):
        for role in node.roles:
            world.stop(node, role)
    world.chain.mine(150)
    world.now += 25 * 3600

    for role in alice.roles:
        world.start(alice, role)
    for role in alice.roles:
        world._announce(alice, role)
    world.start_again(carol, "peers")
    late = [role for role in bob.roles if role.startswith(last)]
    for role in [role for role in bob.roles if role not in late]:
        world.start(bob, role)
    for role in [role for role in bob.roles if role not in late]:
        world._announce(bob, role)
    world.settle()
    for _ in range(20):
        world.advance()
    for role in late:
        world.start_again(bob, role)
    sentences.until(
        world, lambda: not bob.rows("monitors", "add_htlc"), "nothing is wished any more"
    )
    world.advance(5)

    assert not carol.rows("monitors", "htlc")
    (forward,) = bob.rows("payments", "forward").values()
    assert forward.status == "local_failed"
    sentences.until(world, lambda: not alice.rows("monitors", "htlc"), "alice has it back")
