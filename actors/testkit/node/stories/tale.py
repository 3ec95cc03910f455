"""The first story: open, three payments each way, close. Every sentence may be said again."""

from __future__ import annotations

import contextlib

from actors.engine.host import Switches
from actors.testkit.explore import Sentence, Story
from actors.testkit.node import sentences
from actors.testkit.node.world import World

CAPACITY_SAT = 1_000_000
TO_BOB_MSAT, TO_ALICE_MSAT = 100_000_000, 10_000_000


def begin(switches: Switches | None = None) -> World:
    """alice and bob, strangers yet."""
    world = World(switches=switches)
    world.node("alice")
    world.node("bob")
    return world


def open_it(world: World) -> None:
    """alice opens a channel to bob; both see it locked in."""
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    cid = sentences.start_opening(alice, bob, CAPACITY_SAT)
    funding = alice.row("monitors", f"setup/{cid}").funding_txid
    sentences.until(
        world,
        lambda: funding in world.chain.mempool or funding in world.chain.seen,
        "the funding transaction was broadcast",
    )
    while not all(confirmed(world, name, cid) for name in ("alice", "bob")):
        world.mine()
    sentences.until(
        world,
        lambda: sentences.usable(alice, cid) and sentences.usable(bob, cid),
        "the channel is usable",
    )
    sentences.until(
        world,
        lambda: sentences.node_knows(alice, cid) and sentences.node_knows(bob, cid),
        "payments know of the channel",
    )


def the_channel(world: World) -> str:
    """The id of alice's only channel, in hex."""
    views = sentences.channels(world.nodes["alice"])
    (cid,) = [view.id for view in views if view.ended != "unfunded"]
    return cid


def confirmed(world: World, name: str, cid: str) -> bool:
    """Whether the monitor of `name` has seen the funding deep enough."""
    watch = world.nodes[name].row("monitors", f"watch/{cid}")
    return watch is not None and watch.confirmed is not None


def _pay(payer: str, payee: str, amount_msat: int, label: str) -> Sentence:
    def say(world: World) -> None:
        sentences.pay(world.nodes[payer], world.nodes[payee], amount_msat, label)

    return say


def _close(world: World) -> None:
    alice, cid = world.nodes["alice"], the_channel(world)
    ended = [name for name in world.nodes if _ended(world, name, cid)]
    if not ended and not world.chain.mempool:
        script = alice.purse.script(100)
        params = {"channel_id": cid, "script": script.hex(), "feerate_per_kw": 1000}
        with contextlib.suppress(sentences.Refused):  # it may have ended meanwhile
            sentences.ask(alice, "monitors", "close", **params)
    sentences.until(
        world,
        lambda: world.chain.mempool or _ended(world, "alice", cid),
        "the closing transaction was broadcast",
    )
    world.mine()
    sentences.until(
        world, lambda: all(_ended(world, name, cid) for name in world.nodes), "both saw the close"
    )


def _ended(world: World, name: str, cid: str) -> str | None:
    watch = world.nodes[name].row("monitors", f"watch/{cid}")
    ended: str | None = watch.ended if watch is not None else None
    return ended


def _check(world: World) -> None:
    """The same end for every history: every millisatoshi in its place, nothing left over."""
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    cid = the_channel(world)
    assert "mutual" == _ended(world, "alice", cid) == _ended(world, "bob", cid)
    bobs = 3 * (TO_BOB_MSAT - TO_ALICE_MSAT)
    core = bob.row("monitors", f"core/{cid}")
    assert bobs == core.ours_msat, f"bob has {core.ours_msat} msat"
    world.advance(5)
    assert bobs // 1000 == sentences.balance_sat(bob) - 100 * 100_000_000
    for node in (alice, bob):
        paid = [row.status for row in node.rows("payments", "payment").values()]
        assert paid == ["complete"] * 3, paid
        invoices = node.rows("payments", "invoice").values()
        assert sorted(row.pay_index for row in invoices) == [1, 2, 3]
        offers = node.row("monitors", f"core/{cid}").our_next_htlc
        assert offers == 3, f"{node.name} offered {offers} HTLCs for 3 payments"
        for role, driver in node.drivers.items():
            left = {to: list(items) for to, items in driver.outbox.waiting.items() if items}
            assert not left, f"{node.name}/{role} still has something to tell: {left}"
        assert not node.rows("wallet", "reservation"), "coins are still reserved"


SENTENCES: list[Sentence] = [
    open_it,
    *(_pay("alice", "bob", TO_BOB_MSAT, f"to bob {n}") for n in range(3)),
    *(_pay("bob", "alice", TO_ALICE_MSAT, f"to alice {n}") for n in range(3)),
    _close,
]


def story(switches: Switches | None = None) -> Story:
    """The tale, with a protective rule switched off if wanted."""
    return Story(begin=lambda: begin(switches), sentences=SENTENCES, check=_check)
