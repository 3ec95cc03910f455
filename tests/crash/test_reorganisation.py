"""The funding transaction goes out of the chain again: before its depth, and after."""

from __future__ import annotations

import pytest

from actors.testkit.node import World, sentences
from actors.testkit.node.stories import tale
from actors.testkit.points import step_until
from protocol.funding import openings


def _mined(blocks: int) -> tuple[World, str]:
    """The funding transaction is in a block, so many blocks deep; three are wanted."""
    world = tale.begin()
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    cid = sentences.start_opening(alice, bob, tale.CAPACITY_SAT, announce=True)
    step_until(world, lambda w: w.chain.mempool)
    for _ in range(blocks):
        world.mine()
    return world, cid


def _state(world: World, name: str, cid: str) -> str:
    rows = world.nodes[name].rows("funding", "opening").values()
    return next(str(row.state) for row in rows if row.channel_id.hex() == cid)


def _usable_and_paid(world: World, cid: str) -> None:
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    sentences.until(world, lambda: world.chain.mempool, "it waits again for a block")
    while not all(tale.confirmed(world, name, cid) for name in world.nodes):
        world.mine()
    sentences.until(
        world, lambda: sentences.usable(alice, cid) and sentences.usable(bob, cid), "it is usable"
    )
    sentences.pay(alice, bob, 1_000_000, "over the channel in its new place")


def test_a_funding_transaction_that_leaves_before_its_depth_waits_again() -> None:
    world, cid = _mined(2)

    world.chain.reorganise(2)
    world.advance()

    assert [_state(world, name, cid) for name in ("alice", "bob")] == ["confirming"] * 2
    _usable_and_paid(world, cid)


def test_a_funding_transaction_that_moves_after_channel_ready_gets_another_scid() -> None:
    world, cid = _mined(3)
    nodes = list(world.nodes.values())
    sentences.until(world, lambda: all(sentences.usable(node, cid) for node in nodes), "usable")
    before = [node.row("monitors", f"core/{cid}").scid for node in nodes]

    world.chain.reorganise(3)
    world.advance()
    sentences.until(world, lambda: world.chain.mempool, "it waits again for a block")
    for _ in range(4):
        world.mine()

    after = [node.row("monitors", f"core/{cid}").scid for node in nodes]
    assert after[0] == after[1]
    assert before[0] != after[0]
    sentences.pay(nodes[0], nodes[1], 1_000_000, "over the channel in its new place")


def test_a_channel_that_waited_long_for_its_opener_outlives_a_reorganisation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is confirmed; that its opener is away, for as long as one waits for a funding transaction
    that never comes, is no reason to forget it when its block goes out of the chain."""
    monkeypatch.setattr(openings, "FORGET_BLOCKS", 20)
    world = tale.begin()
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    cid = sentences.start_opening(alice, bob, tale.CAPACITY_SAT, push_msat=500_000_000)
    step_until(world, lambda w: w.chain.mempool)
    held = dict(world.chain.mempool)
    world.chain.mempool.clear()
    for role in ("peers", "chain"):
        world.stop(alice, role)
    for _ in range(openings.FORGET_BLOCKS - 3):
        world.mine()
    world.chain.mempool.update(held)
    for _ in range(6):
        world.mine()
    assert _state(world, "bob", cid) == "confirmed"

    world.chain.reorganise(6)
    for _ in range(3):
        world.advance()

    assert _state(world, "bob", cid) == "confirmed"
    assert not bob.row("monitors", f"watch/{cid}").ended
    for role in ("chain", "peers"):
        world.start(alice, role)
        world._announce(alice, role)
    sentences.connect(alice, bob)
    _usable_and_paid(world, cid)


@pytest.mark.parametrize("blocks", [2, 3], ids=["before its depth", "after it"])
def test_R9_a_reorganisation_while_it_was_down_is_found_by_hash(blocks: int) -> None:
    """The height alone says nothing: at alice's start the chain is longer, and another one."""
    world, cid = _mined(blocks)
    world.settle()
    alice = world.nodes["alice"]
    for role in alice.roles:
        world.stop(alice, role)
    height = world.chain.height
    world.chain.reorganise(blocks)
    assert world.chain.height > height

    for role in alice.roles:
        world.start(alice, role)
    for role in alice.roles:
        world._announce(alice, role)
    world.advance()

    chain = alice.row("chain", "chain")
    assert (chain.height, chain.hashes[-1]) == (world.chain.height, world.chain.hash(chain.height))
    _usable_and_paid(world, cid)
