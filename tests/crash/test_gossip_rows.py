"""Rows G1 to G7, G9, G13, G14 and F17 to F20: halves, wholes, and a graph that lost something."""

from __future__ import annotations

import pytest

from actors.testkit.node import World, sentences
from actors.testkit.node.stories import public, tale
from actors.testkit.points import at_commit, step_until
from actors.tree import NODE
from protocol.gossip.rows import Said

HALF = 259
VICTIMS = pytest.mark.parametrize("victim", ["node", "actor"])
NAMES = pytest.mark.parametrize("name", ["alice", "bob"])


def _public_channel() -> World:
    """Usable, and one block short of the depth at which it may be announced."""
    world = tale.begin()
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    cid = sentences.start_opening(alice, bob, tale.CAPACITY_SAT, announce=True)
    sentences.until(world, lambda: world.chain.mempool, "the funding transaction is there")
    for _ in range(5):
        world.mine()
    sentences.until(
        world, lambda: sentences.usable(alice, cid) and sentences.usable(bob, cid), "it is usable"
    )
    assert not any(_their_half(world, name) for name in world.nodes)
    world.chain.mine()
    world.tick()
    return world


def _their_half(world: World, name: str) -> object:
    node = world.nodes[name]
    return node.row("monitors", f"core/{tale.the_channel(world)}").their_half


def _both_have_halves(world: World) -> None:
    sentences.until(
        world,
        lambda: all(_their_half(world, name) for name in world.nodes),
        "both have both",
    )
    sentences.pay(world.nodes["alice"], world.nodes["bob"], 1_000_000, "and the channel works")


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


def _announced() -> World:
    world = _public_channel()
    sentences.until(
        world, lambda: all(public.knows_all(world, name) for name in world.nodes), "announced"
    )
    return world


@NAMES
@VICTIMS
@pytest.mark.parametrize("when", ["before", "after"])
def test_G7_G9_F17_F18_both_halves_are_there_and_the_whole_is_not_told(
    name: str, victim: str, when: str
) -> None:
    """Killed around the write of the edge: it is made anew, or told again, and once."""
    crashed = at_commit(
        _public_channel(), name, "gossiper", when, victim,
        lambda w: w.nodes[name].rows("gossiper", "edge"),
    )  # fmt: skip

    sentences.until(
        crashed, lambda: all(public.knows_all(crashed, one) for one in crashed.nodes), "announced"
    )


def _lose(world: World, name: str, wanted: str) -> None:
    """Rows of that kind are gone from the disk; the actor starts from what is left."""
    disk = world.nodes[name].disks["gossiper"]
    for key in [key for key in disk.data if key.startswith(b"r/" + wanted.encode())]:
        del disk.data[key]
    world.kill(world.nodes[name], "gossiper")


@NAMES
@pytest.mark.parametrize("lost", ["edge/", "said/", "update/", "node/", "own/", "epoch", ""])
def test_F19_F20_G13_what_the_graph_has_lost_is_found_and_repaired(name: str, lost: str) -> None:
    """The edge, all that was said (proof, policies, nodes), our own records, or everything."""
    world = _announced()
    before = public.announcements(world.nodes[name])

    _lose(world, name, lost)

    sentences.until(world, lambda: public.knows_all(world, name), "it knows again what it had lost")
    assert before == public.announcements(world.nodes[name])


@NAMES
@pytest.mark.parametrize("way", ["0", "1"])
def test_F19_one_policy_alone_is_lost(name: str, way: str) -> None:
    """Ours is made anew and told to the peer, theirs is asked for."""
    world = _announced()
    scid = next(iter(world.nodes[name].rows("gossiper", "edge"))).removeprefix("edge/")

    _lose(world, name, f"update/{scid}/{way}")

    sentences.until(
        world, lambda: all(public.knows_all(world, one) for one in world.nodes), "it is whole"
    )


@NAMES
def test_F19_who_is_asked_for_a_policy_dies_with_the_question(name: str) -> None:
    """With all questions, also the filter: it says its own again when it is back."""
    world = _announced()
    other = world.nodes["bob" if name == "alice" else "alice"]
    ((key, edge),) = world.nodes[name].rows("gossiper", "edge").items()
    world.stop(other, "gossiper")

    _lose(world, name, f"update/{key[5:]}/{edge.nodes.index(other.id)}")
    world.settle()
    world.start_again(other, "gossiper")
    world.settle()

    assert public.knows_all(world, name)


@NAMES
def test_a_filter_outlives_the_gossiper_that_heard_it(name: str) -> None:
    """A peer says it once on a connection, and relies on it."""
    world = _announced()
    other = world.nodes["bob" if name == "alice" else "alice"]
    key = f"~filter/{other.id.hex()}"
    before = world.nodes[name].row("gossiper", key)

    world.kill(world.nodes[name], "gossiper")
    world.settle()

    assert before is not None
    assert before == world.nodes[name].row("gossiper", key)


def test_F20_an_edge_without_its_signatures_counts_as_missing() -> None:
    world = _announced()
    alice = world.nodes["alice"]
    ((name, raw),) = public.announcements(alice).items()
    key = name.replace("edge/", "said/")
    spoiled = Said(raw=raw[:2] + bytes(256) + raw[258:])
    disk = alice.disks["gossiper"].data
    disk[b"r/" + key.encode()] = NODE.keeps["gossiper"].encode(key, spoiled)

    world.kill(alice, "gossiper")

    sentences.until(
        world, lambda: alice.row("gossiper", key).raw == raw, "the proof is whole again"
    )


def test_a_closed_channel_leaves_the_graph_after_72_blocks() -> None:
    world = _announced()
    alice = world.nodes["alice"]
    script = alice.purse.script(100)
    params = {"script": script.hex(), "feerate_per_kw": 1000}
    sentences.ask(alice, "monitors", "close", channel_id=tale.the_channel(world), **params)
    world.mine()
    for _ in range(70):
        world.mine()
    assert [edge.spent_height is None for edge in alice.rows("gossiper", "edge").values()] == [
        False
    ]

    for _ in range(4):
        world.mine()

    for kind in ("edge", "node", "own"):
        assert not alice.rows("gossiper", kind)
    left = (b"r/said/", b"r/update/")
    assert not [key for key in alice.disks["gossiper"].data if key.startswith(left)]
    assert not public.public_graph(alice)
