"""How payments could lose money: a lost snapshot, late parts, odd invoices and wishes."""

from __future__ import annotations

from typing import Any

import pytest

from actors.engine.table import Table
from actors.testkit.node import sentences
from actors.testkit.node.stories import diamond
from actors.testkit.node.world import World
from protocol.channel.messages import FORWARD
from protocol.invoice import Invoice, InvoiceError, RouteHop, decode, encode
from protocol.machine import Moment, Step
from protocol.monitor.messages import HtlcStands
from protocol.payments import rebuild
from protocol.payments.rows import Standing
from tests.kit.claiming import Claiming, Relaying


def _lose_payments(world: World, node: Any) -> None:
    world.stop(node, "payments")
    node.disks["payments"].lose()
    world.start_again(node, "payments")


@pytest.mark.parametrize("settled", [True, False])
def test_a_relayed_htlc_is_not_judged_again_after_a_loss(*, settled: bool) -> None:
    """bob's payments is lost while carol holds what he relayed: neither failed nor relayed."""
    run = Relaying(held=True)
    run.wait_for_carol()
    run.world.settle()
    _lose_payments(run.world, run.bob)
    for _ in range(20):
        run.world.advance(1)
    assert run.htlcs(run.u) and run.htlcs(run.d)
    assert run.core(run.d).our_next_htlc == 1

    if settled:
        run.settle()
        run.paid()
        return
    sentences.ask(run.carol, "payments", "holdinvoicecancel", payment_hash=run.hash)
    answers = run.alice.answers
    sentences.until(run.world, lambda: run.question in answers, "alice knows")
    assert answers[run.question].code == 203
    diamond.at_rest(run.world)


def test_of_several_tries_that_stand_the_last_one_lives() -> None:
    """A rebuilt store hears of them in any order: the failure of an earlier one ends nothing."""
    rows = Table()
    tries = [
        HtlcStands(
            origin=f"{FORWARD}{'ab' * 32}/0/{number}",
            channel_id=bytes([number]) * 32,
            amount_msat=1,
            payment_hash=bytes(32),
            cltv_expiry=500,
        )
        for number in (2, 1, 3)
    ]
    for item in tries:
        step = Step(rows)
        rebuild.stands(step, item, Moment(unix_seconds=0.0, entropy=bytes(32)))
        rows.apply(step.changed_rows)

    (kept,) = rows.shown("standing").values()
    assert kept == tries[-1].into(Standing)


def test_parts_of_a_claim_are_not_failed_before_the_claim_is_known_again() -> None:
    """A has the claim, B has not; payments is lost, and A's monitor is the last to come back."""
    run = Claiming()
    a, b = run.cids
    run.step_until(lambda: run.claim() is not None, "the intent is written")
    run.without(b)
    run.step_until(lambda: run.has_claim(a), "A has it")
    run.world.stop(run.bob, run.keepers[0])
    run.world.links = {k: v for k, v in run.world.links.items() if "payments" not in k}
    run.world.stop(run.bob, "payments")
    run.bob.disks["payments"].lose()
    run.world.start_again(run.bob, "payments")
    run.again(b)
    for _ in range(5):
        run.world.advance(1)

    run.again(a)

    run.claimed()


def test_a_payment_that_was_under_way_before_a_loss_is_not_sent_twice() -> None:
    run = Claiming(held=True)
    key = f"set/{run.hash}"
    sentences.until(run.world, lambda: getattr(run.bob.row("payments", key), "whole", 0), "whole")
    run.alice.asked.clear()
    _lose_payments(run.world, run.alice)

    again = run.world.ask(run.alice, "payments", "pay", bolt11=run.invoice["bolt11"])
    for _ in range(20):
        run.world.advance(1)

    assert again not in run.alice.answers
    row = run.alice.row("payments", f"payment/{run.hash}")
    assert (row.status, len(row.living)) == ("pending", 2)
    sentences.ask(run.bob, "payments", "holdinvoicesettle", payment_hash=run.hash)
    sentences.until(run.world, lambda: again in run.alice.answers, "it is answered")
    assert run.alice.answers[again].result["amount_sent_msat"] == run.amount
    diamond.at_rest(run.world)


def _pair() -> tuple[World, Any, Any]:
    world = World()
    alice, bob = world.node("alice"), world.node("bob")
    diamond.linked(world, [("alice", "bob")])
    return world, alice, bob


def test_a_set_times_out_also_after_a_restart() -> None:
    world, alice, bob = _pair()
    made = sentences.invoice(bob, 60_000_000, "half")
    sentences.send_part(alice, bob, made, 20_000_000, 1)
    sentences.until(world, lambda: bob.rows("payments", "set"), "the first part waits")

    world.kill(bob, "payments")
    world.advance(61)

    sentences.until(world, lambda: not bob.rows("payments", "set"), "it was given back")
    diamond.at_rest(world)


def test_a_part_that_is_about_to_expire_is_not_claimed_with_a_late_one() -> None:
    """payments was away for so long that the first part's expiry has come near."""
    world, alice, bob = _pair()
    made = sentences.invoice(bob, 60_000_000, "late")
    sentences.send_part(alice, bob, made, 20_000_000, 1)
    sentences.until(world, lambda: bob.rows("payments", "set"), "the first part waits")
    expiry = next(iter(bob.rows("payments", "set").values())).parts[0].cltv_expiry
    world.stop(bob, "payments")
    while world.chain.height < expiry - 5:
        world.mine(1)
    sentences.send_part(alice, bob, made, 40_000_000, 2)
    world.settle()

    world.start_again(bob, "payments")
    sentences.until(world, lambda: not bob.rows("monitors", "htlc"), "both went back")

    assert diamond.balance_msat(bob) == 0


