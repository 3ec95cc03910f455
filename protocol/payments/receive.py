"""Receiving: an HTLC arrives, its onion is peeled; it is relayed, or its set is collected."""

from __future__ import annotations

from protocol.chain.messages import TIP
from protocol.channel.messages import ResolveHtlc
from protocol.crypto.hashes import sha256
from protocol.errors import Malformed
from protocol.machine import Moment, Step
from protocol.monitor.messages import HtlcArrived
from protocol.onion import failures, payload, sphinx
from protocol.onion.payload import HopPayload
from protocol.payments import claims, events, relay, waiters
from protocol.payments.rows import (
    COUNTERS,
    INVOICES,
    LABELS,
    SETS,
    Counters,
    InvoiceRow,
    Label,
    PartSet,
    ReceivedPart,
)

MPP_TIMEOUT_SECONDS = 60.0
FINAL_CLTV = 18
# an answer this near to the expiry might come too late to be taken off-chain
CLAIM_BLOCKS = 18


def arrived(step: Step, node_secret: bytes, item: HtlcArrived, at: Moment) -> None:
    """Every HTLC ends here in exactly one of: relayed, collected, claimed, failed, malformed."""
    try:
        peeled = sphinx.peel(node_secret, item.onion, item.payment_hash)
    except sphinx.OnionError as error:
        if error.code == sphinx.INVALID_ONION_PAYLOAD:
            error.code = sphinx.INVALID_ONION_HMAC
        settle = ResolveHtlc(
            channel_id=item.channel_id,
            htlc_id=item.htlc_id,
            malformed=(sha256(item.onion), error.code),
        )
        step.deliver("monitors", settle)
        return
    part = ReceivedPart(
        channel_id=item.channel_id,
        htlc_id=item.htlc_id,
        amount_msat=item.amount_msat,
        cltv_expiry=item.cltv_expiry,
        shared_secret=peeled.shared_secret,
    )
    if item.dusty:
        fail(step, part, failures.encode("temporary_channel_failure", channel_update=b""))
        return
    try:
        hop = payload.decode(peeled.payload)
    except Malformed:
        fail(step, part, failures.encode("invalid_onion_payload", type=0, offset=0))
        return
    if peeled.next_packet is not None:
        relay.begin(step, part, hop, item.payment_hash, peeled.next_packet, at)
        return
    _final(step, part, hop, item.payment_hash, at)


fail = relay.fail


def unknown(step: Step, part: ReceivedPart) -> None:
    """ "incorrect_or_unknown_payment_details": one answer for all, so that nobody can probe."""
    fail(
        step,
        part,
        failures.encode(
            "incorrect_or_unknown_payment_details",
            htlc_msat=part.amount_msat,
            height=TIP.need(step).height,
        ),
    )


def _final(
    step: Step, part: ReceivedPart, hop: HopPayload, payment_hash: bytes, at: Moment
) -> None:
    # "if the cltv_expiry from the final node's HTLC is below outgoing_cltv_value"
    if part.cltv_expiry < hop.cltv_expiry:
        message = failures.encode("final_incorrect_cltv_expiry", cltv_expiry=part.cltv_expiry)
        fail(step, part, message)
        return
    # "if amount_msat from the final node's HTLC is below amt_to_forward"
    if part.amount_msat < hop.amount_msat:
        message = failures.encode("final_incorrect_htlc_amount", incoming_htlc_amt=part.amount_msat)
        fail(step, part, message)
        return
    if hop.keysend_preimage is not None and sha256(hop.keysend_preimage) == payment_hash:
        whole = (hop.total_msat or 0) <= hop.amount_msat  # of a set we would claim a fragment
        if not whole or part.cltv_expiry < TIP.need(step).height + FINAL_CLTV:
            unknown(step, part)
        else:
            _keysend(step, part, hop.keysend_preimage, at)
        return
    # "if the payment hash is unknown"
    row = by_hash(step, payment_hash)
    if row is None or not _acceptable(step, row, part, hop, at):
        unknown(step, part)
        return
    _collect(step, row, part, hop, at)


def by_hash(step: Step, payment_hash: bytes) -> InvoiceRow | None:
    """The invoice of this payment hash (32 bytes)."""
    label = LABELS.get(step, payment_hash)
    row = INVOICES.get(step, label.label) if label is not None else None
    assert row is None or isinstance(row, InvoiceRow)
    return row


