"""Relaying (BOLT 4, BOLT 7): an HTLC that comes in goes on to the next peer, or goes back.

The row is written before the HTLC is offered on. Its origin names it, so that whatever becomes of
the offer finds its way back even when the row is lost: a preimage goes upstream at once, a failure
when it is irrevocable. Upstream has the preimage durably before downstream may forget it.
"""

from __future__ import annotations

from protocol.chain.messages import TIP
from protocol.channel.messages import FORWARD, OVER, AddHtlc, CancelAdd, ResolveHtlc, forward_hold
from protocol.gossip.announce import Policy
from protocol.machine import Moment, Step
from protocol.monitor.messages import HtlcEnded, HtlcRefused, Release, ResolutionKept
from protocol.onion import failures, sphinx
from protocol.onion.payload import HopPayload
from protocol.payments import events
from protocol.payments.channels import channels_to, named
from protocol.payments.rows import (
    CHANNELS,
    COUNTERS,
    FORWARDS,
    OPEN,
    OWED,
    TERMS,
    Counters,
    Forward,
    OwedPreimage,
    ReceivedPart,
    UnderWay,
)

MAX_EXPIRY_BLOCKS = 2016
TOO_SOON_BLOCKS = 3
PATIENCE_SECONDS = 10.0  # for a peer that is away


def fail(step: Step, part: ReceivedPart, message: bytes) -> None:
    """Back to its sender, readable to nobody else."""
    packet = sphinx.failure_packet(part.shared_secret, message)
    _back(step, part, packet)


def _back(step: Step, part: ReceivedPart, packet: bytes) -> None:
    wrapped = sphinx.obfuscate(part.shared_secret, packet)
    step.deliver(
        "monitors", ResolveHtlc(channel_id=part.channel_id, htlc_id=part.htlc_id, failure=wrapped)
    )


# ---- forth --------------------------------------------------------------------------------------


def begin(
    step: Step, part: ReceivedPart, hop: HopPayload, payment_hash: bytes, onion: bytes, at: Moment
) -> None:
    """An HTLC that is to go on: offered to the next hop, or failed back with the reason that
    BOLT 4 has for it."""
    if hop.short_channel_id is None:
        fail(step, part, failures.encode("invalid_onion_payload", type=6, offset=0))
        return
    # "if the receiving peer specified by the onion is NOT known"
    channel = named(step, hop.short_channel_id)
    if channel is None:
        fail(step, part, failures.encode("unknown_next_peer"))
        return
    counters = COUNTERS.get(step) or Counters()
    COUNTERS.put(step, counters.but(forwarded=counters.forwarded + 1))
    row = Forward(
        part=part,
        payment_hash=payment_hash,
        index=counters.forwarded + 1,
        wanted=hop.short_channel_id,
        peer=CHANNELS.need(step, channel).peer,
        out_msat=hop.amount_msat,
        out_expiry=hop.cltv_expiry,
        onion=onion,
        received_at=at.unix_seconds,
    )
    message = _refusal(step, row, channel, at)
    if message is not None:
        _local_failure(step, row, message, at)
    else:
        _offer(step, row, channel)
        OPEN.put(step, UnderWay(), *row.place)
        step.wake(at.unix_seconds + PATIENCE_SECONDS)


def _refusal(step: Step, row: Forward, channel: bytes, at: Moment) -> bytes | None:
    """The failure message that BOLT 4 has for it, or None. A `channel_update` is not given: it
    would say whose channel it is, and everybody can hear ours."""
    terms = TERMS.get(step, channel)
    height = TIP.need(step).height
    if terms is None:
        return failures.encode("temporary_channel_failure", channel_update=b"")
    # "if the cltv_expiry is unreasonably near the present"
    if row.out_expiry <= height + TOO_SOON_BLOCKS:
        return failures.encode("expiry_too_soon", channel_update=b"")
    # "if the cltv_expiry is more than max_htlc_cltv in the future"
    if row.part.cltv_expiry > height + MAX_EXPIRY_BLOCKS:
        return failures.encode("expiry_too_far")
    refused = _breaks(terms.ours, row)
    # "SHOULD keep accepting the previous channel parameters for 10 minutes"
    if refused is not None and terms.before is not None and at.unix_seconds < terms.until:
        refused = _breaks(terms.before, row)
    return refused


def _breaks(policy: Policy, row: Forward) -> bytes | None:
    fee = policy.fee_base_msat + row.out_msat * policy.fee_proportional_millionths // 1_000_000
    # "if the HTLC amount is less than the currently specified minimum amount"
    if row.out_msat < policy.htlc_minimum_msat:
        return failures.encode("amount_below_minimum", htlc_msat=row.out_msat, channel_update=b"")
    # "MUST set htlc_maximum_msat to the maximum value it will send through this channel"
    if row.out_msat > policy.htlc_maximum_msat:
        return failures.encode("temporary_channel_failure", channel_update=b"")
    # "if the HTLC does NOT pay a sufficient fee"
    if row.fee_msat < fee:
        return failures.encode(
            "fee_insufficient", htlc_msat=row.part.amount_msat, channel_update=b""
        )
    # "if the incoming cltv_expiry minus the outgoing_cltv_value is below the cltv_expiry_delta"
    if row.part.cltv_expiry - row.out_expiry < policy.cltv_expiry_delta:
        return failures.encode(
            "incorrect_cltv_expiry", cltv_expiry=row.out_expiry, channel_update=b""
        )
    return None


