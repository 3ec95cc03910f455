"""The story of two channels in one funding transaction, one of them used before it is mined.

alice opens to bob, who trusts her with an unconfirmed channel, and to carol, in one transaction.
What may not happen: the transaction is sent while one of its outputs has no channel behind it.
"""

from __future__ import annotations

from typing import Any

from actors.engine.host import Switches
from actors.testkit.explore import Sentence, Story
from actors.testkit.node import sentences
from actors.testkit.node.node import Node
from actors.testkit.node.world import World

AMOUNTS = {"bob": 700_000, "carol": 300_000}


def begin(switches: Switches | None = None) -> World:
    """alice with coins, and the peers that she will open channels to."""
    world = World(switches=switches)
    for name in ("alice", *AMOUNTS):
        world.node(name)
    bob, alice = world.nodes["bob"], world.nodes["alice"]
    trust(bob, alice)
    world.advance()  # every node has seen the blocks that the others' coins are in
    return world


def trust(node: Node, peer: Node) -> None:
    """From its next start on: the operator has changed the configuration."""
    node.policy = node.policy.but(zeroconf_peers=frozenset({peer.id}))
    node.drivers["funding"].machine = node.machine("funding")


def destinations(world: World) -> list[dict[str, Any]]:
    """As `multifundchannel` takes them; bob's is used at zero confirmations."""
    bob, carol = (world.nodes[name] for name in AMOUNTS)
    return [
        {"id": bob.id.hex(), "amount_sat": AMOUNTS["bob"], "announce": False, "mindepth": 0},
        {"id": carol.id.hex(), "amount_sat": AMOUNTS["carol"], "announce": False},
    ]


def channels(world: World) -> dict[str, str]:
    """Who the living channel is with -> its id."""
    alice = world.nodes["alice"]
    names = {world.nodes[name].id: name for name in AMOUNTS}
    return {
        names[alice.row("monitors", f"setup/{view.id}").peer]: view.id
        for view in sentences.channels(alice)
        if view.ended is None
    }


def _open(world: World) -> None:
    """Tried again as a person would when an interruption ended it."""
    alice = world.nodes["alice"]
    for attempt in range(20):
        number = f"multifundchannel/{attempt}"
        if number in alice.answers and alice.answers[number].code is not None:
            continue
        if number not in alice.asked and number not in alice.answers:
            for name in AMOUNTS:
                if not sentences.connected(alice, world.nodes[name]):
                    sentences.connect(alice, world.nodes[name])
        try:
            sentences.ask_once(
                alice, "funding", number, "multifundchannel", destinations=destinations(world)
            )
        except sentences.Refused:
            continue
        return
    raise AssertionError("the channels were never opened")


def _pay_before_it_is_mined(world: World) -> None:
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    _ready(world, "bob", channels(world)["bob"])
    sentences.pay(alice, bob, 1_000_000, "before it is mined")


def _confirm(world: World) -> None:
    alice = world.nodes["alice"]
    txid = alice.row("monitors", f"setup/{channels(world)['carol']}").funding_txid
    sentences.until(
        world,
        lambda: txid in world.chain.mempool or txid in world.chain.seen,
        "the transaction was broadcast",
    )
    while not all(_placed(world, name, cid) for name, cid in channels(world).items()):
        world.mine()
    for name, cid in channels(world).items():
        _ready(world, name, cid)


def _ready(world: World, name: str, cid: str) -> None:
    ends = [world.nodes["alice"], world.nodes[name]]
    sentences.until(
        world, lambda: all(sentences.usable(node, cid) for node in ends), f"usable with {name}"
    )
    sentences.until(
        world, lambda: all(sentences.node_knows(node, cid) for node in ends), "payments know of it"
    )


def _placed(world: World, name: str, cid: str) -> bool:
    """Both ends know where the channel is in the chain."""
    place = world.chain.height
    scids = [world.nodes[one].row("monitors", f"core/{cid}").scid for one in ("alice", name)]
    return all(scid is not None and int.from_bytes(scid[:3], "big") <= place for scid in scids)


def _check(world: World) -> None:
    alice = world.nodes["alice"]
    openings = alice.rows("funding", "opening").values()
    assert sorted(row.amount_sat for row in openings) == sorted(AMOUNTS.values())
    assert len({row.funding_txid for row in openings}) == 1
    for name in AMOUNTS:
        sentences.pay(alice, world.nodes[name], 2_000_000, f"to {name}")


SENTENCES: list[Sentence] = [_open, _pay_before_it_is_mined, _confirm]


def story(switches: Switches | None = None) -> Story:
    return Story(begin=lambda: begin(switches), sentences=SENTENCES, check=_check)
