"""Receiving: an HTLC arrives, its onion is peeled, its set is collected, claimed or failed."""

from __future__ import annotations

from protocol.channel.items import Settle
from protocol.crypto import sphinx
from protocol.crypto.hashes import sha256
from protocol.errors import Malformed
from protocol.machine import Moment, Step
from protocol.monitor.items import Claim, ClaimKept, HtlcArrived
from protocol.payments import waiters
from protocol.payments.rows import (
    ClaimRow,
    Counters,
    InvoiceRow,
    Label,
    Part,
    PartSet,
)
from protocol.wire import failures, payload
from protocol.wire.payload import HopPayload

MPP_TIMEOUT_SECONDS = 60.0
FINAL_CLTV = 18


def arrived(step: Step, node_secret: bytes, item: HtlcArrived, at: Moment) -> None:
    """Every HTLC ends here in exactly one of: collected, claimed, failed, malformed."""
    try:
        peeled = sphinx.peel(node_secret, item.onion, item.payment_hash)
    except sphinx.OnionError as error:
        if error.code == sphinx.INVALID_ONION_PAYLOAD:
            error.code = sphinx.INVALID_ONION_HMAC
        settle = Settle(
            channel_id=item.channel_id,
            htlc_id=item.htlc_id,
            malformed=(sha256(item.onion), error.code),
        )
        step.tell("monitors", settle)
        return
    part = Part(
        channel_id=item.channel_id,
        htlc_id=item.htlc_id,
        amount_msat=item.amount_msat,
        cltv_expiry=item.cltv_expiry,
        shared_secret=peeled.shared_secret,
    )
    try:
        hop = payload.decode(peeled.payload)
    except Malformed:
        fail(step, part, failures.encode("invalid_onion_payload", type=0, offset=0))
        return
    if peeled.next_packet is not None:
        fail(step, part, failures.encode("unknown_next_peer"))
        return
    _final(step, part, hop, item.payment_hash, at)


def fail(step: Step, part: Part, message: bytes) -> None:
    packet = sphinx.obfuscate(
        part.shared_secret, sphinx.failure_packet(part.shared_secret, message)
    )
    step.tell("monitors", Settle(channel_id=part.channel_id, htlc_id=part.htlc_id, failure=packet))


def _unknown(step: Step, part: Part) -> None:
    """ "incorrect_or_unknown_payment_details": one answer for all, so that nobody can probe."""
    fail(
        step,
        part,
        failures.encode(
            "incorrect_or_unknown_payment_details",
            htlc_msat=part.amount_msat,
            height=step.get("~tip").height,
        ),
    )


def _final(step: Step, part: Part, hop: HopPayload, payment_hash: bytes, at: Moment) -> None:
    if part.cltv_expiry < hop.cltv_expiry:
        message = failures.encode("final_incorrect_cltv_expiry", cltv_expiry=part.cltv_expiry)
        fail(step, part, message)
        return
    if part.amount_msat < hop.amount_msat:
        message = failures.encode("final_incorrect_htlc_amount", incoming_htlc_amt=part.amount_msat)
        fail(step, part, message)
        return
    if hop.keysend_preimage is not None and sha256(hop.keysend_preimage) == payment_hash:
        if part.cltv_expiry < step.get("~tip").height + FINAL_CLTV:
            _unknown(step, part)
        else:
            _keysend(step, part, hop.keysend_preimage, at)
        return
    row = by_hash(step, payment_hash)
    if row is None or not _acceptable(step, row, part, hop, at):
        _unknown(step, part)
        return
    _collect(step, row, part, hop, at)


def by_hash(step: Step, payment_hash: bytes) -> InvoiceRow | None:
    label = step.get(f"hash/{payment_hash.hex()}")
    row = step.get(f"invoice/{label.label}") if label is not None else None
    assert row is None or isinstance(row, InvoiceRow)
    return row


def _acceptable(step: Step, row: InvoiceRow, part: Part, hop: HopPayload, at: Moment) -> bool:
    total = hop.total_msat or 0
    height = step.get("~tip").height
    return (
        row.status == "unpaid"
        and at.unix_seconds <= row.expires_at
        and hop.payment_secret == row.payment_secret
        and total >= hop.amount_msat
        and (row.amount_msat is None or row.amount_msat <= total <= 2 * row.amount_msat)
        and part.cltv_expiry >= height + row.min_final_cltv
        and step.get(f"claim/{payment_id(row.payment_hash)}") is None
    )


def payment_id(payment_hash: bytes) -> str:
    """Rows of a claim are found by hash while it runs; its identity is the set of its parts."""
    return payment_hash.hex()