def _acceptable(
    step: Step, row: InvoiceRow, part: ReceivedPart, hop: HopPayload, at: Moment
) -> bool:
    total = hop.total_msat or 0
    height = TIP.need(step).height
    return (
        # "if the payment hash has already been paid"
        row.status == "unpaid"
        and not row.claim  # another set of parts is being claimed: this is a second payment
        and at.unix_seconds <= row.expires_at
        # "if the payment_secret doesn't match the expected value ..., or ... is not present"
        and hop.payment_secret == row.payment_secret
        and total >= hop.amount_msat
        # "if the amount paid is less than the amount expected", "more than twice"
        and (row.amount_msat is None or row.amount_msat <= total <= 2 * row.amount_msat)
        # "if the cltv_expiry value is unreasonably near the present"
        and part.cltv_expiry >= height + max(row.min_final_cltv, FINAL_CLTV)
    )


def _collect(step: Step, row: InvoiceRow, part: ReceivedPart, hop: HopPayload, at: Moment) -> None:
    total = hop.total_msat or 0
    name = row.payment_hash
    waiting = SETS.get(step, name)
    if waiting is None:
        waiting = PartSet(parts=(), total_msat=total, since=at.unix_seconds)
    if waiting.whole:
        unknown(step, part)
        return
    if waiting.total_msat != total:
        # "MUST fail the entire HTLC set if total_msat is not the same"
        SETS.drop(step, name)
        for one in (*waiting.parts, part):
            unknown(step, one)
        return
    waiting = waiting.but(parts=(*waiting.parts, part.but(forward_msat=hop.amount_msat)))
    # BOLT 4 counts amt_to_forward: below total_msat "MUST NOT fulfill any HTLCs"
    if sum(one.forward_msat for one in waiting.parts) < total:
        SETS.put(step, waiting, name)
        step.wake(waiting.since + MPP_TIMEOUT_SECONDS)
    elif too_late(waiting.parts, TIP.need(step).height):
        SETS.drop(step, name)  # its first part came long ago
        for one in waiting.parts:
            unknown(step, one)
    elif row.held:
        SETS.put(step, waiting.but(whole=True), name)
        waiters.invoice_held(step, row, waiting)
        about = {"label": row.label, "payment_hash": row.payment_hash.hex()}
        events.happened(step, at, "invoice_held", **about)
    else:
        SETS.drop(step, name)
        claims.begin(step, row, waiting.parts)


def _keysend(step: Step, part: ReceivedPart, preimage: bytes, at: Moment) -> None:
    """Spontaneous: an invoice is made up for it, as Core Lightning does."""
    payment_hash = sha256(preimage)
    known = by_hash(step, payment_hash)
    if known is not None:
        unknown(step, part)
        return
    counters = COUNTERS.get(step) or Counters()
    COUNTERS.put(step, counters.but(created=counters.created + 1))
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
    LABELS.put(step, Label(label=row.label), payment_hash)
    claims.begin(step, row, (part,))


# ---- sets that end without a claim --------------------------------------------------------------


def cancel(step: Step, row: InvoiceRow) -> None:
    """Whatever waits of this invoice goes back."""
    waiting = SETS.get(step, row.payment_hash)
    SETS.drop(step, row.payment_hash)
    for part in waiting.parts if waiting is not None else ():
        unknown(step, part)


def too_late(parts: tuple[ReceivedPart, ...], height: int) -> bool:
    """A claim might not be taken off-chain before the first of them expires."""
    return min(part.cltv_expiry for part in parts) < height + CLAIM_BLOCKS


def time_out(step: Step, at: Moment) -> None:
    """Sets that were not completed in time are failed back whole."""
    for key, waiting in SETS.below(step).items():
        due = waiting.since + MPP_TIMEOUT_SECONDS
        if not waiting.whole and at.unix_seconds >= due:
            SETS.drop(step, *key)
            for part in waiting.parts:
                fail(step, part, failures.encode("mpp_timeout"))
        elif not waiting.whole:
            step.wake(due)


def expire(step: Step, height: int) -> None:
    """What the user has not decided on is given back while that is safe."""
    for key, waiting in SETS.below(step).items():
        if waiting.whole and too_late(waiting.parts, height):
            SETS.drop(step, *key)
            for part in waiting.parts:
                unknown(step, part)
            step.log(f"a held payment ({key[0].hex()[:16]}) was given back: it was about to expire")
