"""Chain alone on a bench: what it broadcasts has an owner."""

from __future__ import annotations

from protocol.bitcoin.transaction import Outpoint, Transaction, TxIn, TxOut, serialize
from protocol.chain.messages import Broadcast, Sent
from protocol.chain.port import Poll, Polled, Send, Submitted
from tests.kit.benches import bench

COIN = Outpoint(bytes([3]) * 32, 0)
SPEND = serialize(Transaction((TxIn(COIN),), (TxOut(1000, b"\x51"),)))


def test_chain_sends_again_what_was_not_mined_and_answers_its_owner() -> None:
    chain = bench("chain")
    (poll,) = chain.take(Poll)
    chain.report(Polled(asked=poll.height, keep=5, blocks=(), feerate_per_kw=1000))
    chain.hear("funding", Broadcast(purpose="1", raw=SPEND, report=True), durable=True)
    assert [order.raw for order in chain.take(Send)] == [SPEND]

    chain.restart()
    assert [order.raw for order in chain.take(Send)] == [SPEND]
    chain.report(Submitted(owner="funding", purpose="1", raw=SPEND, refused=""))
    assert [(one.purpose, one.refused) for one in chain.take(Sent)] == [("1", "")]
