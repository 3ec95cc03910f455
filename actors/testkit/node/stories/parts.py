"""The second story: one invoice, paid in two parts that arrive at different times.

The sender's parts are offered by hand. What may not happen: a part that is said twice counts twice.
"""

from __future__ import annotations

from actors.engine.host import Switches
from actors.testkit.explore import Sentence, Story
from actors.testkit.node import sentences
from actors.testkit.node.stories import tale
from actors.testkit.node.world import World
from actors.tree import NODE
from protocol.channel.messages import AddHtlc
from protocol.crypto.hashes import sha256
from protocol.invoice import decode
from protocol.onion import payload, sphinx
from protocol.onion.payload import HopPayload

TOTAL_MSAT, PARTS = 100_000_000, 2
NO_PAYMENT = bytes(32).hex()  # payments knows nothing of what is offered by hand


def _invoice(world: World) -> None:
    bob = world.nodes["bob"]
    if bob.row("payments", "invoice/in parts") is None:
        sentences.ask_once(
            bob,
            "payments",
            "invoice in parts",
            "invoice",
            label="in parts",
            amount_msat=TOTAL_MSAT,
            description="two halves",
        )


def _part(number: int) -> Sentence:
    """Offered, and then there at bob: collected, or already claimed."""

    def say(world: World) -> None:
        alice, bob = world.nodes["alice"], world.nodes["bob"]
        cid = tale.the_channel(world)
        if alice.row("monitors", f"core/{cid}").our_next_htlc < number:
            _offer(world, cid, number)
        sentences.until(world, lambda: _arrived(world, cid, number), f"part {number} is there")
        assert bob.row("monitors", f"core/{cid}").their_next_htlc >= number

    return say


def _offer(world: World, cid: str, number: int) -> None:
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    invoice = decode(bob.row("payments", "invoice/in parts").bolt11)
    expiry = world.chain.height + 30
    hop = HopPayload(
        amount_msat=TOTAL_MSAT // PARTS,
        cltv_expiry=expiry,
        payment_secret=invoice.payment_secret,
        total_msat=TOTAL_MSAT,
    )
    onion, _ = sphinx.wrap(
        sha256(f"part {number}".encode()),
        [(bob.id, payload.encode(hop))],
        invoice.payment_hash,
    )
    offer = AddHtlc(
        channel_id=bytes.fromhex(cid),
        origin=f"{NO_PAYMENT}/1/{number}",
        amount_msat=TOTAL_MSAT // PARTS,
        payment_hash=invoice.payment_hash,
        cltv_expiry=expiry,
        last_height=expiry,
        onion=onion,
    )
    if not _offered(world, cid, offer.origin):
        link = (alice.name, "api", "monitors")
        world.post(link, ("item", 0, NODE.encode(offer)))


def _offered(world: World, cid: str, origin: str) -> bool:
    alice = world.nodes["alice"]
    rows = alice.rows("monitors", "htlc").values()
    waiting = alice.row("monitors", f"add_htlc/{cid}/{origin}")
    return waiting is not None or any(row.origin == origin for row in rows)


def _arrived(world: World, cid: str, number: int) -> bool:
    """The offer by hand is volatile: said again while nobody has it."""
    bob = world.nodes["bob"]
    if world.nodes["alice"].row("monitors", f"core/{cid}").our_next_htlc < number:
        _offer(world, cid, number)
        return False
    row = bob.row("payments", "invoice/in parts")
    waiting = bob.row("payments", f"set/{row.payment_hash.hex()}")
    collected = len(waiting.parts) if waiting is not None else 0
    return bool(row.status == "paid" or collected >= number)


def _check(world: World) -> None:
    """Paid once, in full, by two parts; nothing is left over."""
    bob = world.nodes["bob"]
    cid = tale.the_channel(world)
    sentences.until(
        world, lambda: bob.row("payments", "invoice/in parts").status == "paid", "it is paid"
    )
    sentences.until(
        world,
        lambda: (
            not bob.rows("monitors", "htlc") and not world.nodes["alice"].rows("monitors", "htlc")
        ),
        "no HTLC is left",
    )
    assert bob.row("payments", "invoice/in parts").received_msat == TOTAL_MSAT
    assert bob.row("monitors", f"core/{cid}").ours_msat == TOTAL_MSAT
    assert bob.row("monitors", f"core/{cid}").their_next_htlc == PARTS


def story(switches: Switches | None = None) -> Story:
    return Story(
        begin=lambda: tale.begin(switches),
        sentences=[tale.open_it, _invoice, *(_part(n + 1) for n in range(PARTS))],
        check=_check,
    )
