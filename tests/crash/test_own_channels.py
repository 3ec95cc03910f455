"""What we ask for relaying: set, told, kept through crashes; and how a peer's absence is told."""

from __future__ import annotations

from typing import Any

import pytest

from actors.testkit.node import World, sentences
from actors.testkit.node.stories import diamond, public, tale
from protocol.gossip import announce as gossip
from protocol.gossip import own_channels as gossip_own
from protocol.gossip import policies
from protocol.gossip.messages import FromWire, OwnChannel
from protocol.wire.gossip import DISABLED, ChannelUpdate

VICTIMS = pytest.mark.parametrize("victim", ["*", "gossiper"])


def _opened(*, announce: bool) -> tuple[World, str]:
    world = tale.begin()
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    cid = sentences.open_channel(alice, bob, tale.CAPACITY_SAT, announce=announce)
    for _ in range(4):
        world.mine()
    if announce:
        sentences.until(
            world, lambda: all(public.knows_all(world, one) for one in world.nodes), "announced"
        )
    return world, cid


def _update(world: World, name: str, of: str) -> ChannelUpdate:
    """What the graph of a node says of alice's or bob's end."""
    node = world.nodes[name]
    ((key, edge),) = node.rows("gossiper", "edge").items()
    way = edge.nodes.index(world.nodes[of].id)
    return ChannelUpdate.decode(node.row("gossiper", f"update/{key[5:]}/{way}").raw[2:])


@VICTIMS
def test_a_policy_that_is_set_is_told_to_others_and_outlives_a_crash(victim: str) -> None:
    world, cid = _opened(announce=True)
    alice = world.nodes["alice"]

    answer = sentences.ask(alice, "gossiper", "setchannel", id=cid, feebase=7, feeppm=3)
    world.kill(alice, victim)

    assert answer["channels"][0]["fee_base_msat"] == 7
    sentences.until(world, lambda: _update(world, "bob", "alice").fee_base_msat == 7, "told")
    assert _update(world, "bob", "alice").fee_proportional_millionths == 3
    world.kill(alice, victim)
    world.advance()
    assert _update(world, "alice", "alice").fee_base_msat == 7


def test_limits_that_are_set_stay_within_the_channel() -> None:
    world, cid = _opened(announce=True)
    alice = world.nodes["alice"]

    (row,) = sentences.ask(alice, "gossiper", "setchannel", id=cid, htlcmin=0, htlcmax=10**15)[
        "channels"
    ]

    assert row["maximum_htlc_out_msat"] == tale.CAPACITY_SAT * 1000
    assert row["minimum_htlc_out_msat"] == 1


@pytest.mark.parametrize("victim", ["", "*", "gossiper"])
def test_an_end_whose_peer_stays_away_is_disabled_and_enabled_when_it_is_back(victim: str) -> None:
    """Not at once: connections break all the time. A restart while it is away forgets nothing."""
    world, _ = _opened(announce=True)
    alice, bob = world.nodes["alice"], world.nodes["bob"]

    def disabled() -> bool:
        return bool(_update(world, "alice", "alice").channel_flags & DISABLED)

    for role in list(bob.drivers):
        world.stop(bob, role)
    world.advance(gossip_own.DISABLE_SECONDS / 2)
    assert not disabled()
    if victim:
        world.kill(alice, victim)
    world.advance(gossip_own.DISABLE_SECONDS + 1)
    assert disabled()

    for role in tuple(alice.drivers):
        world.start(bob, role)
    for role in tuple(alice.drivers):
        world._announce(bob, role)
    sentences.until(world, lambda: not disabled(), "enabled again")
    sentences.until(
        world,
        lambda: not _update(world, "bob", "alice").channel_flags & DISABLED,
        "and bob has heard of it",
    )


@VICTIMS
def test_the_peer_of_a_private_channel_is_told_of_our_policy_and_nobody_else(victim: str) -> None:
    world, cid = _opened(announce=False)
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    sentences.ask(alice, "gossiper", "setchannel", id=bob.id.hex(), feebase=9)

    def theirs() -> Any:
        own = bob.row("gossiper", f"own/{cid}")
        return own is not None and own.theirs

    sentences.until(world, lambda: theirs() and theirs().fee_base_msat == 9, "bob knows")
    world.kill(bob, victim)

    sentences.until(world, lambda: theirs() and theirs().fee_base_msat == 9, "and still knows")
    for node in (alice, bob):
        assert not node.rows("gossiper", "edge")
    shown = sentences.ask(bob, "gossiper", "listpolicies")[cid]["updates"]
    assert shown["remote"]["fee_base_msat"] == 9
    assert shown["local"]["fee_base_msat"] == policies.BASE_MSAT


