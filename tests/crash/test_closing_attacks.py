"""A peer that signs one closing after the other."""

from __future__ import annotations

from actors.testkit.node import World, sentences
from actors.testkit.node.stories import tale
from actors.testkit.points import step_until
from protocol.bitcoin.transaction import parse
from protocol.channel import shutdown
from protocol.crypto import secp
from protocol.wire.closing import ClosingComplete, Shutdown
from tests.kit import enforcing
from tests.kit.wires import say

CLOSINGS = 12


def _one_closing_after_the_other(world: World, cid: str) -> None:
    """bob speaks for himself: his node hears no answer."""
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    channel, secrets = enforcing.channel(bob, cid)
    bobs = bob.purse.script(99)
    say(world, "bob", "alice", Shutdown(channel_id=channel.id, scriptpubkey=bobs))
    step_until(world, lambda _: alice.row("monitors", f"core/{cid}").our_shutdown)
    whole, _ = enforcing.channel(alice, cid)
    for number in range(CLOSINGS):
        asked = ClosingComplete(
            channel_id=channel.id, closer_scriptpubkey=bobs,
            closee_scriptpubkey=whole.core.our_shutdown, fee_satoshis=1000 + number, locktime=0,
        )  # fmt: skip
        tx = shutdown._simple_tx(whole, asked, we_pay=False, field="closer_and_closee_outputs")
        signature = secp.sign(secrets.funding, shutdown._digest(whole, tx))
        say(world, "bob", "alice", asked.but(closer_and_closee_outputs=signature))
        for _ in range(60):
            world.wires["alice", "bob"].clear()
            if not world.step():
                break
    newest = parse(alice.row("monitors", f"core/{cid}").closing_tx).outputs
    assert {out.script for out in newest} == {bobs, whole.core.our_shutdown}


def test_of_many_closings_the_newest_is_sent_and_nothing_after_the_end() -> None:
    world = tale.begin()
    tale.open_it(world)
    alice, bob, cid = world.nodes["alice"], world.nodes["bob"], tale.the_channel(world)
    sentences.pay(alice, bob, 400_000_000, "so that bob has something to close for")
    world.advance(2)

    _one_closing_after_the_other(world, cid)

    assert sum(cid in key for key in alice.rows("chain", "send")) == 1
    for _ in range(10):
        world.mine()
    assert alice.row("monitors", f"watch/{cid}").ended
    assert not [key for key in alice.rows("chain", "send") if cid in key]
