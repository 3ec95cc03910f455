"""The whole story in the kit: open, pay both ways, close; then with kills."""

from __future__ import annotations

import pytest

from actors.testkit import World, stories
from actors.testkit.node import ROLES


def test_open_pay_close() -> None:
    world = World()
    alice, bob = world.node("alice"), world.node("bob")
    before = stories.balance_sat(alice) + stories.balance_sat(bob)

    cid = stories.open_channel(alice, bob, 1_000_000)
    for n in range(3):
        stories.pay(alice, bob, 100_000_000 + n, f"to bob {n}")
    for n in range(3):
        stories.pay(bob, alice, 10_000_000, f"to alice {n}")
    stories.close(alice, cid)
    world.mine()

    assert [view.ended for view in stories.channels(alice)] == ["mutual"]
    assert [view.ended for view in stories.channels(bob)] == ["mutual"]
    fees = before - stories.balance_sat(alice) - stories.balance_sat(bob)
    assert 0 < fees < 3000
    assert stories.balance_sat(bob) - 2 * 50 * 100_000_000 == 270_000


@pytest.mark.parametrize("role", [*ROLES, "*"])
@pytest.mark.parametrize("who", ["alice", "bob"])
def test_a_kill_between_payments(role: str, who: str) -> None:
    world = World()
    alice, bob = world.node("alice"), world.node("bob")
    cid = stories.open_channel(alice, bob, 1_000_000)
    stories.pay(alice, bob, 100_000_000, "one")

    world.kill(world.nodes[who], role)
    stories.pay(alice, bob, 100_000_000, "two")
    stories.pay(bob, alice, 10_000_000, "three")

    view = stories.channels(bob)[0]
    assert (cid, 190_000_000) == (view.id, view.core.ours_msat)
