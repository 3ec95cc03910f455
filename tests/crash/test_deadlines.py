"""A payment whose time is over: its payer hears "nothing is in flight", and that stays true."""

from __future__ import annotations

from typing import Any

import pytest

from actors import vocabulary
from actors.testkit import World, stories, tale
from actors.testkit.points import step_until
from actors.testkit.world import Link
from protocol.channel.items import Offer, Update

QUESTION = "pay in time"


def _paying_somebody_who_is_away() -> World:
    """alice's offer waits for bob, who has gone; she gives him two seconds."""
    world = tale.begin()
    tale.open_it(world)
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    invoice = stories.ask(bob, "payments", "invoice", label="x", amount_msat=10**7, description="x")
    world.stop(bob, "peers")
    world.settle()
    world.ask(alice, "payments", "pay", number=QUESTION, bolt11=invoice["bolt11"], retry_for=2)
    world.settle()
    return world


def _under_way(world: World, link: Link) -> Any:
    queue = world.links.get(link)
    if not queue or queue[0][1][0] != "item":
        return None
    return vocabulary.decode_item(queue[0][1][2])


def _back_and_check(world: World) -> None:
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    stories.until(world, lambda: QUESTION in alice.answers, "the payer is answered")
    assert alice.answers[QUESTION].code == 210
    world.start_again(bob, "peers")
    for _ in range(60):
        world.advance(1)
    assert bob.row("payments", "invoice/x").status == "unpaid"
    assert [row.status for row in alice.rows("payments", "payment").values()] == ["failed"]
    stories.pay(alice, bob, 1_000_000, "the channel works")


@pytest.mark.parametrize("victim", ["monitors", "peers", "payments", "*"])
def test_a_withdrawal_on_its_way_survives_a_kill(victim: str) -> None:
    world = _paying_somebody_who_is_away()

    def withdrawn(world: World) -> bool:
        item = _under_way(world, ("alice", "monitors", "peers"))
        return isinstance(item, Offer) and item.withdrawn

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
