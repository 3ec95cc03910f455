"""Rows F1 to F13: an opening that is interrupted at each of its steps, with two victims each."""

from __future__ import annotations

from typing import Any

import pytest

from actors.testkit.node import World, sentences
from actors.testkit.node.stories import tale
from actors.testkit.node.wires import on_wire
from actors.testkit.points import at_commit, step_until
from actors.tree import NODE
from protocol.monitor.messages import PeerAddress

OPEN, ACCEPT, CREATED, SIGNED = 32, 33, 34, 35


def _begun() -> World:
    """alice is connected to bob, and has been asked to open."""
    world = tale.begin()
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    sentences.connect(alice, bob)
    world.settle()
    world.ask(
        alice,
        "funding",
        "fundchannel",
        number="first try",
        **sentences.to_open(bob, tale.CAPACITY_SAT, announce=False),
    )
    return world


def _nothing_is_left(world: World) -> None:
    """No transaction, no reserved coin, no opening on the opener's side; a second one works."""
    world.settle()
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    assert not world.chain.mempool
    assert not alice.rows("funding", "opening")
    assert not alice.rows("funding", "~nego")
    sentences.until(world, lambda: not alice.rows("wallet", "reservation"), "coins are free")
    assert sentences.balance_sat(alice) == 100 * 100_000_000
    cid = sentences.open_channel(alice, bob, 500_000)
    sentences.pay(alice, bob, 1_000_000, "it works")
    openings = [row.channel_id.hex() for row in bob.rows("funding", "opening").values()]
    assert openings == [cid], "a zombie is left at bob"
    assert [cid] == [view.id for view in sentences.channels(alice)]


def _kill(world: World, node: str, victim: str, role: str) -> None:
    # the asker of the API goes with its node
    if victim == "node" or role == "funding":
        world.nodes[node].asked.clear()
    world.kill(world.nodes[node], "*" if victim == "node" else role)


VICTIMS = pytest.mark.parametrize("victim", ["node", "actor"])


@VICTIMS
def test_F1_opener_dies_after_open_channel(victim: str) -> None:
    world = step_until(_begun(), lambda w: on_wire(w, "alice", "bob", OPEN))

    _kill(world, "alice", victim, "funding")

    _nothing_is_left(world)


@VICTIMS
def test_F2_accepter_dies_after_accept_channel(victim: str) -> None:
    world = step_until(_begun(), lambda w: on_wire(w, "bob", "alice", ACCEPT))
    world.nodes["alice"].asked.clear()

    _kill(world, "bob", victim, "funding")

    _nothing_is_left(world)


@VICTIMS
def test_F3_opener_dies_after_funding_created(victim: str) -> None:
    world = step_until(_begun(), lambda w: on_wire(w, "alice", "bob", CREATED))

    _kill(world, "alice", victim, "funding")

    _nothing_is_left(world)


def _opening(world: World, name: str) -> Any:
    return next(iter(world.nodes[name].rows("funding", "opening").values()), None)


@VICTIMS
def test_F4_accepter_dies_before_its_write(victim: str) -> None:
    world = _begun()
    crashed = at_commit(
        world, "bob", "funding", "before", victim, lambda w: _opening(w, "bob") is not None
    )
    crashed.nodes["alice"].asked.clear()

    assert _opening(crashed, "bob") is None
    assert not on_wire(crashed, "bob", "alice", SIGNED)
    _nothing_is_left(crashed)


@VICTIMS
def test_F5_accepter_remembers_after_its_write(victim: str) -> None:
    """It waits; when the opener has forgotten, an error at reestablish ends the zombie."""
    crashed = at_commit(
        _begun(), "bob", "funding", "after", victim,
        lambda w: (o := _opening(w, "bob")) is not None and o.state == "confirming",
    )  # fmt: skip
    crashed.nodes["alice"].asked.clear()

    assert _opening(crashed, "bob").state == "confirming"
    _nothing_is_left(crashed)


@pytest.mark.parametrize("role", ["funding", "monitors", "*"])
def test_F6_accepters_two_stores_are_apart(role: str) -> None:
    """Funding durable and the monitor not: told again, and never signed before."""
    world = step_until(_begun(), lambda w: _opening(w, "bob") is not None)
    bob = world.nodes["bob"]
    assert not bob.rows("monitors", "watch") and not on_wire(world, "bob", "alice", SIGNED)
    world.nodes["alice"].asked.clear()

    world.kill(bob, role)
    while world.step():
        guarded = len(bob.rows("monitors", "watch")) == 1
        assert guarded or not on_wire(world, "bob", "alice", SIGNED)

    assert len(bob.rows("monitors", "watch")) == 1


def _address_under_way(world: World) -> bool:
    queue = world.links.get(("alice", "peers", "monitors"))
    if not queue or queue[0][1][0] != "item":
        return False
    return isinstance(NODE.decode(queue[0][1][2]), PeerAddress)


