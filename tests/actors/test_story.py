"""The whole story in the kit: open, pay both ways, close; then with kills."""

from __future__ import annotations

import pytest

from actors.testkit.node import World, sentences
from actors.testkit.node.node import ROLES


def test_open_pay_close() -> None:
    world = World()
    alice, bob = world.node("alice"), world.node("bob")
    before = sentences.balance_sat(alice) + sentences.balance_sat(bob)

    cid = sentences.open_channel(alice, bob, 1_000_000)
    for n in range(3):
        sentences.pay(alice, bob, 100_000_000 + n, f"to bob {n}")
    for n in range(3):
        sentences.pay(bob, alice, 10_000_000, f"to alice {n}")
    sentences.close(alice, cid)
    world.mine()

    assert [view.ended for view in sentences.channels(alice)] == ["mutual"]
    assert [view.ended for view in sentences.channels(bob)] == ["mutual"]
    fees = before - sentences.balance_sat(alice) - sentences.balance_sat(bob)
    assert 0 < fees < 3000
    assert sentences.balance_sat(bob) - 2 * 50 * 100_000_000 == 270_000


@pytest.mark.parametrize("role", [*ROLES, "*"])
@pytest.mark.parametrize("who", ["alice", "bob"])
def test_a_kill_between_payments(role: str, who: str) -> None:
    world = World()
    alice, bob = world.node("alice"), world.node("bob")
    cid = sentences.open_channel(alice, bob, 1_000_000)
    sentences.pay(alice, bob, 100_000_000, "one")

    world.kill(world.nodes[who], role)
    sentences.pay(alice, bob, 100_000_000, "two")
    sentences.pay(bob, alice, 10_000_000, "three")

    view = sentences.channels(bob)[0]
    assert (cid, 190_000_000) == (view.id, view.core.ours_msat)
