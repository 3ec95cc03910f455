"""Several messages in one batch, which the explorer (one message, one flush) does not try."""

from __future__ import annotations

from actors.testkit.node import sentences
from actors.testkit.node.stories import tale
from actors.testkit.node.world import World
from actors.testkit.points import step_until
from actors.tree import NODE
from protocol.funding.messages import FromPeer
from protocol.wire.opening import AcceptChannel


def _accepted(world: World) -> bool:
    queue = world.links.get(("alice", "peers", "funding"))
    if not queue or queue[0][1][0] != "item":
        return False
    item = NODE.decode(queue[0][1][2])
    return isinstance(item, FromPeer) and item.message[:2] == AcceptChannel.TYPE.to_bytes(2, "big")


def test_coins_that_are_asked_for_twice_in_one_batch_are_reserved_once() -> None:
    """accept_channel arrives in the turn in which the restarted wallet is heard of."""
    world = tale.begin()
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    sentences.connect(alice, bob)
    world.ask(
        alice, "funding", "fundchannel", number="open",
        **sentences.to_open(bob, tale.CAPACITY_SAT, announce=False),
    )  # fmt: skip
    step_until(world, _accepted)
    world.stop(alice, "wallet")
    world.start(alice, "wallet")

    funding, wallet = alice.drivers["funding"], alice.drivers["wallet"]
    wallet.hear("chain", 0, alice.row("chain", "~tip"))
    _, (_, number, data) = world.links["alice", "peers", "funding"].popleft()
    funding.hear("peers", number, NODE.decode(data))
    funding.linked("wallet")
    while funding.busy:
        funding.flush()
    for _, (_, number, data) in world.links.pop(("alice", "funding", "wallet")):
        wallet.hear("funding", number, NODE.decode(data))
    while wallet.busy:
        wallet.flush()
    for _, item in world.ports.pop(("alice", "wallet")):
        wallet.hear_port(item)
    while wallet.busy:
        wallet.flush()

    sentences.until(world, lambda: "open" in alice.answers, "the opening is answered")
    for _ in range(4):
        world.mine()
    ours = alice.rows("wallet", "wtx").values()
    assert [row for row in ours if row.height is None] == [], "a transaction that nobody sent"
    fee = 600
    expected = 100 * 100_000_000 - tale.CAPACITY_SAT - fee
    assert expected == sentences.balance_sat(alice)
