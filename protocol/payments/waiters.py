"""Open questions: rows "~wait/...". The API asks them again after a restart."""

from __future__ import annotations

from typing import Any

from protocol.machine import Answer, Ask, Step
from protocol.payments import view
from protocol.payments.rows import InvoiceRow, PartSet, Payment, Sent
from protocol.values import Value


class Waiter(Value, frozen=True, kw_only=True):
    """`until` is when the question is answered with `code` and `text`, None for never."""

    ask: Ask
    until: float | None = None
    code: int = 904
    text: str = "Timed out while waiting for invoice to be paid"


def answer(step: Step, ask: Ask, result: Any) -> None:
    step.say("api", Answer(id=ask.id, result=result))


def refuse(step: Step, ask: Ask, code: int, text: str, data: Any = None) -> None:
    step.say("api", Answer(id=ask.id, code=code, text=text, data=data))


def wait(step: Step, topic: str, ask: Ask, until: float | None = None, **refusal: Any) -> None:
    """`topic` has no slash but its own: a label is named by its payment hash."""
    step.put(f"~wait/{topic}/{ask.id}", Waiter(ask=ask, until=until, **refusal))
    if until is not None:
        step.wake(until)


def take(step: Step, topic: str) -> list[Ask]:
    """All that wait for this, once."""
    found = step.scan(f"~wait/{topic}/")
    for key in found:
        step.drop(key)
    return [waiter.ask for waiter in found.values()]


def invoice_paid(step: Step, row: InvoiceRow) -> None:
    for ask in take(step, f"invoice/{row.payment_hash.hex()}") + take(step, "any"):
        answer(step, ask, view.invoice(row, 0))


def invoice_held(step: Step, row: InvoiceRow, waiting: PartSet) -> None:
    """The whole payment is there, and waits for the user's word."""
    for ask in take(step, f"held/{row.payment_hash.hex()}"):
        answer(step, ask, view.held(row, waiting.but(whole=True)))


def invoice_deleted(step: Step, row: InvoiceRow) -> None:
    for ask in take(step, f"invoice/{row.payment_hash.hex()}"):
        refuse(step, ask, -1, "Invoice deleted during wait")


def payment_done(step: Step, row: Payment) -> None:
    for ask in take(step, f"pay/{row.payment_hash.hex()}"):
        payment_result(step, ask, row)


def payment_result(step: Step, ask: Ask, row: Payment) -> None:
    if row.status == "complete":
        shape = view.xpay if ask.method == "xpay" else view.pay
        answer(step, ask, shape(row))
    else:
        refuse(step, ask, row.code or 210, row.reason)


def part_done(step: Step, part: Sent, row: Payment) -> None:
    for ask in take(step, f"part/{part.origin}"):
        part_result(step, ask, part, row)


def part_result(step: Step, ask: Ask, part: Sent, row: Payment) -> None:
    if part.status == "complete":
        answer(step, ask, view.listsendpays(part, row))
    else:
        refuse(step, ask, part.code or 204, part.reason, view.failed_part(part, row))


def abandoned(step: Step, number: str) -> None:
    """Whoever asked this has gone."""
    for name, waiter in list(step.each("~wait")):
        if waiter.ask.id == number:
            step.drop(f"~wait/{name}")


def time_out(step: Step, now: float) -> None:
    for key, waiter in step.scan("~wait/").items():
        if waiter.until is not None and waiter.until <= now:
            step.drop(key)
            refuse(step, waiter.ask, waiter.code, waiter.text)