@VICTIMS
def test_what_everybody_hears_is_newer_than_what_the_peer_was_told_alone(victim: str) -> None:
    """Else the peer (LDK does) takes the public update for an old one, and passes nothing on."""
    world = tale.begin()
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    cid = sentences.open_channel(alice, bob, tale.CAPACITY_SAT, announce=True)
    began = int(world.now)
    for _ in range(5):
        world.kill(bob, "peers")
        sentences.until(world, lambda: sentences.connected(alice, bob), "alice tells bob again")
    world.kill(alice, victim)
    told_at = alice.row("gossiper", f"own/{cid}").told_at
    assert told_at > began
    world.now = began  # the same second still

    for _ in range(5):
        world.mine()
    sentences.until(
        world, lambda: all(public.knows_all(world, one) for one in world.nodes), "announced"
    )

    assert _update(world, "alice", "alice").timestamp > told_at


def test_a_channel_that_we_do_not_have_cannot_be_set() -> None:
    world, _ = _opened(announce=False)

    with pytest.raises(sentences.Refused, match="no such usable channel"):
        sentences.ask(world.nodes["alice"], "gossiper", "setchannel", id="1x2x3", feebase=9)


@pytest.mark.parametrize("announce", [True, False])
def test_a_policy_that_comes_before_our_own_monitors_know_the_channel_is_not_lost(
    announce: bool,
) -> None:
    """The peer says it once, right behind its channel_ready, and never again."""
    world = tale.begin()
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    cid = sentences.start_opening(alice, bob, tale.CAPACITY_SAT, announce=announce)
    sentences.confirm(world, alice)
    sentences.until(world, lambda: bob.row("gossiper", f"own/{cid}"), "bob's gossiper knows it")
    sentences.until(world, lambda: _theirs(bob, cid), "and alice's policy")
    facts = bob.row("gossiper", f"own/{cid}").facts.into(OwnChannel)
    raw = announce_update(alice, facts.scid)

    disk = bob.disks["gossiper"]
    for key in [key for key in disk.data if key.startswith(b"r/")]:
        del disk.data[key]
    world.stop(bob, "monitors")
    world.stop(bob, "gossiper")
    world.start_again(bob, "gossiper")
    world.settle()
    bob.drivers["gossiper"].hear("peers", 0, FromWire(peer=alice.id, message=raw))
    assert not bob.rows("gossiper", "own")
    bob.drivers["gossiper"].hear("monitors", 0, facts)

    assert _theirs(bob, cid) or bob.row("gossiper", f"update/{facts.scid.hex()}/{_way(alice, bob)}")


def _theirs(node: Any, cid: str) -> Any:
    own = node.row("gossiper", f"own/{cid}")
    return own is not None and own.theirs


def _way(one: Any, other: Any) -> int:
    return int(one.id > other.id)


def announce_update(node: Any, scid: bytes) -> bytes:
    """As the node itself signs it."""
    own = next(iter(node.rows("gossiper", "own").values()))
    machine = node.drivers["gossiper"].machine
    way = gossip.direction(node.id, own.facts.theirs.node_id)
    now = int(node.world.now)
    return gossip.update(machine.node.chain_hash, scid, way, now, own.policy, machine.node.secret)


@pytest.mark.parametrize("victim", ["monitors-1", "monitors-2", "gossiper"])
def test_a_monitor_that_restarts_says_nothing_of_the_channels_of_another(victim: str) -> None:
    """Each keeps its own: what one does not have is not gone."""
    world = World(monitors=2)
    alice, bob = world.node("alice"), world.node("bob")
    diamond.linked(world, [("alice", "bob")])
    assert len(alice.rows("gossiper", "own")) == len(bob.rows("gossiper", "own")) == 1

    for node in (alice, bob):
        world.kill(node, victim)
    world.advance(1)

    assert len(alice.rows("gossiper", "own")) == len(bob.rows("gossiper", "own")) == 1