def test_a_deleted_invoice_does_not_come_back_nor_pay_another_one() -> None:
    """alice keeps the claim in bob's monitor by going away before her last revoke_and_ack."""
    run = Claiming()
    run.step_until(lambda: run.status() == "paid", "it is paid")
    assert any(run.has_claim(cid) for cid in run.cids)
    run.world.cut(run.alice, run.bob)
    for role in run.alice.roles:
        run.world.stop(run.alice, role)
    sentences.ask(run.bob, "payments", "delinvoice", label="claim", status="paid")
    sentences.ask(
        run.bob, "payments", "invoice", label="claim", amount_msat=900_000_000, description="new"
    )

    run.world.kill(run.bob)
    for _ in range(5):
        run.world.advance(1)

    (row,) = run.bob.rows("payments", "invoice").values()
    assert (row.status, row.amount_msat, row.pay_index) == ("unpaid", 900_000_000, None)


def test_no_part_is_sent_above_the_whole_amount() -> None:
    world, alice, bob = _pair()
    asked = {"label": "x", "amount_msat": 10_000_000, "description": "x"}
    made = sentences.ask(bob, "payments", "holdinvoice", cltv=20, **asked)
    sentences.send_part(alice, bob, made, 10_000_000, 1)

    with pytest.raises(sentences.Refused) as refused:
        sentences.send_part(alice, bob, made, 10_000_000, 2)

    assert refused.value.code == 200
    world.settle()
    assert len(bob.rows("monitors", "htlc")) == 1


def test_a_part_that_failed_may_be_sent_again_without_naming_a_group() -> None:
    _, alice, bob = _pair()
    made = sentences.invoice(bob, 10_000_000, "x")
    sentences.ask(bob, "payments", "delinvoice", label="x", status="unpaid")
    hop = {
        "amount_msat": 10_000_000, "id": bob.id.hex(), "delay": 30,
        "channel": "1x1x1",
    }  # fmt: skip
    for group in (1, 2):
        payment = {"payment_hash": made["payment_hash"]}
        sent = sentences.ask(alice, "payments", "sendpay", route=[hop], **payment)
        assert sent["groupid"] == group
        with pytest.raises(sentences.Refused) as refused:
            sentences.ask(alice, "payments", "waitsendpay", **payment)
        assert refused.value.code == 203


def test_a_pending_payment_is_found_by_its_invoice_however_it_is_written() -> None:
    world, alice, bob = _pair()
    asked = {"label": "x", "amount_msat": 10_000_000, "description": "x"}
    made = sentences.ask(bob, "payments", "holdinvoice", **asked)
    world.ask(alice, "payments", "pay", bolt11=made["bolt11"].upper())
    world.settle()

    for text in (made["bolt11"], "lightning:" + made["bolt11"].upper()):
        (row,) = sentences.ask(alice, "payments", "listpays", bolt11=text)
        assert row["status"] == "pending"


def test_an_invoice_that_locks_the_money_for_too_long_is_not_paid() -> None:
    _, alice, bob = _pair()
    asked = {"label": "x", "amount_msat": 10_000_000, "description": "x", "cltv": 2000}
    made = sentences.ask(bob, "payments", "holdinvoice", **asked)

    with pytest.raises(sentences.Refused, match="lock the money") as refused:
        sentences.ask(alice, "payments", "pay", bolt11=made["bolt11"], maxdelay=144)

    assert refused.value.code == 205
    with pytest.raises(sentences.Refused, match="cltv"):
        sentences.ask(bob, "payments", "invoice", **(asked | {"label": "y", "cltv": 5}))


SECRET = bytes([7]) * 32
NO_POINT = RouteHop(
    node_id=bytes([2]) + bytes([0xFF]) * 32,
    short_channel_id=bytes(8),
    fee_base_msat=0,
    fee_proportional_millionths=0,
    cltv_expiry_delta=0,
)


@pytest.mark.parametrize(
    "odd",
    [
        {"amount_msat": 10**30},
        {"min_final_cltv_expiry": 1 << 70},
        {"expiry_seconds": 1 << 70},
        {"routes": ((NO_POINT,),)},
    ],
    ids=["amount", "cltv", "expiry", "hint"],
)
def test_an_odd_invoice_is_refused_and_nothing_more(odd: dict[str, Any]) -> None:
    fields: dict[str, Any] = {
        "network": "regtest", "amount_msat": 1_000, "timestamp": 1_700_000_000,
        "payment_hash": bytes(32), "payment_secret": bytes(32), "payee": b"",
        "description": "odd", "features": frozenset({8, 14, 17}),
    }  # fmt: skip
    text = encode(Invoice(**(fields | odd)), SECRET)

    with pytest.raises(InvoiceError):
        decode(text)


def test_a_route_that_does_not_fit_into_an_onion_is_refused() -> None:
    _, alice, bob = _pair()
    hop = {"amount_msat": 1_000, "id": bob.id.hex(), "delay": 30, "channel": "1x1x1"}

    with pytest.raises(sentences.Refused, match="does not fit") as refused:
        sentences.ask(alice, "payments", "sendpay", route=[hop] * 40, payment_hash="00" * 32)

    assert refused.value.code == -32602
    assert not alice.rows("payments", "payment")