def _offer(step: Step, row: Forward, channel: bytes) -> None:
    row = row.but(channel_id=channel, tries=row.tries + 1, tried=(*row.tried, channel))
    FORWARDS.put(step, row, *row.place)
    offer = AddHtlc(
        channel_id=channel,
        origin=f"{FORWARD}{row.name}/{row.tries}",
        amount_msat=row.out_msat,
        payment_hash=row.payment_hash,
        cltv_expiry=row.out_expiry,
        last_height=row.out_expiry - TOO_SOON_BLOCKS - 1,
        onion=row.onion,
    )
    step.deliver("monitors", offer)


def refused(step: Step, item: HtlcRefused, at: Moment) -> None:
    """ "MAY use any channel with that peer": the next one, or back it goes."""
    row = _open(step, item.origin)
    if row is None:
        return
    others = [channel for channel in channels_to(step, row.peer) if channel not in row.tried]
    over = item.reason == OVER
    if others and not row.withdrawn and not over:
        _offer(step, row, others[0])
        return
    why = "expiry_too_soon" if over else "temporary_channel_failure"
    message = failures.encode(why, channel_update=b"")
    _local_failure(step, row, message, at, item.reason)


# ---- and back -----------------------------------------------------------------------------------


def ended(step: Step, item: HtlcEnded, at: Moment) -> None:
    """What downstream answered. The origin alone says where it has to go."""
    place, tries = _read(item.origin)
    row = FORWARDS.get(step, *place)
    if item.preimage is not None:
        # whatever we thought: it is worth money, and upstream owes it to us
        settle = ResolveHtlc(channel_id=place[0], htlc_id=place[1], preimage=item.preimage)
        owed = OwedPreimage(channel_id=item.channel_id, htlc_id=item.htlc_id)
        OWED.put(step, owed, *place)
        step.deliver("monitors", settle)
        if row is not None and row.status != "settled":
            _resolve(step, row.but(status="settled"), at)
        return
    if row is None or row.status != "offered" or row.tries != tries:
        return  # of an earlier try: another one may live
    if item.failure:
        _back(step, row.part, item.failure)
    elif item.failure is not None:
        fail(step, row.part, failures.encode("temporary_channel_failure", channel_update=b""))
    elif item.malformed is not None:
        digest, code = item.malformed
        fail(step, row.part, code.to_bytes(2, "big") + digest)
    else:
        fail(step, row.part, failures.encode("permanent_channel_failure"))
    _resolve(step, row.but(status="failed"), at)


def kept(step: Step, item: ResolutionKept) -> None:
    """Upstream has the preimage: downstream may go on."""
    owed = OWED.get(step, item.channel_id, item.htlc_id)
    if owed is not None:
        OWED.drop(step, item.channel_id, item.htlc_id)
        hold = forward_hold(owed.htlc_id)
        step.deliver("monitors", Release(channel_id=owed.channel_id, hold=hold))


def on_clock(step: Step, at: Moment) -> None:
    """What nobody has taken in time is taken back, if it has not been committed to."""
    for place in OPEN.below(step):
        row = FORWARDS.need(step, *place)
        due = row.received_at + PATIENCE_SECONDS
        if at.unix_seconds < due:
            step.wake(due)
            continue
        OPEN.drop(step, *place)
        FORWARDS.put(step, row.but(withdrawn=True), *row.place)
        origin = f"{FORWARD}{row.name}/{row.tries}"
        step.deliver("monitors", CancelAdd(channel_id=row.channel_id, origin=origin))


def _read(origin: str) -> tuple[tuple[bytes, int], int]:
    """Where the HTLC came in that this one relays, and which try of it this is."""
    channel, number, tries = origin.removeprefix(FORWARD).split("/")
    return (bytes.fromhex(channel), int(number)), int(tries)


def _open(step: Step, origin: str) -> Forward | None:
    place, tries = _read(origin)
    row = FORWARDS.get(step, *place)
    if row is None or row.status != "offered" or row.tries != tries:
        return None
    return row


def _local_failure(step: Step, row: Forward, message: bytes, at: Moment, reason: str = "") -> None:
    failure = failures.decode(message)
    fail(step, row.part, message)
    failed = row.but(
        status="local_failed", failcode=failure.code, failreason=reason or failure.name
    )
    _resolve(step, failed, at)


def _resolve(step: Step, row: Forward, at: Moment) -> None:
    FORWARDS.put(step, row.but(resolved_at=at.unix_seconds, onion=b""), *row.place)
    OPEN.drop(step, *row.place)
    if row.status == "settled":
        counters = COUNTERS.get(step) or Counters()
        counters = counters.but(fees_msat=counters.fees_msat + row.fee_msat)
        COUNTERS.put(step, counters)
    kind = "forward_settled" if row.status == "settled" else "forward_failed"
    about = {
        "payment_hash": row.payment_hash.hex(),
        "in_channel": row.part.channel_id.hex(),
        "in_htlc_id": row.part.htlc_id,
        "in_msat": row.part.amount_msat,
        "out_msat": row.out_msat,
        **({"reason": row.failreason} if row.failreason else {}),
    }
    events.happened(step, at, kind, **about)
