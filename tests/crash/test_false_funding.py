"""A funding transaction that is not what was agreed never becomes a usable channel."""

from __future__ import annotations

import pytest

from actors.testkit.node import sentences
from actors.testkit.points import step_until
from actors.tree import NODE
from protocol.bitcoin.transaction import TxOut, parse, serialize
from protocol.chain.messages import TxConfirmed
from tests.crash.test_funding_rows import _begun


@pytest.mark.parametrize("how", ["missing", "short", "other script"])
def test_a_false_funding_output_ends_the_opening(how: str) -> None:
    """The accepter looks at the transaction as it was mined, not at what it was told."""
    world = _begun()
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    step_until(world, lambda w: w.chain.mempool)
    world.settle()
    (record,) = bob.rows("funding", "opening").values()
    tx = next(iter(world.chain.mempool.values()))
    index = record.funding_index
    outputs = list(tx.outputs)
    good = outputs[index]
    outputs[index] = {
        "missing": TxOut(546, b"\x6a"),
        "short": TxOut(good.amount_sat - 1, good.script),
        "other script": TxOut(good.amount_sat, b"\x00\x14" + bytes(20)),
    }[how]
    false = tx._replace(outputs=tuple(outputs))

    news = TxConfirmed(
        reason=str(record.key_index),
        txid=record.funding_txid,
        depth=3,
        height=9,
        position=1,
        raw=serialize(false),
    )
    world.post(("bob", "chain", "funding"), ("item", 0, NODE.encode(news)))
    world.settle()

    assert not bob.rows("funding", "opening")
    assert not bob.rows("monitors", "watch"), "nothing of it is left"
    assert not bob.rows("peers", "~live")
    assert parse(serialize(tx)).txid == record.funding_txid
    assert not sentences.node_knows(bob, record.channel_id.hex())
    assert alice.rows("funding", "opening")
