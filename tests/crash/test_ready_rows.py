"""Rows F14 to F16, G10 and G11: channel_ready and a half proof, early, lost or wrong."""

from __future__ import annotations

import pytest

from actors.testkit.node import World, sentences
from actors.testkit.node.stories import tale
from actors.testkit.node.wires import on_wire
from actors.testkit.points import step_until
from tests.crash.test_funding_rows import _confirmed_once, _usable
from tests.crash.test_gossip_rows import HALF, _both_have_halves, _public_channel, _their_half
from tests.kit.wires import say

READY = 36
NAMES = pytest.mark.parametrize("name", ["alice", "bob"])


def _points(world: World, sender: str, receiver: str, kind: int) -> list[bytes]:
    queue = world.wires.get((sender, receiver), ())
    return [data for _, data in queue if int.from_bytes(data[:2], "big") == kind]


@NAMES
@pytest.mark.parametrize("role", ["peers", "monitors", "funding", "*"])
def test_F14_channel_ready_leaves_with_its_mark_and_the_same_point_again(
    name: str, role: str
) -> None:
    """The mark is durable before the message leaves; said again, it carries the same point."""
    other = "bob" if name == "alice" else "alice"
    world = step_until(_confirmed_once(), lambda w: on_wire(w, name, other, READY))
    (first,) = _points(world, name, other, READY)
    assert world.nodes[name].row("monitors", f"core/{tale.the_channel(world)}").ready_sent

    world.kill(world.nodes[name], role)
    world.cut(world.nodes["alice"], world.nodes["bob"])

    step_until(world, lambda w: on_wire(w, name, other, READY))
    assert _points(world, name, other, READY) == [first]
    _usable(world)


@NAMES
def test_F15_channel_ready_is_lost_in_the_socket(name: str) -> None:
    """Both numbers are 1: it is said again after channel_reestablish."""
    other = "bob" if name == "alice" else "alice"
    world = step_until(_confirmed_once(), lambda w: on_wire(w, name, other, READY))

    world.cut(world.nodes["alice"], world.nodes["bob"])

    _usable(world)


@NAMES
@pytest.mark.parametrize("role", ["peers", "monitors", "*"])
def test_F16_the_peers_channel_ready_comes_before_our_own_depth(name: str, role: str) -> None:
    """Our chain is behind; what the peer said is on disk, and needs not be said again."""
    world = _confirmed_once()
    node = world.nodes[name]
    world.stop(node, "chain")
    key = f"core/{tale.the_channel(world)}"
    step_until(world, lambda w: w.nodes[name].row("monitors", key).ready_received)
    assert not node.row("monitors", key).ready_sent

    if role == "*":
        world.start_again(node, "chain")
        world.kill(node)
    else:
        world.kill(node, role)
        assert node.row("monitors", key).ready_received
        world.start_again(node, "chain")

    _usable(world)


def _half_on_its_way() -> tuple[World, bytes]:
    """bob's half, on the wire to alice."""
    world = step_until(_public_channel(), lambda w: on_wire(w, "bob", "alice", HALF))
    (half,) = _points(world, "bob", "alice", HALF)
    return world, half


@pytest.mark.parametrize("victim", ["", "peers", "monitors", "gossiper", "*"])
def test_G10_a_half_that_is_said_again_is_answered_with_ours(victim: str) -> None:
    """The peer has lost what it knew of the announcement, and is connected again."""
    world, half = _half_on_its_way()
    _both_have_halves(world)
    both, cid = [world.nodes["alice"], world.nodes["bob"]], tale.the_channel(world)
    if victim:
        world.kill(world.nodes["alice"], victim)
    world.cut(*both)
    sentences.until(world, lambda: all(sentences.usable(x, cid) for x in both), "again usable")

    say(world, "bob", "alice", half)

    step_until(world, lambda w: on_wire(w, "alice", "bob", HALF))


@pytest.mark.parametrize("victim", ["peers", "monitors", "*"])
def test_G11_a_wrong_half_is_dropped_and_ours_is_kept(victim: str) -> None:
    """Its last byte was changed; the true one is taken after a restart."""
    world, half = _half_on_its_way()
    queue = world.wires["bob", "alice"]
    wrong = half[:-1] + bytes([half[-1] ^ 1])
    changed = [(n, wrong if data == half else data) for n, data in queue]
    queue.clear()
    queue.extend(changed)
    for _ in range(5):
        world.step()
    assert not _their_half(world, "alice")

    world.kill(world.nodes["alice"], victim)

    _both_have_halves(world)