def _collect(step: Step, row: InvoiceRow, part: Part, hop: HopPayload, at: Moment) -> None:
    key = f"set/{row.payment_hash.hex()}"
    total = hop.total_msat or 0
    waiting = step.get(key) or PartSet(parts=(), total_msat=total, since=at.unix_seconds)
    if waiting.total_msat != total:
        _unknown(step, part)  # "MUST fail the entire HTLC set if total_msat is not the same"
        return
    waiting = waiting.but(parts=(*waiting.parts, part.but(forward_msat=hop.amount_msat)))
    # BOLT 4 counts amt_to_forward: below total_msat "MUST NOT fulfill any HTLCs"
    if sum(one.forward_msat for one in waiting.parts) < total:
        step.put(key, waiting)
        step.wake(waiting.since + MPP_TIMEOUT_SECONDS)
        return
    step.drop(key)
    claim(step, row, waiting.parts)


def claim(step: Step, row: InvoiceRow, parts: tuple[Part, ...]) -> None:
    """The intent is written first; the preimage leaves with the outbox, after the write."""
    places = tuple(sorted((part.channel_id, part.htlc_id) for part in parts))
    channels = tuple(dict.fromkeys(channel for channel, _ in places))
    identity = sha256(row.payment_hash + b"".join(c + n.to_bytes(8, "big") for c, n in places))
    amount = sum(part.amount_msat for part in parts)
    step.put(
        f"claim/{payment_id(row.payment_hash)}",
        ClaimRow(
            payment_id=identity,
            payment_hash=row.payment_hash,
            preimage=row.preimage,
            parts=places,
            amount_msat=amount,
            label=row.label,
            waiting=channels,
        ),
    )
    step.put(f"id/{identity.hex()}", Label(label=payment_id(row.payment_hash)))
    step.tell(
        "monitors",
        Claim(
            payment_id=identity,
            preimage=row.preimage,
            parts=places,
            amount_msat=amount,
            label=row.label,
        ),
    )


def kept(step: Step, item: ClaimKept, at: Moment) -> None:
    """One monitor has it; when all have it, the invoice is paid and its event may be told."""
    found = step.get(f"id/{item.payment_id.hex()}")
    row = step.get(f"claim/{found.label}") if found is not None else None
    if row is None:
        return
    waiting = tuple(channel for channel in row.waiting if channel != item.channel_id)
    if waiting:
        step.put(f"claim/{found.label}", row.but(waiting=waiting))
        return
    step.drop(f"claim/{found.label}")
    step.drop(f"id/{item.payment_id.hex()}")
    _paid(step, row, at)


def _paid(step: Step, claimed: ClaimRow, at: Moment) -> None:
    row = step.get(f"invoice/{claimed.label}")
    counters = step.get("counters") or Counters()
    index = counters.paid + 1
    step.put("counters", counters.but(paid=index))
    row = row.but(
        status="paid",
        pay_index=index,
        paid_at=int(at.unix_seconds),
        received_msat=claimed.amount_msat,
    )
    step.put(f"invoice/{row.label}", row)
    step.put(f"paid/{index:016d}", Label(label=row.label))
    waiters.invoice_paid(step, row)


def _keysend(step: Step, part: Part, preimage: bytes, at: Moment) -> None:
    """Spontaneous: an invoice is made up for it, as Core Lightning does."""
    payment_hash = sha256(preimage)
    known = by_hash(step, payment_hash)
    if known is not None:
        _unknown(step, part)
        return
    counters = step.get("counters") or Counters()
    step.put("counters", counters.but(created=counters.created + 1))
    row = InvoiceRow(
        label=f"keysend-{payment_hash.hex()[:16]}-{counters.created + 1}",
        bolt11="",
        payment_hash=payment_hash,
        preimage=preimage,
        payment_secret=b"",
        amount_msat=part.amount_msat,
        description="keysend",
        created_at=int(at.unix_seconds),
        expires_at=int(at.unix_seconds) + 3600,
        min_final_cltv=FINAL_CLTV,
        created_index=counters.created + 1,
    )
    step.put(f"invoice/{row.label}", row)
    step.put(f"hash/{payment_hash.hex()}", Label(label=row.label))
    claim(step, row, (part,))


def time_out(step: Step, at: Moment) -> None:
    """Sets that were not completed in time are failed back whole."""
    for key, waiting in step.scan("set/").items():
        if at.unix_seconds - waiting.since >= MPP_TIMEOUT_SECONDS:
            step.drop(key)
            for part in waiting.parts:
                fail(step, part, failures.encode("mpp_timeout"))
