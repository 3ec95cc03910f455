"""Channels as Core Lightning lists them, from the opening to long after the close."""

from __future__ import annotations

from typing import Any

from actors.testkit.node import World, sentences
from actors.testkit.node.stories import tale
from protocol.api import rpc
from protocol.monitor.rpc import FORGOTTEN_DEPTH

STATES = ("CHANNELD_AWAITING_LOCKIN", "CHANNELD_NORMAL", "CLOSINGD_COMPLETE", "ONCHAIN")
# what a wallet's node manager reads of each row, in whatever state
ALWAYS = (
    "peer_id", "peer_connected", "state", "opener", "channel_type", "features", "direction",
    "to_us_msat", "total_msat", "min_to_us_msat", "max_to_us_msat", "fee_base_msat",
    "fee_proportional_millionths", "funding_txid", "funding_outnum", "spendable_msat",
    "receivable_msat", "htlcs", "status", "alias", "maximum_htlc_out_msat",
)  # fmt: skip
CLOSED = (
    "channel_id", "close_cause", "final_to_us_msat", "funding_outnum", "funding_txid",
    "funding_withheld", "leased", "max_to_us_msat", "min_to_us_msat", "opener", "private",
    "total_htlcs_sent", "total_local_commitments", "total_msat", "total_remote_commitments",
)  # fmt: skip
FEATURES = (
    "option_static_remotekey", "option_anchor_outputs", "option_anchors", "option_scid_alias",
    "option_zeroconf",
)  # fmt: skip


def _rows(world: World, name: str) -> list[dict[str, Any]]:
    node = world.nodes[name]
    answers = [
        sentences.ask(node, "monitors", "listpeerchannels"),
        sentences.ask(node, "peers", "listpeers"),
        sentences.ask(node, "funding", "listopenings"),
        sentences.ask(node, "gossiper", "listpolicies"),
    ]
    found: list[dict[str, Any]]
    found = rpc.listpeerchannels({"~node_id": node.id.hex()}, answers)["channels"]
    return found


def _closed(world: World, name: str) -> list[dict[str, Any]]:
    answer = sentences.ask(world.nodes[name], "monitors", "listclosedchannels")
    found: list[dict[str, Any]] = rpc.listclosedchannels({}, [answer])["closedchannels"]
    return found


def test_a_channel_is_listed_as_core_lightning_does_in_each_of_its_states() -> None:
    world = tale.begin()
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    seen = []

    def look() -> None:
        for name in ("alice", "bob"):
            (row,) = _rows(world, name)
            assert not [field for field in ALWAYS if field not in row], row["state"]
            assert set(row["features"]) <= set(FEATURES)
            assert not _closed(world, name)
        seen.append(row["state"])

    cid = sentences.start_opening(alice, bob, tale.CAPACITY_SAT)
    look()
    sentences.confirm(world, alice)
    sentences.until(
        world, lambda: sentences.usable(alice, cid) and sentences.usable(bob, cid), "usable"
    )
    look()
    (ours,), (theirs,) = _rows(world, "alice"), _rows(world, "bob")
    assert sorted([ours["direction"], theirs["direction"]]) == [0, 1]
    assert (ours["direction"] == 0) == (alice.id < bob.id)
    sentences.pay(alice, bob, 30_000_000, "there")
    sentences.pay(bob, alice, 10_000_000, "and back")
    script = alice.purse.script(100)
    asked = {"channel_id": cid, "script": script.hex(), "feerate_per_kw": 1000}
    closing = sentences.ask(alice, "monitors", "close", **asked)
    look()
    sentences.until(world, lambda: world.chain.mempool, "the closing transaction is sent")
    world.mine()
    look()
    assert tuple(seen) == STATES

    world.mine(FORGOTTEN_DEPTH - 1)
    look()
    world.mine()

    for name, least, most in (("alice", 970, 1000), ("bob", 0, 30)):
        assert not _rows(world, name)
        (row,) = _closed(world, name)
        assert not [field for field in CLOSED if field not in row]
        assert (row["min_to_us_msat"], row["max_to_us_msat"]) == (least * 10**6, most * 10**6)
        assert row["total_htlcs_sent"] == 1
        assert row["close_cause"] == row["closer"] == {"alice": "local", "bob": "remote"}[name]
        assert row["last_commitment_txid"] == closing["txid"]
        assert row["channel_id"] == cid


def test_a_channel_that_was_never_funded_is_not_listed() -> None:
    world = tale.begin()
    world.chain.refuses = True
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    sentences.connect(alice, bob)
    asked = sentences.to_open(bob, tale.CAPACITY_SAT)
    world.ask(alice, "funding", "fundchannel", number="first", **asked)
    sentences.until(world, lambda: "first" in alice.answers, "it is refused")
    world.advance()

    assert alice.answers["first"].code == 303
    assert not _rows(world, "alice") + _closed(world, "alice")
