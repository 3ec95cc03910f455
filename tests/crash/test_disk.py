"""A disk that refuses the n-th write: the actor ends, and nothing is lost or done twice."""

from __future__ import annotations

import pytest

from actors.testkit import stories, tale
from actors.testkit.node import DURABLE


@pytest.mark.parametrize("how", ["error", "full", "torn"])
@pytest.mark.parametrize("role", DURABLE)
@pytest.mark.parametrize("name", ["alice", "bob"])
def test_the_nth_write_fails_during_a_payment(name: str, role: str, how: str) -> None:
    world = tale.begin()
    tale.open_it(world)
    cid = tale.the_channel(world)
    alice, bob = world.nodes["alice"], world.nodes["bob"]

    for number in range(6):
        disk = world.nodes[name].disks[role]
        disk.fail_at, disk.how = number, how
        stories.pay(alice, bob, 10_000_000, f"payment {number}")
        disk.fail_at = None

    stories.until(world, lambda: not bob.rows("monitors", "htlc"), "all is settled")
    assert bob.row("monitors", f"core/{cid}").ours_msat == 60_000_000
    assert alice.row("monitors", f"core/{cid}").our_next_htlc == 6
