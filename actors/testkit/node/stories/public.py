"""The story of a public channel: opened, announced by both, and closed."""

from __future__ import annotations

from actors.engine.host import Switches
from actors.testkit.explore import Sentence, Story
from actors.testkit.node import sentences
from actors.testkit.node.node import Node
from actors.testkit.node.stories import tale
from actors.testkit.node.world import World
from protocol.gossip.messages import ChannelGone, ChannelIs
from protocol.gossip.rows import Edge


def _open(world: World) -> None:
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    cid = sentences.start_opening(alice, bob, tale.CAPACITY_SAT, announce=True)
    funding = alice.row("monitors", f"setup/{cid}").funding_txid
    sentences.until(
        world,
        lambda: funding in world.chain.mempool or funding in world.chain.seen,
        "the funding transaction was broadcast",
    )
    while not all(_buried(world, name) for name in ("alice", "bob")):
        world.mine()


def _buried(world: World, name: str) -> bool:
    watch = world.nodes[name].row("monitors", f"watch/{tale.the_channel(world)}")
    return watch is not None and watch.buried is not None


def _announced(world: World) -> None:
    sentences.until(
        world, lambda: all(knows_all(world, name) for name in world.nodes), "both know all of it"
    )


def knows_all(world: World, name: str) -> bool:
    """The edge with its proof, both updates, both nodes; and the router knows it too."""
    node = world.nodes[name]
    edges = node.rows("gossiper", "edge")
    return (
        len(edges) == 1
        and len(node.rows("gossiper", "node")) == 2
        and all(_is_whole(node, key, edge) for key, edge in edges.items())
    )


def _is_whole(node: Node, key: str, edge: Edge) -> bool:
    scid = key.removeprefix("edge/")
    names = [f"said/{scid}", f"update/{scid}/0", f"update/{scid}/1"]
    names += [f"said/{one.hex()}" for one in edge.nodes]
    said = all(node.row("gossiper", name) is not None for name in names)
    return all(edge.times) and said and bytes.fromhex(scid) in public_graph(node)


def public_graph(node: Node) -> set[bytes]:
    """The channels that the router knows of, applied or waiting."""
    known = node.row("router", "~graph").scids()
    for row in node.rows("router", "~waiting").values():
        for change in row.changes:
            if isinstance(change, ChannelIs):
                known.add(change.scid)
            elif isinstance(change, ChannelGone):
                known.discard(change.scid)
    return set(known)


def announcements(node: Node) -> dict[str, bytes]:
    """Every channel_announcement, by the key of its edge."""
    return {
        key: node.row("gossiper", key.replace("edge/", "said/")).raw
        for key in node.rows("gossiper", "edge")
    }


def _check(world: World) -> None:
    alice, bob = (announcements(world.nodes[name]) for name in ("alice", "bob"))
    assert alice == bob
    sentences.pay(world.nodes["alice"], world.nodes["bob"], 1_000_000, "over it")


def _routers_have_saved(world: World) -> None:
    sentences.until(
        world,
        lambda: all(node.row("router", "known") for node in world.nodes.values()),
        "the graph is on the routers' disks",
    )


SENTENCES: list[Sentence] = [_open, _announced, _routers_have_saved]


def story(switches: Switches | None = None) -> Story:
    return Story(begin=lambda: tale.begin(switches), sentences=SENTENCES, check=_check)
