"""Sending: a payment is a durable machine. It is known at any time whether it succeeded, failed,
or is pending; it is never sent twice for one hash, and a preimage is never forgotten."""

from __future__ import annotations

from protocol.channel.items import Offer, Withdraw
from protocol.crypto import sphinx
from protocol.crypto.hashes import sha256
from protocol.invoice import Invoice, InvoiceError, decode
from protocol.machine import Ask, Moment, Step
from protocol.monitor.items import HtlcEnded, HtlcRefused
from protocol.payments import waiters
from protocol.payments.rows import ChannelRow, Counters, Keysend, Payment
from protocol.payments.waiters import refuse
from protocol.wire import failures, payload
from protocol.wire.payload import HopPayload

RETRY_SECONDS, MAX_RETRY_SECONDS, DEFAULT_RETRY_FOR = 0.2, 5.0, 60
KEYSEND_CLTV, EXTRA_CLTV = 42, 1


def ask_pay(step: Step, network: str, us: bytes, ask: Ask, at: Moment) -> None:
    """pay and xpay: joins a running payment, answers a finished one, tries a failed one again."""
    try:
        invoice = decode(ask.params["bolt11"])
    except InvoiceError as error:
        refuse(step, ask, -32602, f"Invalid bolt11: {error}")
        return
    known = step.get(f"payment/{invoice.payment_hash.hex()}")
    if known is not None and known.status == "complete":
        waiters.payment_result(step, ask, known)
        return
    if known is not None and known.status == "pending":
        waiters.wait(step, f"pay/{invoice.payment_hash.hex()}", ask)
        return
    refusal = _refusal(invoice, network, us, ask, at)
    if refusal is not None:
        refuse(step, ask, *refusal)
        return
    amount = invoice.amount_msat or ask.params.get("amount_msat") or 0
    _begin(
        step,
        ask,
        at,
        Payment(
            payment_hash=invoice.payment_hash,
            destination=invoice.payee,
            amount_msat=amount,
            payment_secret=invoice.payment_secret,
            total_msat=amount,
            final_cltv=invoice.min_final_cltv_expiry,
            metadata=invoice.metadata,
            bolt11=ask.params["bolt11"],
            label=ask.params.get("label"),
            description=ask.params.get("description"),
            created_at=int(at.unix_seconds),
            created_index=0,
            deadline=at.unix_seconds + ask.params.get("retry_for", DEFAULT_RETRY_FOR),
            attempt=known.attempt if known is not None else 0,
        ),
    )


def _refusal(
    invoice: Invoice, network: str, us: bytes, ask: Ask, at: Moment
) -> tuple[int, str] | None:
    """Why this invoice cannot be paid at all: (code, text)."""
    given = ask.params.get("amount_msat")
    if invoice.network != network:
        return -32602, f"Invalid bolt11: the invoice is for {invoice.network}, we are on {network}"
    if invoice.expired(at.unix_seconds):
        return 207, "Invoice expired"
    if invoice.amount_msat is None and not given:
        return -32602, "amount_msat parameter required"
    if invoice.amount_msat is not None and given not in (None, invoice.amount_msat):
        return -32602, "amount_msat parameter unnecessary"
    if invoice.payee == us:
        return 205, "Self-payment: the invoice is our own"
    return None


def ask_keysend(step: Step, us: bytes, ask: Ask, at: Moment) -> None:
    """Asked again after a restart, the question finds its payment."""
    known = step.get(f"keysend/{ask.id}")
    if known is not None:
        row = step.get(f"payment/{known.payment_hash.hex()}")
        if row.status == "pending":
            waiters.wait(step, f"pay/{known.payment_hash.hex()}", ask)
        else:
            waiters.payment_result(step, ask, row)
        return
    destination = bytes.fromhex(ask.params["destination"])
    if destination == us:
        refuse(step, ask, 205, "Self-payment: the destination is ourselves")
        return
    preimage = sha256(b"keysend" + at.entropy)
    amount = ask.params["amount_msat"]
    step.put(f"keysend/{ask.id}", Keysend(payment_hash=sha256(preimage)))
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
        deadline=at.unix_seconds + ask.params.get("retry_for", DEFAULT_RETRY_FOR),
        keysend_preimage=preimage,
    )
    _begin(step, ask, at, row)


def _begin(step: Step, ask: Ask, at: Moment, row: Payment) -> None:
    counters = step.get("counters") or Counters()
    step.put("counters", counters.but(sent=counters.sent + 1))
    row = row.but(created_index=counters.sent + 1)
    waiters.wait(step, f"pay/{row.payment_hash.hex()}", ask)
    if not channels_to(step, row.destination):
        text = "no route: we have no usable channel with the destination"
        _fail(step, row, 205, text, at)
        return
    attempt(step, row, at)


def channels_to(step: Step, destination: bytes) -> list[bytes]:
    """Ids of our channels with this node, in a fixed order."""
    return [
        bytes.fromhex(key.removeprefix("channel/"))
        for key, row in _channels(step)
        if row.peer == destination
    ]


def _channels(step: Step) -> list[tuple[str, ChannelRow]]:
    index = step.get("~channels")
    if index is None:
        index = tuple(step.scan("channel/").items())
        step.put("~channels", index)
    return list(index)


