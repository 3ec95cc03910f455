"""Claims: the intent is written first, then every monitor of the set, then it is done.

An intent names its set (`payment_id`), never only the payment hash: a second payment with the same
hash is another set. What is lost here any one monitor brings back (`found`).
"""

from __future__ import annotations

from protocol.channel.messages import claim_hold
from protocol.crypto.hashes import sha256
from protocol.machine import Moment, Step
from protocol.monitor.messages import Claim, ClaimFound, ClaimKept, Release
from protocol.payments import events, waiters
from protocol.payments.rows import (
    CLAIMED,
    CLAIMS,
    COUNTERS,
    INVOICES,
    LABELS,
    PAID,
    ClaimRow,
    Counters,
    InvoiceRow,
    Label,
    ReceivedPart,
)


def payment_id(payment_hash: bytes, places: tuple[tuple[bytes, int], ...]) -> bytes:
    """32 bytes: the hash of what is paid and of the set of its parts."""
    return sha256(payment_hash + b"".join(cid + n.to_bytes(8, "big") for cid, n in places))


def begin(step: Step, row: InvoiceRow, parts: tuple[ReceivedPart, ...]) -> None:
    """The preimage leaves with the outbox, after the write of this intent."""
    assert row.preimage is not None and not row.claim
    places = tuple(sorted((part.channel_id, part.htlc_id) for part in parts))
    claim = ClaimRow(
        payment_id=payment_id(row.payment_hash, places),
        preimage=row.preimage,
        parts=places,
        amount_msat=sum(part.amount_msat for part in parts),
        label=row.label,
        waiting=tuple(dict.fromkeys(channel for channel, _ in places)),
    )
    INVOICES.put(step, row.but(claim=claim.payment_id), row.label)
    _intend(step, claim, row.description)


def _intend(step: Step, claim: ClaimRow, description: str) -> None:
    CLAIMS.put(step, claim, claim.payment_id)
    for channel_id in claim.waiting:
        told = Claim(
            channel_id=channel_id,
            payment_id=claim.payment_id,
            preimage=claim.preimage,
            parts=claim.parts,
            amount_msat=claim.amount_msat,
            label=claim.label,
            description=description,
        )
        step.deliver("monitors", told)


def kept(step: Step, item: ClaimKept, at: Moment) -> None:
    """One monitor has it; when all have it, the invoice is paid and its event may be told."""
    row = CLAIMS.get(step, item.payment_id)
    if row is None:
        return
    waiting = tuple(channel for channel in row.waiting if channel != item.channel_id)
    if waiting:
        CLAIMS.put(step, row.but(waiting=waiting), item.payment_id)
        return
    CLAIMS.drop(step, item.payment_id)
    _paid(step, row, at)
    channels = tuple(dict.fromkeys(channel for channel, _ in row.parts))
    for channel_id in channels if len(channels) > 1 else ():
        release(step, channel_id, row.payment_id)


def release(step: Step, channel_id: bytes, payment_id: bytes) -> None:
    """The preimage is durable everywhere: what was held back on this channel goes on."""
    hold = claim_hold(payment_id)
    step.deliver("monitors", Release(channel_id=channel_id, hold=hold))


def found(step: Step, item: ClaimFound) -> None:
    """A monitor has this claim. Usually it is known here, or done; after a loss it is begun anew:
    one monitor is enough to bring the claim to all the others, and the payment back to the user."""
    claim = item.claim
    if CLAIMS.get(step, claim.payment_id) is not None:
        return  # each monitor has been told, or will be
    if CLAIMED.get(step, claim.payment_id) is not None:
        if not item.released:
            release(step, claim.channel_id, claim.payment_id)
        return
    row = INVOICES.get(step, claim.label)
    if row is None or row.payment_hash != sha256(claim.preimage) or row.claim:
        row = _invoice_again(step, claim)
    intent = ClaimRow(
        payment_id=claim.payment_id,
        preimage=claim.preimage,
        parts=claim.parts,
        amount_msat=claim.amount_msat,
        label=row.label,
        waiting=claim.channels,
    )
    INVOICES.put(step, row.but(claim=claim.payment_id, preimage=claim.preimage), row.label)
    _intend(step, intent, claim.description)


def _invoice_again(step: Step, claim: Claim) -> InvoiceRow:
    """What the monitor knows of an invoice that payments has lost."""
    counters = COUNTERS.get(step) or Counters()
    COUNTERS.put(step, counters.but(created=counters.created + 1))
    payment_hash = sha256(claim.preimage)
    label = claim.label
    if INVOICES.get(step, label) is not None:  # of another payment by now
        label = f"{label} ({claim.payment_id.hex()[:8]})"
    LABELS.put(step, Label(label=label), payment_hash)
    return InvoiceRow(
        label=label,
        bolt11="",
        payment_hash=payment_hash,
        preimage=claim.preimage,
        payment_secret=b"",
        amount_msat=claim.amount_msat,
        description=claim.description,
        created_at=0,
        expires_at=0,
        min_final_cltv=0,
        created_index=counters.created + 1,
    )


def _paid(step: Step, claimed: ClaimRow, at: Moment) -> None:
    row = INVOICES.need(step, claimed.label)
    counters = COUNTERS.get(step) or Counters()
    index = counters.paid + 1
    COUNTERS.put(step, counters.but(paid=index))
    row = row.but(
        status="paid",
        pay_index=index,
        paid_at=int(at.unix_seconds),
        received_msat=claimed.amount_msat,
    )
    INVOICES.put(step, row, row.label)
    PAID.put(step, Label(label=row.label), index)
    # for as long as a monitor may speak of it: the invoice may be deleted, and its label used again
    CLAIMED.put(step, Label(label=row.label), claimed.payment_id)
    waiters.invoice_paid(step, row)
    events.happened(
        step,
        at,
        "invoice_paid",
        label=row.label,
        payment_hash=row.payment_hash.hex(),
        payment_id=claimed.payment_id.hex(),
        amount_received_msat=claimed.amount_msat,
        parts=len(claimed.parts),
        pay_index=index,
    )
