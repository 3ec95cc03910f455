"""A watch belongs to whoever asked for it, under one reason, and ends by that reason alone."""

from __future__ import annotations

from actors.engine.table import Table
from actors.testkit.node import Node, World, sentences
from actors.testkit.node.stories import tale
from actors.testkit.node.wires import on_wire
from actors.testkit.points import step_until
from protocol.bitcoin.transaction import Outpoint, Transaction, TxIn, TxOut, serialize
from protocol.chain.machine import Heard, Machine
from protocol.chain.messages import Unwatch, WatchSpend, WatchTx
from protocol.channel.state import channel_id
from protocol.funding import establishment
from protocol.funding.policy import OpeningPolicy
from protocol.machine import Moment, Step
from tests.crash import test_opening_attacks as attacks
from tests.kit import enforcing
from tests.kit.wires import say, take

TXID, NOW = b"\x11" * 32, Moment(unix_seconds=0.0, entropy=bytes(32))


def test_one_watch_ends_and_no_other_on_the_same_transaction() -> None:
    rows = Table()

    def hear(sender: str, item: Heard) -> None:
        step = Step(rows)
        Machine().step(step, sender, item, NOW)
        rows.apply(step.changed_rows)

    for owner, reason in (("monitors-1", "a/funding"), ("monitors-1", "b/output/0"), ("x", "b")):
        hear(owner, WatchSpend(reason=reason, txid=TXID, vout=0, since=0))
    hear("monitors-1", WatchTx(reason="b/closing", txid=TXID, depth=6, since=0))

    hear("monitors-1", Unwatch(reason="b/output/0"))
    hear("monitors-1", Unwatch(reason="b/closing"))
    hear("monitors-1", Unwatch(reason="b"))

    assert set(rows.shown("spend")) == {"spend/monitors-1/a/funding", "spend/x/b"}
    assert not rows.shown("tx")


def _standing() -> tuple[World, Node, Node, str]:
    """bob has an HTLC of alice, which stands; -> the channel."""
    world = tale.begin()
    tale.open_it(world)
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    made = sentences.ask(
        bob, "payments", "holdinvoice", label="h", amount_msat=50_000_000, description="h"
    )
    world.ask(alice, "payments", "pay", bolt11=made["bolt11"])
    sentences.until(world, lambda: bob.rows("payments", "set"), "bob holds it")
    return world, alice, bob, tale.the_channel(world)


def _funded_by_the_spend(world: World, alice: Node, bob: Node, closed: bytes, vout: int) -> str:
    """A second channel, of alice's own making, whose funding transaction takes back the HTLC of the
    first one; -> its id. The transaction is in the mempool."""
    (htlc,) = bob.rows("monitors", "htlc").values()
    while world.chain.height <= htlc.cltv_expiry:
        world.mine()
    sentences.connect(alice, bob)
    created = attacks._fake(world, "alice", "bob", 3)
    (negotiation,) = bob.rows("funding", "~nego").values()
    ours = establishment.our_party(OpeningPolicy(), attacks.ATTACKER, 100_000)
    script = establishment.funding_script(ours, establishment.their_party(negotiation.accepted))
    inputs = (TxIn(Outpoint(closed, vout), sequence=1), TxIn(next(iter(alice.purse.coins()))))
    outputs = (TxOut(49_000, b"\x00\x20" + bytes(32)), TxOut(100_000, script))
    spend = Transaction(inputs, outputs, locktime=htlc.cltv_expiry)
    funding = Outpoint(spend.txid, 1)
    say(world, "alice", "bob", created(funding))
    step_until(world, lambda w: on_wire(w, "bob", "alice", attacks.SIGNED))
    take(world, "bob", "alice", attacks.SIGNED)  # alice's own node knows nothing of it
    assert world.chain.submit(serialize(spend))
    return channel_id(funding).hex()


def test_the_end_of_one_closing_leaves_the_watch_of_the_channel_that_its_spend_has_funded() -> None:
    """An HTLC is signed so that its spend may have any other outputs: also the next funding."""
    world, alice, bob, first = _standing()
    closed = enforcing.publish(alice, first)
    world.settle()
    rows = bob.rows("monitors", "taken").items()
    (vout,) = [int(key.rpartition("/")[2]) for key, row in rows if row.what.startswith("theirs/")]
    second = _funded_by_the_spend(world, alice, bob, closed, vout)

    for _ in range(9):
        world.mine()

    assert bob.row("monitors", f"closing/{first}").done
    assert bob.row("chain", f"spend/monitors/{second}/funding") is not None
    setup = bob.row("monitors", f"setup/{second}")
    thief = Transaction((TxIn(setup.funding, sequence=0x80 << 24),), (TxOut(99_000, b"\x51"),))
    assert world.chain.submit(serialize(thief))
    world.mine()
    assert bob.row("monitors", f"watch/{second}").ended == "unilateral"


def test_every_start_tells_again_what_is_to_be_watched() -> None:
    """Chain has lost its watches: whoever wants them says so, and what was missed is found."""
    world = tale.begin()
    tale.open_it(world)
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    cid = tale.the_channel(world)
    chain = bob.drivers["chain"]
    watches = dict(chain.rows.shown("spend")) | dict(chain.rows.shown("tx"))
    assert {key.partition("/")[0] for key in watches} == {"spend", "tx"}

    def lose() -> None:
        world.stop(bob, "chain")
        for key in watches:
            del bob.disks["chain"].data[b"r/" + key.encode()]

    lose()
    world.start_again(bob, "chain")
    world.settle()
    assert set(watches) == set(bob.rows("chain", "spend")) | set(bob.rows("chain", "tx"))

    lose()
    enforcing.publish(alice, cid)
    world.settle()
    world.start_again(bob, "chain")
    sentences.until(world, lambda: bob.row("monitors", f"watch/{cid}").ended, "bob has seen it")
    assert bob.row("monitors", f"watch/{cid}").ended == "unilateral"