def attempt(step: Step, row: Payment, at: Moment) -> None:
    """Offer one HTLC over the next channel of this round, or wait for the next round."""
    tip = step.get("~tip")
    possible = [c for c in channels_to(step, row.destination) if c not in row.never]
    left = [c for c in possible if c not in row.tried]
    if tip is None or not left:
        if at.unix_seconds >= row.deadline or not possible:
            _fail(step, row, 205, row.reason or "no channel could carry the payment", at)
            return
        pause = min(RETRY_SECONDS * 2 ** min(row.rounds, 8), MAX_RETRY_SECONDS)
        retry = at.unix_seconds + pause
        again = row.but(tried=(), origin="", retry_at=retry, rounds=row.rounds + 1)
        _put(step, again)
        step.wake(retry)
        return
    number = row.attempt + 1
    expiry = tip.height + row.final_cltv + EXTRA_CLTV
    session_key = sha256(b"session" + at.entropy + row.payment_hash)
    hop = HopPayload(
        amount_msat=row.amount_msat,
        cltv_expiry=expiry,
        payment_secret=row.payment_secret,
        total_msat=row.total_msat if row.payment_secret else None,
        payment_metadata=row.metadata,
        keysend_preimage=row.keysend_preimage,
    )
    onion, _ = sphinx.wrap(session_key, [(row.destination, payload.encode(hop))], row.payment_hash)
    origin = f"{row.payment_hash.hex()}/{number}"
    _put(
        step,
        row.but(
            attempt=number,
            origin=origin,
            channel_id=left[0],
            session_key=session_key,
            retry_at=None,
        ),
    )
    step.wake(row.deadline)
    step.tell(
        "monitors",
        Offer(
            channel_id=left[0],
            origin=origin,
            amount_msat=row.amount_msat,
            payment_hash=row.payment_hash,
            cltv_expiry=expiry,
            onion=onion,
        ),
    )


def _put(step: Step, row: Payment) -> None:
    """`~pending` names the payments that the clock may have to look at."""
    key = f"payment/{row.payment_hash.hex()}"
    step.put(key, row)
    if row.status == "pending":
        step.put(f"~pending/{row.payment_hash.hex()}", True)
    else:
        step.drop(f"~pending/{row.payment_hash.hex()}")


def _of(step: Step, origin: str) -> Payment | None:
    row = step.get(f"payment/{origin.partition('/')[0]}")
    assert row is None or isinstance(row, Payment)
    return row


def refused(step: Step, item: HtlcRefused, at: Moment) -> None:
    row = _of(step, item.origin)
    if row is None or row.origin != item.origin or row.status != "pending":
        return
    if row.withdrawn or at.unix_seconds >= row.deadline:
        reason = row.reason if item.reason == "withdrawn" else item.reason
        text = reason or "the time to retry is over, and nothing is in flight"
        _fail(step, row, 205 if row.reason else 210, text, at)
        return
    again = row.but(tried=(*row.tried, row.channel_id), origin="", reason=item.reason)
    if item.final:
        again = again.but(never=(*row.never, row.channel_id))
    attempt(step, again, at)


def ended(step: Step, item: HtlcEnded, at: Moment) -> None:
    row = _of(step, item.origin)
    if row is None or row.status == "complete":
        return
    if item.preimage is not None:
        # however late, and whatever we thought: a preimage means that it was paid
        done = row.but(
            status="complete",
            preimage=item.preimage,
            completed_at=int(at.unix_seconds),
            origin="",
            code=None,
            reason="",
        )
        _put(step, done)
        waiters.payment_done(step, done)
        return
    if row.origin != item.origin:
        return
    code, text, final = _blame(row, item)
    if final or at.unix_seconds >= row.deadline:
        _fail(step, row, code, text, at)
    else:
        attempt(step, row.but(tried=(*row.tried, row.channel_id), origin="", reason=text), at)


def _blame(row: Payment, item: HtlcEnded) -> tuple[int, str, bool]:
    """-> (Core Lightning's code, text, whether trying again is pointless)."""
    if item.failure is None:
        return 202, "the peer could not read our onion", True
    secrets, _ = sphinx.shared_secrets(row.session_key, [row.destination])
    read = sphinx.read_failure(secrets, item.failure)
    if read is None:
        return 202, "an unreadable failure came back", True
    failure = failures.decode(read[1])
    text = f"the destination answered {failure.name}"
    return 203, text, failure.permanent or failure.name.startswith(("final", "mpp"))


def _fail(step: Step, row: Payment, code: int, text: str, at: Moment) -> None:
    """Only when nothing is in flight: the user may take the money back now."""
    done = row.but(
        status="failed",
        code=code,
        reason=text,
        origin="",
        retry_at=None,
        completed_at=int(at.unix_seconds),
    )
    _put(step, done)
    waiters.payment_done(step, done)


def on_clock(step: Step, at: Moment) -> None:
    """Retries that are due; offers that nobody took before the deadline are withdrawn."""
    for key in step.scan("~pending/"):
        row = step.get(f"payment/{key.removeprefix('~pending/')}")
        if row.origin:
            if at.unix_seconds >= row.deadline and not row.withdrawn:
                _put(step, row.but(withdrawn=True))
                withdraw = Withdraw(channel_id=row.channel_id, origin=row.origin)
                step.tell("monitors", withdraw)
            else:
                step.wake(row.deadline if not row.withdrawn else at.unix_seconds + 1)
        elif row.retry_at is not None and row.retry_at <= at.unix_seconds:
            attempt(step, row.but(retry_at=None), at)
        elif row.retry_at is not None:
            step.wake(row.retry_at)


def resume(step: Step) -> None:
    """After a restart the clock must know again which payments are pending."""
    for key, row in step.scan("payment/").items():
        if row.status == "pending":
            step.put(f"~pending/{key.removeprefix('payment/')}", True)
