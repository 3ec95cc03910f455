"""Stories of payments in parts: over channels that share a payee, and over nodes in between.

`claim`: alice pays bob over several channels at once, each kept by a monitor of its own.
`diamond`: alice pays dave in two parts, one over bob and one over carol, which relay them.
`line`: alice pays carol over bob, who relays it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from actors.engine.host import Switches
from actors.testkit.explore import Sentence, Story
from actors.testkit.node import sentences
from actors.testkit.node.node import Node
from actors.testkit.node.world import World

CAPACITY_SAT = 1_000_000


def linked(world: World, pairs: Sequence[tuple[str, str]], sat: int = CAPACITY_SAT) -> list[str]:
    """One usable channel for each pair, opened by the first; both know what the other asks for."""
    opened = [sentences.open_channel(world.nodes[a], world.nodes[b], sat) for a, b in pairs]
    ends = [(world.nodes[x], cid) for pair, cid in zip(pairs, opened, strict=True) for x in pair]
    sentences.until(world, lambda: all(_told(*end) for end in ends), "the terms are known")
    return opened


def _told(node: Node, cid: str) -> bool:
    row = node.row("payments", f"terms/{cid}")
    return row is not None and row.theirs is not None


def spread(world: World, count: int) -> list[str]:
    """`count` channels of alice with bob, each kept by another of bob's monitors."""
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    kept: dict[str, str] = {}
    for amount in itertools.count(CAPACITY_SAT, 1_000):
        cid = sentences.open_channel(alice, bob, amount)
        if bob.keeper(cid) in kept:
            script = alice.purse.script(100).hex()
            sentences.ask(alice, "monitors", "close", channel_id=cid, script=script,
                        feerate_per_kw=1000)  # fmt: skip
            sentences.confirm(world, alice)
        else:
            kept[bob.keeper(cid)] = cid
        if len(kept) == count:
            return list(kept.values())
    raise AssertionError


def _pay(payer: str, payee: str, amount_msat: int, label: str) -> Sentence:
    def say(world: World) -> None:
        sentences.pay(world.nodes[payer], world.nodes[payee], amount_msat, label)

    return say


def at_rest(world: World) -> None:
    """Nothing is held, in flight, or waiting to be told; every relayed payment made its fee."""
    world.advance(30)
    for node in world.nodes.values():
        for key, row in node.rows("peers", "~live").items():
            assert not row.holds and not row.inbox, f"{node.name} {key}: {row.holds} {row.inbox}"
            assert not row.unacked and not row.unsent, f"{node.name} {key}: updates in flight"
            assert not row.channel.htlcs, f"{node.name} {key}: HTLCs are left"
            assert row.channel.core.failed is None, f"{node.name}: {row.channel.core.failed}"
        for role, driver in node.drivers.items():
            left = {to: list(items) for to, items in driver.outbox.waiting.items() if items}
            assert not left, f"{node.name}/{role} still has something to tell: {left}"
        for segment in ("claim", "resolve_htlc", "preimage", "add_htlc"):
            assert not node.rows("monitors", segment), f"{node.name} keeps a {segment}"
        for segment in ("claim", "owed", "set", "early"):
            assert not node.rows("payments", segment), f"{node.name} keeps a {segment}"
    conserved(world)


def conserved(world: World) -> None:
    """Both ends of each channel agree, and the sum is its capacity."""
    for node in world.nodes.values():
        for view in sentences.channels(node):
            if view.ended is None:
                core, whole = view.core, view.setup.capacity_sat * 1000
                assert core.ours_msat + core.theirs_msat == whole
                peer = next(x for x in world.nodes.values() if x.id == view.setup.peer)
                other = peer.row("monitors", f"core/{view.id}")
                assert other.ours_msat == core.theirs_msat, f"{node.name} and {peer.name}"


def balance_msat(node: Node) -> int:
    """Of all channels that are open."""
    return sum(view.core.ours_msat for view in sentences.channels(node) if view.ended is None)


# ---- claims over several channels ---------------------------------------------------------------


def claim_world(count: int, switches: Switches | None = None) -> World:
    """alice and bob with `count` channels between them, each with a monitor of its own."""
    world = World(switches=switches, monitors=3)
    world.node("alice", coins=3)
    world.node("bob")
    spread(world, count)
    return world


