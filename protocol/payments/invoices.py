"""Invoices: made, shown, waited for, deleted; and those that the user holds (hold invoices)."""

from __future__ import annotations

from protocol import features
from protocol.chain.messages import TIP
from protocol.crypto.hashes import sha256
from protocol.errors import Refusal
from protocol.invoice import MAX_CLTV, Invoice, RouteHop, encode
from protocol.machine import Ask, Moment, Step
from protocol.payments import claims, receive, rpc, waiters
from protocol.payments.rows import (
    COUNTERS,
    INVOICES,
    LABELS,
    PAID,
    SETS,
    TERMS,
    Counters,
    InvoiceRow,
    Label,
    TermsRow,
)
from protocol.payments.waiters import answer, refuse

DEFAULT_INVOICE_EXPIRY = 604800
MAX_DESCRIPTION = 639
EXPIRED = "Invoice expired during wait"
HOLD_CLTV = 144  # a day for the holder to decide
MOST_HINTS = 3
NO_HEIGHT = "the height of the chain is not known yet: try again"


def create(step: Step, network: str, node_secret: bytes, us: bytes, ask: Ask, at: Moment) -> None:
    """`invoice` and `holdinvoice`: asked again by the same question, the same answer."""
    params = ask.params
    known = INVOICES.get(step, params["label"])
    try:
        if known is not None and known.ask != ask.id:
            raise Refusal(f"Duplicate label {params['label']!r}", code=900)
        if len(params["description"].encode()) > MAX_DESCRIPTION and not params.get("deschashonly"):
            text = f"description: longer than {MAX_DESCRIPTION} bytes: use deschashonly"
            raise Refusal(text, code=-32602)
        row = known or _make(step, network, node_secret, us, ask, at)
    except Refusal as refusal:
        refuse(step, ask, refusal.code, str(refusal))
        return
    shown = {
        "payment_hash": row.payment_hash.hex(),
        "expires_at": row.expires_at,
        "bolt11": row.bolt11,
        "payment_secret": row.payment_secret.hex(),
        "created_index": row.created_index,
    }
    answer(step, ask, shown)


def _hashes(ask: Ask, at: Moment) -> tuple[bytes | None, bytes]:
    """(preimage if it is known, payment hash). Raises `Refusal`."""
    given, only_hash = ask.params.get("preimage"), ask.params.get("payment_hash")
    if only_hash is not None and given is None:
        return None, bytes.fromhex(only_hash)
    preimage = bytes.fromhex(given) if given else sha256(b"preimage" + at.entropy)
    if only_hash is not None and sha256(preimage).hex() != only_hash:
        raise Refusal("preimage: it is not that of payment_hash", code=-32602)
    return preimage, sha256(preimage)


def _make(
    step: Step, network: str, node_secret: bytes, us: bytes, ask: Ask, at: Moment
) -> InvoiceRow:
    """Raises `Refusal`."""
    params, now, held = ask.params, int(at.unix_seconds), ask.method == "holdinvoice"
    preimage, payment_hash = _hashes(ask, at)
    if LABELS.get(step, payment_hash) is not None:
        raise Refusal("Invoice with that preimage exists", code=901)
    counters = COUNTERS.get(step) or Counters()
    COUNTERS.put(step, counters.but(created=counters.created + 1))
    description = params["description"]
    expiry = params.get("expiry", DEFAULT_INVOICE_EXPIRY)
    cltv = params.get("cltv", HOLD_CLTV if held else receive.FINAL_CLTV)
    if not receive.FINAL_CLTV <= cltv <= MAX_CLTV:
        text = f"cltv: should be from {receive.FINAL_CLTV} to {MAX_CLTV} blocks"
        raise Refusal(text, code=-32602)
    invoice = Invoice(
        network=network,
        amount_msat=params["amount_msat"],
        timestamp=now,
        payment_hash=payment_hash,
        payment_secret=sha256(b"payment secret" + at.entropy),
        payee=us,
        description=None if params.get("deschashonly") else description,
        description_hash=sha256(description.encode()) if params.get("deschashonly") else None,
        expiry_seconds=expiry,
        min_final_cltv_expiry=cltv,
        features=features.OUR_INVOICE,
        routes=_hints(step, params.get("exposeprivatechannels")),
    )
    row = InvoiceRow(
        label=params["label"],
        bolt11=encode(invoice, node_secret),
        payment_hash=payment_hash,
        preimage=preimage,
        payment_secret=invoice.payment_secret,
        amount_msat=invoice.amount_msat,
        description=description,
        created_at=now,
        expires_at=now + expiry,
        min_final_cltv=cltv,
        created_index=counters.created + 1,
        ask=ask.id,
        held=held,
    )
    INVOICES.put(step, row, row.label)
    LABELS.put(step, Label(label=row.label), payment_hash)
    return row


def _hints(step: Step, expose: object) -> tuple[tuple[RouteHop, ...], ...]:
    """Private channels by which we can be reached: all if we have no public one, or as asked."""
    terms = list(TERMS.below(step).values())
    if expose is False or expose is None and any(one.public for one in terms):
        return ()
    wanted = expose if isinstance(expose, list) else None
    hidden = [one for one in terms if not one.public and one.theirs is not None]
    chosen = [one for one in hidden if wanted is None or rpc.scid(one.scid) in wanted]
    return tuple((_hint(one),) for one in chosen[:MOST_HINTS])


def _hint(terms: TermsRow) -> RouteHop:
    assert terms.theirs is not None
    return RouteHop(
        node_id=terms.peer,
        short_channel_id=terms.called,
        fee_base_msat=terms.theirs.fee_base_msat,
        fee_proportional_millionths=terms.theirs.fee_proportional_millionths,
        cltv_expiry_delta=terms.theirs.cltv_expiry_delta,
    )


