"""The story of a public channel: opened, announced by both, and closed."""

from __future__ import annotations

from actors.driver import Switches
from actors.testkit import stories, tale
from actors.testkit.explore import Sentence, Story
from actors.testkit.world import World


def _open(world: World) -> None:
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    cid = stories.start_opening(alice, bob, tale.CAPACITY_SAT, announce=True)
    funding = alice.row("monitors", f"setup/{cid}").funding_txid
    stories.until(
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
    stories.until(
        world, lambda: all(knows_all(world, name) for name in world.nodes), "both know all of it"
    )


def knows_all(world: World, name: str) -> bool:
    """The edge, both updates, both nodes."""
    rows = world.nodes[name].rows
    return (len(rows("gossiper", "edge")), len(rows("gossiper", "update"))) == (1, 2) and len(
        rows("gossiper", "node")
    ) == 2


def _check(world: World) -> None:
    alice, bob = (world.nodes[name].rows("gossiper", "edge") for name in ("alice", "bob"))
    assert [edge.raw for edge in alice.values()] == [edge.raw for edge in bob.values()]
    stories.pay(world.nodes["alice"], world.nodes["bob"], 1_000_000, "over it")


SENTENCES: list[Sentence] = [_open, _announced]


def story(switches: Switches | None = None) -> Story:
    return Story(begin=lambda: tale.begin(switches), sentences=SENTENCES, check=_check)