def claim(count: int, switches: Switches | None = None) -> Story:
    """alice pays bob over all `count` channels at once, and bob claims."""
    amount = (count - 1) * CAPACITY_SAT * 1000 + 100_000_000

    def check(world: World) -> None:
        at_rest(world)
        bob = world.nodes["bob"]
        assert balance_msat(bob) == amount
        (invoice,) = bob.rows("payments", "invoice").values()
        assert (invoice.status, invoice.received_msat, invoice.pay_index) == ("paid", amount, 1)
        (payment,) = world.nodes["alice"].rows("payments", "payment").values()
        assert (payment.status, payment.sent_msat) == ("complete", amount)
        assert payment.done_parts >= count

    say = [_pay("alice", "bob", amount, "in parts")]
    return Story(begin=lambda: claim_world(count, switches), sentences=say, check=check)


def fees(node: Node) -> list[int]:
    """What it earned with each HTLC that it relayed."""
    rows = node.rows("payments", "forward").values()
    return [row.fee_msat for row in rows if row.status == "settled"]


# ---- relayed ------------------------------------------------------------------------------------


def line_world(switches: Switches | None = None) -> World:
    """bob's two channels are kept by different monitors."""
    for sat in itertools.count(CAPACITY_SAT, 1_000):
        world = World(switches=switches, monitors=2)
        for name in ("alice", "bob", "carol"):
            world.node(name)
        cids = linked(world, [("alice", "bob")], sat) + linked(world, [("bob", "carol")])
        if len({world.nodes["bob"].keeper(cid) for cid in cids}) == 2:
            return world
    raise AssertionError


def line(switches: Switches | None = None) -> Story:
    """alice pays carol over bob."""
    amount = 50_000_000

    def check(world: World) -> None:
        at_rest(world)
        bob, carol = world.nodes["bob"], world.nodes["carol"]
        assert balance_msat(carol) == amount
        settled = [
            row for row in bob.rows("payments", "forward").values() if row.status == "settled"
        ]
        assert len(settled) == 1 and settled[0].fee_msat > 0
        assert balance_msat(bob) == CAPACITY_SAT * 1000 + settled[0].fee_msat

    say = [_pay("alice", "carol", amount, "over bob")]
    return Story(begin=lambda: line_world(switches), sentences=say, check=check)


def diamond_world(switches: Switches | None = None) -> World:
    """alice and dave, with bob and carol between them."""
    world = World(switches=switches, monitors=2)
    for name in ("alice", "bob", "carol", "dave"):
        world.node(name)
    linked(world, [("alice", "bob"), ("alice", "carol"), ("bob", "dave"), ("carol", "dave")])
    return world


def diamond(switches: Switches | None = None) -> Story:
    """alice pays dave in two parts, one over bob and one over carol."""
    amount = 1_500_000_000

    def check(world: World) -> None:
        at_rest(world)
        assert balance_msat(world.nodes["dave"]) == amount
        for name in ("bob", "carol"):
            gained = balance_msat(world.nodes[name]) - CAPACITY_SAT * 1000
            assert gained == sum(fees(world.nodes[name])) > 0

    say = [_pay("alice", "dave", amount, "in two parts")]
    return Story(begin=lambda: diamond_world(switches), sentences=say, check=check)


# ---- two parts over one channel -----------------------------------------------------------------


def claim_on_one(switches: Switches | None = None) -> Story:
    """alice sends two parts over the only channel, each by an order of its own."""
    amount = 60_000_000

    def begin() -> World:
        world = World(switches=switches)
        world.node("alice")
        world.node("bob")
        linked(world, [("alice", "bob")])
        return world

    def say(world: World) -> None:
        alice, bob = world.nodes["alice"], world.nodes["bob"]
        invoice = sentences.invoice(bob, amount, "two parts")
        for number, share in ((1, amount // 3), (2, amount - amount // 3)):
            sentences.send_part(alice, bob, invoice, share, number)
        sentences.until(world, lambda: _paid(bob), "it is paid")
        name = f"payment/{invoice['payment_hash']}"
        done = lambda: alice.row("payments", name).done_parts == 2  # noqa: E731
        sentences.until(world, done, "both parts are known to be done")

    def check(world: World) -> None:
        at_rest(world)
        assert balance_msat(world.nodes["bob"]) == amount

    return Story(begin=begin, sentences=[say], check=check)


def _paid(node: Node) -> bool:
    return any(row.status == "paid" for row in node.rows("payments", "invoice").values())
