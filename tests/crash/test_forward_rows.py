"""Rows W1 to W11 of the crash scenarios: bob relays from alice (U) to carol (D), and dies."""

from __future__ import annotations

import pytest

from actors.testkit.node import sentences
from actors.testkit.node.stories import diamond
from protocol.channel import stages
from protocol.channel.messages import FORWARD
from protocol.monitor.messages import HtlcEnded
from tests.kit.claiming import Relaying, spending

VICTIMS = pytest.mark.parametrize("victim", ["*", "payments", "monitors-1", "monitors-2", "peers"])


@VICTIMS
def test_W1_it_is_irrevocable_upstream_and_not_offered_downstream(victim: str) -> None:
    run = Relaying()
    committed = lambda: any(h.stage == stages.COMMITTED for h in run.htlcs(run.u))  # noqa: E731
    run.step_until(committed, "it is irrevocably committed upstream")
    assert not run.htlcs(run.d)

    run.world.kill(run.bob, victim)

    run.paid()
    assert len(run.bob.rows("payments", "forward")) == 1


@VICTIMS
def test_W2_what_is_signed_downstream_is_not_offered_twice(victim: str) -> None:
    run = Relaying()
    run.step_until(lambda: run.htlcs(run.d), "it is signed for carol")

    run.world.kill(run.bob, victim)

    run.paid()
    assert run.core(run.d).our_next_htlc == 1


@VICTIMS
def test_W3_carols_fulfill_is_said_again(victim: str) -> None:
    """It was on the wire when bob died: nothing of it is durable here."""
    run = Relaying()
    run.step_until(lambda: any(_is_fulfill(data) for _, data in _wire(run)), "carol fulfils")
    assert not run.knows_preimage(run.d)

    run.world.kill(run.bob, victim)

    run.paid()


def _wire(run: Relaying) -> list[tuple[int, bytes]]:
    return list(run.world.wires.get(("carol", "bob"), ()))


def _is_fulfill(data: bytes) -> bool:
    return int.from_bytes(data[:2], "big") == 130


@VICTIMS
def test_W4_upstream_has_the_preimage_and_downstreams_dance_is_not_over(victim: str) -> None:
    run = Relaying()
    run.step_until(lambda: run.knows_preimage(run.u), "upstream has it")
    assert run.htlcs(run.d)

    run.world.kill(run.bob, victim)

    run.paid()


def downstream_waits(run: Relaying) -> None:
    """U's disk takes no write; carol fulfils, and her revoke_and_ack comes."""
    run.wait_for_carol()
    run.without(run.u)
    run.settle()
    for _ in range(20):
        run.world.advance()


def the_preimage_is_not_forgotten(run: Relaying) -> None:
    core = run.core(run.d)
    assert run.htlcs(run.d), "downstream has forgotten the HTLC before upstream has its preimage"
    assert core.their_number == core.their_revoked + 1, "carol's secret is on D's disk"
    assert run.knows_preimage(run.d)
    assert run.live(run.d).holds and run.live(run.d).inbox


def test_W5_downstream_waits_until_upstream_has_the_preimage() -> None:
    run = Relaying(held=True)
    downstream_waits(run)

    the_preimage_is_not_forgotten(run)

    run.again(run.u)
    run.paid()


@VICTIMS
def test_W6_downstream_failed_and_upstream_was_not_told(victim: str) -> None:
    run = Relaying(held=True)
    run.wait_for_carol()
    sentences.ask(run.carol, "payments", "holdinvoicecancel", payment_hash=run.hash)
    run.step_until(lambda: not run.htlcs(run.d), "it is gone downstream")

    run.world.kill(run.bob, victim)

    sentences.until(run.world, lambda: run.question in run.alice.answers, "alice knows")
    assert run.alice.answers[run.question].code == 203
    diamond.at_rest(run.world)
    assert diamond.balance_msat(run.bob) == run.before


def test_W7_a_preimage_beats_everything() -> None:
    """Whatever bob has written of it: who knows the preimage does not fail the HTLC."""
    run = Relaying(held=True)
    run.wait_for_carol()
    name = run.row.name
    cid, number = name.split("/")
    preimage = run.carol.row("payments", "invoice/x").preimage
    driver = run.bob.drivers["payments"]
    driver.rows.write(f"forward/{name}", run.row.but(status="failed"))

    ended = HtlcEnded(
        origin=f"{FORWARD}{name}/0", channel_id=bytes.fromhex(run.d), htlc_id=0, preimage=preimage
    )
    driver._handle("monitors-1", ended)
    run.world._flush(run.bob, "payments")
    run.world.settle()

    assert run.row.status == "settled"
    wish = run.bob.row("monitors", f"resolve_htlc/{cid}/{number}")
    assert wish is None or wish.preimage == preimage


def test_W8_upstream_is_closed_and_downstream_fulfils() -> None:
    """Its monitor has the preimage, for the chain."""
    run = Relaying(held=True)
    run.wait_for_carol()
    run.world.chain.submit(spending(run.world, run.u))
    run.world.mine(1)
    watch = lambda: run.bob.row("monitors", f"watch/{run.u}").ended  # noqa: E731
    sentences.until(run.world, watch, "U is seen to be closed")

    run.settle()

    sentences.until(run.world, lambda: run.knows_preimage(run.u), "U's monitor has the preimage")
    sentences.until(run.world, lambda: not run.htlcs(run.d), "and D goes on")


def test_W10_the_hold_is_back_after_a_restart() -> None:
    """LDK 4458: the blocker of a forward is put back when its claim is replayed."""
    run = Relaying(held=True)
    downstream_waits(run)
    the_preimage_is_not_forgotten(run)

    for victim in ("payments", run.bob.keeper(run.d)):
        run.world.kill(run.bob, victim)
        for _ in range(20):
            run.world.advance()
        the_preimage_is_not_forgotten(run)
    run.world.kill(run.bob, "peers")
    for _ in range(20):
        run.world.advance()
    assert run.live(run.d).holds, "the hold is not put back"

    run.again(run.u)
    run.paid()


@VICTIMS
def test_W11_the_event_of_a_forward_is_told(victim: str) -> None:
    run = Relaying()
    run.step_until(lambda: run.row is not None and run.row.status == "settled", "settled")

    run.world.kill(run.bob, victim)

    run.paid()
    event = sentences.ask(run.bob, "payments", "waitevent", lastevent=0)
    assert event["type"] == "forward_settled"
    assert event["in_msat"] - event["out_msat"] == sum(diamond.fees(run.bob))
