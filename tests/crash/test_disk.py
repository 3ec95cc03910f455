"""A disk that refuses the n-th write: the actor ends, and nothing is lost or done twice."""

from __future__ import annotations

import pytest

from actors.testkit.node import sentences
from actors.testkit.node.stories import tale


@pytest.mark.parametrize("how", ["error", "full", "torn"])
@pytest.mark.parametrize(
    ("name", "role", "writes"),
    [
        ("alice", "monitors", 4),
        ("bob", "monitors", 4),
        ("alice", "payments", 2),
        ("bob", "payments", 1),
    ],
)
def test_the_nth_write_fails_during_a_payment(name: str, role: str, writes: int, how: str) -> None:
    world = tale.begin()
    tale.open_it(world)
    cid = tale.the_channel(world)
    alice, bob = world.nodes["alice"], world.nodes["bob"]

    for number in range(writes):
        disk = world.nodes[name].disks[role]
        disk.fail_at, disk.how = number, how
        sentences.pay(alice, bob, 10_000_000, f"payment {number}")
        sentences.until(world, lambda d=disk: d.fail_at is None, "the write has failed")

    sentences.until(world, lambda: not bob.rows("monitors", "htlc"), "all is settled")
    assert bob.row("monitors", f"core/{cid}").ours_msat == writes * 10_000_000
    assert alice.row("monitors", f"core/{cid}").our_next_htlc == writes
    assert world.crashes == writes


@pytest.mark.parametrize("how", ["error", "full", "torn"])
@pytest.mark.parametrize(
    ("name", "role", "writes"),
    [
        ("alice", "chain", 2),
        ("alice", "wallet", 3),
        ("alice", "funding", 3),
        ("alice", "monitors", 3),
        ("bob", "chain", 2),
        ("bob", "funding", 2),
        ("bob", "monitors", 3),
    ],
)
def test_the_nth_write_fails_during_an_opening(name: str, role: str, writes: int, how: str) -> None:
    for number in range(writes):
        world = tale.begin()
        disk = world.nodes[name].disks[role]
        disk.fail_at, disk.how = number, how

        tale.open_it(world)

        assert disk.fail_at is None, "the write has failed"
        cid = tale.the_channel(world)
        assert world.nodes["bob"].row("monitors", f"core/{cid}").usable