def test_F8_the_opener_still_knows_where_to_dial() -> None:
    """The monitors die before they have heard the address, the node dies with the opening."""
    world = tale.begin()
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    world.ask(alice, "peers", "connect", id=bob.id.hex(), host="bob", port=9735)
    step_until(world, _address_under_way)
    world.kill(alice, "monitors")
    world.settle()
    world.ask(
        alice, "funding", "fundchannel", number="first try",
        **sentences.to_open(bob, tale.CAPACITY_SAT, announce=False),
    )  # fmt: skip
    crashed = at_commit(
        world, "alice", "funding", "after", "node", lambda w: _opening(w, "alice") is not None
    )
    sentences.until(crashed, lambda: crashed.chain.mempool, "it is broadcast")
    crashed.chain.mine(3)

    _usable(crashed)


@VICTIMS
def test_F7_opener_dies_before_it_writes_funding_signed(victim: str) -> None:
    world = _begun()
    crashed = at_commit(
        world, "alice", "funding", "before", victim, lambda w: _opening(w, "alice") is not None
    )
    if victim == "node":
        crashed.nodes["alice"].asked.clear()
    else:
        # the question is asked again while the connection is made anew: it is answered
        sentences.until(crashed, lambda: not crashed.nodes["alice"].asked, "an answer")
        assert crashed.nodes["alice"].answers["first try"].code is not None
        sentences.until(crashed, lambda: crashed.wires, "they are connected again")
    _nothing_is_left(crashed)


@VICTIMS
def test_F8_opener_dies_between_its_write_and_the_broadcast(victim: str) -> None:
    crashed = at_commit(
        _begun(), "alice", "funding", "after", victim,
        lambda w: (o := _opening(w, "alice")) is not None and o.state == "confirming",
    )  # fmt: skip
    assert not crashed.chain.mempool

    sentences.until(crashed, lambda: crashed.chain.mempool, "it is broadcast after the restart")
    assert len(crashed.chain.mempool) == 1


def test_F9_a_broadcast_that_got_lost_is_repeated() -> None:
    world = step_until(_begun(), lambda w: w.chain.mempool)
    world.settle()
    world.chain.mempool.clear()

    world.mine()

    sentences.until(world, lambda: world.chain.mempool, "sent again with the next block")
    assert _opening(world, "alice").state == "confirming"


@VICTIMS
def test_F10_no_broadcast_before_the_openers_monitor_is_durable(victim: str) -> None:
    def guarded(world: World) -> bool:
        return bool(world.nodes["alice"].rows("monitors", "watch"))

    crashed = at_commit(_begun(), "alice", "monitors", "before", victim, guarded)

    assert not crashed.chain.mempool
    sentences.until(crashed, lambda: crashed.chain.mempool, "guarded again, then broadcast")
    assert guarded(crashed)


def _confirmed_once() -> World:
    world = _begun()
    step_until(world, lambda w: w.chain.mempool)
    world.settle()
    world.chain.mine(3)
    return world


@pytest.mark.parametrize("name", ["alice", "bob"])
@VICTIMS
def test_F11_a_confirmation_before_its_write_comes_again(name: str, victim: str) -> None:
    crashed = at_commit(
        _confirmed_once(), name, "funding", "before", victim,
        lambda w: (o := _opening(w, name)) is not None and o.state == "confirmed",
    )  # fmt: skip

    _usable(crashed)


@pytest.mark.parametrize("name", ["alice", "bob"])
@VICTIMS
def test_F12_between_confirmed_and_open(name: str, victim: str) -> None:
    crashed = at_commit(
        _confirmed_once(), name, "funding", "after", victim,
        lambda w: (o := _opening(w, name)) is not None and o.state == "confirmed",
    )  # fmt: skip

    _usable(crashed)


@pytest.mark.parametrize("name", ["alice", "bob"])
@pytest.mark.parametrize("role", ["peers", "monitors", "*"])
def test_F13_confirmed_and_channel_ready_not_sent(name: str, role: str) -> None:
    def locked(world: World) -> bool:
        watch = next(iter(world.nodes[name].rows("monitors", "watch").values()))
        return watch.confirmed is not None

    world = step_until(_confirmed_once(), locked)

    world.kill(world.nodes[name], role)

    _usable(world)


def _usable(world: World) -> None:
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    cid = tale.the_channel(world)
    sentences.until(
        world, lambda: sentences.usable(alice, cid) and sentences.usable(bob, cid), "it is usable"
    )
    sentences.pay(alice, bob, 100_000_000, "over the new channel")
    assert 1 == len(sentences.channels(alice)) == len(sentences.channels(bob))


def test_the_peers_address_is_kept_in_the_same_write_as_the_channel() -> None:
    """A node that dies before its first note of the address was stored dials again all the same."""
    world = _begun()
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    key = f"address/{bob.id.hex()}"
    del alice.disks["monitors"].data[b"r/" + key.encode()]
    alice.drivers["monitors"].rows.write(key, None)
    step_until(world, lambda w: alice.rows("monitors", "watch"))

    world.kill(alice)

    sentences.until(world, lambda: world.chain.mempool, "the opening goes on")
    world.mine(3)
    _usable(world)