def listed(step: Step, ask: Ask, at: Moment) -> list[dict[str, object]]:
    """The rows of `listinvoices`, by creation."""
    label, wanted = ask.params.get("label"), ask.params.get("payment_hash")
    if label is not None:
        found = [INVOICES.get(step, label)]
    elif wanted is not None:
        found = [receive.by_hash(step, bytes.fromhex(wanted))]
    else:
        found = list(INVOICES.below(step).values())
    text = ask.params.get("invstring")
    rows = sorted((row for row in found if row), key=lambda row: row.created_index)
    start = ask.params.get("start", 0)
    rows = [row for row in rows if row.created_index >= start and text in (None, row.bolt11)]
    return [rpc.invoice(row, at.unix_seconds) for row in rows[: ask.params.get("limit")]]


def delete(step: Step, ask: Ask, at: Moment) -> None:
    """`delinvoice`: its label is free again. Nothing of it may be on the way."""
    label = ask.params["label"]
    row = INVOICES.get(step, label)
    if row is None:
        refuse(step, ask, 905, "Unknown invoice")
        return
    if TIP.get(step) is None and SETS.get(step, row.payment_hash) is not None:
        refuse(step, ask, -1, NO_HEIGHT)
        return
    shown = rpc.invoice(row, at.unix_seconds)
    claiming = row.claim and row.status != "paid"
    if shown["status"] != ask.params["status"] or claiming:
        text = f"Invoice status is {shown['status']} not {ask.params['status']}"
        refuse(step, ask, 906, text)
        return
    receive.cancel(step, row)
    INVOICES.drop(step, label)
    LABELS.drop(step, row.payment_hash)
    if row.pay_index is not None:
        PAID.drop(step, row.pay_index)
    waiters.invoice_deleted(step, row)
    answer(step, ask, shown)


def wait_one(step: Step, ask: Ask, at: Moment) -> None:
    """`waitinvoice`: answered when it is paid, or has expired."""
    row = INVOICES.get(step, ask.params["label"])
    if row is None:
        refuse(step, ask, -1, "Label not found")
    elif row.status == "paid":
        answer(step, ask, rpc.invoice(row, at.unix_seconds))
    elif at.unix_seconds > row.expires_at:
        refuse(step, ask, 903, EXPIRED)
    else:
        name = row.payment_hash
        waiters.wait(step, waiters.INVOICE, name, ask, row.expires_at, code=903, text=EXPIRED)


def wait_any(step: Step, ask: Ask, at: Moment) -> None:
    """The first invoice with a pay_index above the given one."""
    counters = COUNTERS.get(step) or Counters()
    first = max(ask.params.get("lastpay_index", 0) + 1, counters.first_paid)
    for index in range(first, counters.paid + 1):
        label = PAID.get(step, index)
        if label is not None:
            row = INVOICES.need(step, label.label)
            answer(step, ask, rpc.invoice(row, at.unix_seconds))
            return
    timeout = ask.params.get("timeout")
    until = at.unix_seconds + timeout if timeout is not None else None
    waiters.wait(step, waiters.ANY_INVOICE, b"", ask, until)


# ---- hold invoices ------------------------------------------------------------------------------


def settle(step: Step, ask: Ask) -> None:
    """The user says the preimage, or that it may be used: all parts of the set, or none."""
    given = ask.params.get("preimage")
    payment_hash = sha256(bytes.fromhex(given)).hex() if given else ask.params.get("payment_hash")
    row = _held(step, ask, payment_hash)
    if row is None:
        return
    if TIP.get(step) is None:
        refuse(step, ask, -1, NO_HEIGHT)
        return
    if row.claim:  # said before
        answer(step, ask, held_row(step, row))
        return
    waiting = SETS.get(step, row.payment_hash)
    preimage = bytes.fromhex(given) if given else row.preimage
    if preimage is None:
        refuse(step, ask, -32602, "preimage: it is needed, for we do not know it")
    elif waiting is None or not waiting.whole:
        refuse(step, ask, 906, "Holdinvoice is in wrong state: no whole payment waits for it")
    elif receive.too_late(waiting.parts, TIP.need(step).height):
        receive.cancel(step, row)
        refuse(step, ask, 906, "the payment was about to expire, and was given back")
    else:
        SETS.drop(step, row.payment_hash)
        claims.begin(step, row.but(preimage=preimage), waiting.parts)
        answer(step, ask, held_row(step, INVOICES.need(step, row.label)))


def cancel(step: Step, ask: Ask) -> None:
    """`holdinvoicecancel`: what waits for it is failed back."""
    row = _held(step, ask, ask.params["payment_hash"])
    if row is None:
        return
    if TIP.get(step) is None:
        refuse(step, ask, -1, NO_HEIGHT)
        return
    if row.claim:
        refuse(step, ask, 906, "Holdinvoice is in wrong state: it is settled")
        return
    receive.cancel(step, row)
    row = row.but(status="cancelled")
    INVOICES.put(step, row, row.label)
    answer(step, ask, held_row(step, row))


def lookup(step: Step, ask: Ask) -> None:
    """`holdinvoicelookup`."""
    row = _held(step, ask, ask.params["payment_hash"])
    if row is not None:
        answer(step, ask, held_row(step, row))


def _held(step: Step, ask: Ask, payment_hash: str | None) -> InvoiceRow | None:
    row = receive.by_hash(step, bytes.fromhex(payment_hash)) if payment_hash else None
    if row is None or not row.held:
        refuse(step, ask, 905, "Unknown holdinvoice")
        return None
    return row


def held_row(step: Step, row: InvoiceRow) -> dict[str, object]:
    """A row of the answers about hold invoices."""
    waiting = SETS.get(step, row.payment_hash)
    return rpc.held(row, waiting)
