"""Open questions, by what they wait for. The API asks them again after a restart."""

from __future__ import annotations

from typing import Any

from protocol.machine import Ask, Step
from protocol.payments import rpc
from protocol.payments.rows import InvoiceRow, PartSet, Payment, SentPart
from protocol.segment import Segment
from protocol.values import Value


class Waiter(Value, frozen=True, kw_only=True):
    """`until` is when the question is answered with `code` and `text`, None for never."""

    ask: Ask
    until: float | None = None
    code: int = 904
    text: str = "Timed out while waiting for invoice to be paid"


# what is waited for: of one payment hash, but for the last two
INVOICE, HELD, PAYMENT, PART = "invoice", "held", "payment", "part"
ANY_INVOICE, EVENT = "any invoice", "event"

WAITERS = Segment("~wait", Waiter, by=(str, bytes, str))  # topic, payment hash, the question's id


def answer(step: Step, ask: Ask, result: Any) -> None:
    step.answer(ask.id, result)


def refuse(step: Step, ask: Ask, code: int, text: str, data: Any = None) -> None:
    step.refuse(ask.id, code, text, data)


def wait(
    step: Step, topic: str, of: bytes, ask: Ask, until: float | None = None, **refusal: Any
) -> None:
    """`of`: the payment hash that the topic is about, empty if about all."""
    WAITERS.put(step, Waiter(ask=ask, until=until, **refusal), topic, of, ask.id)
    if until is not None:
        step.wake(until)


def take(step: Step, topic: str, of: bytes = b"") -> list[Ask]:
    """All that wait for this, once."""
    found = WAITERS.below(step, topic, of)
    for key in found:
        WAITERS.drop(step, *key)
    return [waiter.ask for waiter in found.values()]


def invoice_paid(step: Step, row: InvoiceRow) -> None:
    """Whoever waits for this invoice, or for any, is answered."""
    for ask in take(step, INVOICE, row.payment_hash) + take(step, ANY_INVOICE):
        answer(step, ask, rpc.invoice(row, 0))


def invoice_held(step: Step, row: InvoiceRow, waiting: PartSet) -> None:
    """The whole payment is there, and waits for the user's word."""
    for ask in take(step, HELD, row.payment_hash):
        answer(step, ask, rpc.held(row, waiting.but(whole=True)))


def invoice_deleted(step: Step, row: InvoiceRow) -> None:
    """Whoever waits for it waits no longer."""
    for ask in take(step, INVOICE, row.payment_hash):
        refuse(step, ask, -1, "Invoice deleted during wait")


def payment_done(step: Step, row: Payment) -> None:
    """Whoever waits for the payment is told how it has ended."""
    for ask in take(step, PAYMENT, row.payment_hash):
        payment_result(step, ask, row)


def payment_result(step: Step, ask: Ask, row: Payment) -> None:
    """How a payment has ended, in the words of the command that asked."""
    if row.status == "complete":
        shape = rpc.xpay if ask.method == "xpay" else rpc.pay
        answer(step, ask, shape(row))
    else:
        refuse(step, ask, row.code or 210, row.reason)


def part(step: Step, sent: SentPart, ask: Ask, until: float | None) -> None:
    """Wait for one part of a payment."""
    text = "Timed out while waiting"
    wait(step, _part(sent), sent.payment_hash, ask, until, code=200, text=text)


def _part(sent: SentPart) -> str:
    return f"{PART} {sent.groupid} {sent.partid}"


def part_done(step: Step, part: SentPart, row: Payment) -> None:
    """Whoever waits for the part is told how it has ended."""
    for ask in take(step, _part(part), part.payment_hash):
        part_result(step, ask, part, row)


def part_result(step: Step, ask: Ask, part: SentPart, row: Payment) -> None:
    """How a part has ended, as `waitsendpay` says it."""
    if part.status == "complete":
        answer(step, ask, rpc.listsendpays(part, row))
    else:
        refuse(step, ask, part.code or 204, part.reason, rpc.failed_part(part, row))


def abandoned(step: Step, number: str) -> None:
    """Whoever asked this has gone."""
    for key, waiter in list(WAITERS.each(step)):
        if waiter.ask.id == number:
            WAITERS.drop(step, *key)


def time_out(step: Step, now: float) -> None:
    """Those whose time is over are refused; `now` in unix seconds."""
    for key, waiter in WAITERS.below(step).items():
        if waiter.until is not None and waiter.until <= now:
            WAITERS.drop(step, *key)
            refuse(step, waiter.ask, waiter.code, waiter.text)
