"""What users ask for: `pay`, `xpay` and `keysend` become payments (`send`)."""

from __future__ import annotations

from protocol.crypto.hashes import sha256
from protocol.errors import Refusal
from protocol.features import has
from protocol.invoice import Invoice, InvoiceError, decode
from protocol.machine import Ask, Moment, Step
from protocol.payments import send, sent_parts, waiters
from protocol.payments.rows import COUNTERS, KEYSENDS, PAYMENTS, Counters, Keysend, Payment
from protocol.payments.waiters import refuse

KEYSEND_CLTV = 42
MOST_PARTS = 16
MOST_DELAY_BLOCKS = 2016
EXEMPT_FEE_MSAT, MAX_FEE_PERCENT = 5_000, 0.5


def ask_pay(step: Step, network: str, us: bytes, ask: Ask, at: Moment) -> None:
    """pay and xpay: joins a running payment, answers a finished one, tries a failed one again."""
    try:
        invoice = decode(ask.params["bolt11"])
    except InvoiceError as error:
        refuse(step, ask, -32602, f"Invalid bolt11: {error}")
        return
    known = PAYMENTS.get(step, invoice.payment_hash)
    if known is not None and known.status == "complete":
        waiters.payment_result(step, ask, known)
        return
    if known is not None and known.status == "pending":
        waiters.wait(step, waiters.PAYMENT, invoice.payment_hash, ask)
        return
    try:
        row = _payment(invoice, network, us, ask, at)
    except Refusal as refusal:
        refuse(step, ask, refusal.code, str(refusal))
        return
    if known is not None:  # numbers of parts are never given twice
        row = row.but(groupid=known.groupid + 1)
    _begin(step, us, ask, at, row)


def _payment(invoice: Invoice, network: str, us: bytes, ask: Ask, at: Moment) -> Payment:
    """Raises `Refusal` if this invoice cannot be paid at all."""
    params, given = ask.params, ask.params.get("amount_msat")
    if invoice.network != network:
        text = f"Invalid bolt11: the invoice is for {invoice.network}, we are on {network}"
        raise Refusal(text, code=-32602)
    if invoice.expired(at.unix_seconds):
        raise Refusal("Invoice expired", code=207)
    if invoice.amount_msat is None and not given:
        raise Refusal("amount_msat parameter required", code=-32602)
    if invoice.amount_msat is not None and given not in (None, invoice.amount_msat):
        raise Refusal("amount_msat parameter unnecessary", code=-32602)
    if invoice.payee == us:
        raise Refusal("Self-payment: the invoice is our own", code=205)
    most_delay = params.get("maxdelay", MOST_DELAY_BLOCKS)
    if invoice.min_final_cltv_expiry + sent_parts.EXTRA_CLTV > most_delay:
        text = f"the invoice would lock the money for {invoice.min_final_cltv_expiry} blocks"
        raise Refusal(text, code=205)
    amount = invoice.amount_msat or given or 0
    return Payment(
        payment_hash=invoice.payment_hash,
        destination=invoice.payee,
        amount_msat=amount,
        payment_secret=invoice.payment_secret,
        total_msat=amount,
        final_cltv=invoice.min_final_cltv_expiry,
        metadata=invoice.metadata,
        bolt11=params["bolt11"],
        label=params.get("label"),
        description=params.get("description"),
        created_at=int(at.unix_seconds),
        created_index=0,
        deadline=at.unix_seconds + params.get("retry_for", send.DEFAULT_RETRY_FOR),
        most_fee_msat=most_fee(ask.method, params, amount),
        most_delay=most_delay,
        most_parts=MOST_PARTS if has(invoice.features, "basic_mpp") else 1,
        hints=invoice.routes,
    )


def most_fee(method: str, params: dict[str, object], amount_msat: int) -> int:
    """As Core Lightning: maxfee, or for pay the larger of maxfeepercent and exemptfee, or for
    xpay the larger of 1 % and 5 sat."""
    given = params.get("maxfee")
    if isinstance(given, int):
        return given
    percent = params.get("maxfeepercent", 1.0 if method == "xpay" else MAX_FEE_PERCENT)
    exempt = params.get("exemptfee", EXEMPT_FEE_MSAT)
    assert isinstance(percent, float | int) and isinstance(exempt, int)
    return max(int(amount_msat * percent / 100), exempt)


def ask_keysend(step: Step, us: bytes, ask: Ask, at: Moment) -> None:
    """Asked again after a restart, the question finds its payment."""
    known = KEYSENDS.get(step, ask.id)
    if known is not None:
        row = PAYMENTS.need(step, known.payment_hash)
        if row.status == "pending":
            waiters.wait(step, waiters.PAYMENT, known.payment_hash, ask)
        else:
            waiters.payment_result(step, ask, row)
        return
    destination = bytes.fromhex(ask.params["destination"])
    if destination == us:
        refuse(step, ask, 205, "Self-payment: the destination is ourselves")
        return
    amount = ask.params["amount_msat"]
    if not amount:
        refuse(step, ask, -32602, "amount_msat: should be more than 0")
        return
    preimage = sha256(b"keysend" + at.entropy)
    KEYSENDS.put(step, Keysend(payment_hash=sha256(preimage)), ask.id)
    row = Payment(
        payment_hash=sha256(preimage),
        destination=destination,
        amount_msat=amount,
        payment_secret=None,
        total_msat=amount,
        final_cltv=KEYSEND_CLTV,
        metadata=None,
        bolt11="",
        label=ask.params.get("label"),
        description=None,
        created_at=int(at.unix_seconds),
        created_index=0,
        deadline=at.unix_seconds + ask.params.get("retry_for", send.DEFAULT_RETRY_FOR),
        most_fee_msat=most_fee("keysend", ask.params, amount),
        most_delay=ask.params.get("maxdelay", MOST_DELAY_BLOCKS),
        keysend_preimage=preimage,
    )
    _begin(step, us, ask, at, row)


def _begin(step: Step, us: bytes, ask: Ask, at: Moment, row: Payment) -> None:
    counters = COUNTERS.get(step) or Counters()
    COUNTERS.put(step, counters.but(sent=counters.sent + 1))
    waiters.wait(step, waiters.PAYMENT, row.payment_hash, ask)
    send.go_on(step, us, row.but(created_index=counters.sent + 1), at)
