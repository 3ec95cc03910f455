"""Rows G1 to G6 and G14, halves of the proof: killed around each write of them."""

from __future__ import annotations

import pytest

from actors.testkit import World, stories, tale
from actors.testkit.points import at_commit, step_until

HALF = 259
VICTIMS = pytest.mark.parametrize("victim", ["node", "actor"])
NAMES = pytest.mark.parametrize("name", ["alice", "bob"])


def _public_channel() -> World:
    """Usable, and one block short of the depth at which it may be announced."""
    world = tale.begin()
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    cid = stories.start_opening(alice, bob, tale.CAPACITY_SAT, announce=True)
    stories.until(world, lambda: world.chain.mempool, "the funding transaction is there")
    for _ in range(5):
        world.mine()
    stories.until(
        world, lambda: stories.usable(alice, cid) and stories.usable(bob, cid), "it is usable"
    )
    assert not any(_their_half(world, name) for name in world.nodes)
    world.chain.mine()
    world.tick()
    return world


def _their_half(world: World, name: str) -> object:
    node = world.nodes[name]
    return node.row("monitors", f"core/{tale.the_channel(world)}").their_half


def _both_have_halves(world: World) -> None:
    stories.until(
        world,
        lambda: all(_their_half(world, name) for name in world.nodes),
        "both have both",
    )
    stories.pay(world.nodes["alice"], world.nodes["bob"], 1_000_000, "and the channel works")


@NAMES
@VICTIMS
@pytest.mark.parametrize("when", ["before", "after"])
def test_G1_the_depth_is_known_and_our_half_not_said(name: str, victim: str, when: str) -> None:
    crashed = at_commit(
        _public_channel(), name, "monitors", when, victim,
        lambda w: w.nodes[name].row("monitors", f"watch/{tale.the_channel(w)}").buried,
    )  # fmt: skip

    _both_have_halves(crashed)


@NAMES
@pytest.mark.parametrize("role", ["funding", "monitors", "peers", "*"])
def test_G2_G3_a_half_on_the_wire_is_lost_with_its_sender(name: str, role: str) -> None:
    other = "bob" if name == "alice" else "alice"
    world = _public_channel()

    def said(world: World) -> bool:
        queue = world.wires.get((name, other), ())
        return any(int.from_bytes(data[:2], "big") == HALF for _, data in queue)

    step_until(world, said)
    world.kill(world.nodes[name], role)

    _both_have_halves(world)


@NAMES
@VICTIMS
@pytest.mark.parametrize("when", ["before", "after"])
def test_G4_G6_a_half_is_durable_or_comes_again(name: str, victim: str, when: str) -> None:
    crashed = at_commit(
        _public_channel(), name, "monitors", when, victim, lambda w: _their_half(w, name)
    )

    _both_have_halves(crashed)


def test_G5_the_peers_half_is_there_a_week_before_our_own_depth() -> None:
    """bob's chain backend is behind: alice's half waits on his disk, through a restart."""
    world = _public_channel()
    bob = world.nodes["bob"]
    world.stop(bob, "chain")
    world.settle()
    assert _their_half(world, "bob")
    assert not _their_half(world, "alice")

    world.kill(bob, "monitors")
    world.kill(bob, "peers")
    world.start_again(bob, "chain")

    _both_have_halves(world)


def test_G14_a_half_that_is_said_again_after_a_restart_changes_nothing() -> None:
    world = _public_channel()
    _both_have_halves(world)
    before = world.nodes["bob"].row("monitors", f"core/{tale.the_channel(world)}").their_half

    world.kill(world.nodes["alice"])
    world.settle()
    world.cut(world.nodes["alice"], world.nodes["bob"])
    world.advance(30)

    assert before == _their_half(world, "bob")
    _both_have_halves(world)
