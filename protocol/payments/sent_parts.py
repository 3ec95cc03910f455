"""The parts of a payment: each an HTLC of ours, from the wish to its end."""

from __future__ import annotations

from protocol.chain.messages import TIP
from protocol.channel.messages import AddHtlc, CancelAdd
from protocol.crypto.hashes import sha256
from protocol.machine import Moment, Step
from protocol.onion import payload, sphinx
from protocol.onion.payload import HopPayload
from protocol.payments.blame import Blame
from protocol.payments.rows import PARTS, PAYMENTS, Payment, SentPart
from protocol.router.messages import Route

EXTRA_CLTV = 1  # a block may come while the HTLC is on its way


def of(step: Step, origin: str) -> SentPart | None:
    """The part that an HTLC of ours belongs to, by its origin."""
    payment_hash, group, number = origin.split("/")
    return PARTS.get(step, bytes.fromhex(payment_hash), int(group), int(number))


def living(step: Step, row: Payment) -> list[SentPart]:
    """The parts of a payment that are under way."""
    return [PARTS.need(step, row.payment_hash, row.groupid, number) for number in row.living]


def flying_msat(step: Step, row: Payment) -> int:
    """What the payee gets from the parts that are under way."""
    return sum(part.route.amount_msat for part in living(step, row))


def offer(step: Step, row: Payment, route: Route, at: Moment, number: int | None = None) -> Payment:
    """One more part, written before its HTLC is offered."""
    number = row.last_part + 1 if number is None else number
    name = f"{row.groupid}/{number}".encode()
    part = SentPart(
        payment_hash=row.payment_hash,
        groupid=row.groupid,
        partid=number,
        route=route,
        session_key=sha256(b"session" + at.entropy + row.payment_hash + name),
        created_at=int(at.unix_seconds),
        created_index=row.created_index,
        since=at.unix_seconds,
    )
    PARTS.put(step, part, *part.place)
    height = TIP.need(step).height + EXTRA_CLTV
    wish = AddHtlc(
        channel_id=route.channel_id,
        origin=part.origin,
        amount_msat=route.sent_msat,
        payment_hash=row.payment_hash,
        cltv_expiry=height + route.hops[0].delay,
        last_height=height,
        onion=_onion(row, part, height),
    )
    step.deliver("monitors", wish)
    return row.but(
        last_part=max(row.last_part, number),
        living=(*row.living, number),
        sent_msat=row.sent_msat + route.sent_msat,
    )


def _onion(row: Payment, part: SentPart, height: int) -> bytes:
    """What each hop is to do, the payee last."""
    hops = part.route.hops
    said = []
    for hop, after in zip(hops, hops[1:], strict=False):
        relay = HopPayload(
            amount_msat=after.amount_msat,
            cltv_expiry=height + after.delay,
            short_channel_id=after.scid,
        )
        said.append((hop.node_id, payload.encode(relay)))
    last = HopPayload(
        amount_msat=part.route.amount_msat,
        cltv_expiry=height + hops[-1].delay,
        payment_secret=row.payment_secret,
        total_msat=row.total_msat if row.payment_secret else None,
        payment_metadata=row.metadata,
        keysend_preimage=row.keysend_preimage,
    )
    said.append((hops[-1].node_id, payload.encode(last)))
    return sphinx.wrap(part.session_key, said, row.payment_hash)[0]


def failed(
    step: Step, part: SentPart, at: Moment, code: int, reason: str, verdict: Blame | None = None
) -> Payment:
    """-> the payment without it."""
    done = part.but(
        status="failed",
        completed_at=int(at.unix_seconds),
        code=code,
        reason=reason,
        failed_at=verdict.hop if verdict is not None else None,
        failed_with=verdict.message if verdict is not None else b"",
    )
    PARTS.put(step, done, *part.place)
    row = _without(step, part)
    return row.but(
        failed_parts=row.failed_parts + 1, sent_msat=row.sent_msat - part.route.sent_msat
    )


def fulfilled(step: Step, part: SentPart, at: Moment) -> Payment:
    """A part has arrived -> the payment without it, to be kept by the caller."""
    done = part.but(status="complete", completed_at=int(at.unix_seconds))
    PARTS.put(step, done, *part.place)
    row = _without(step, part)
    if part.status == "failed":  # we were wrong: it counts again
        row = row.but(
            failed_parts=row.failed_parts - 1, sent_msat=row.sent_msat + part.route.sent_msat
        )
    return row.but(done_parts=row.done_parts + 1)


def _without(step: Step, part: SentPart) -> Payment:
    row = PAYMENTS.need(step, part.payment_hash)
    if part.groupid != row.groupid:
        return row
    return row.but(living=tuple(number for number in row.living if number != part.partid))


def withdraw(step: Step, part: SentPart) -> None:
    """A part that is not offered yet is not to be."""
    PARTS.put(step, part.but(withdrawn=True), *part.place)
    step.deliver("monitors", CancelAdd(channel_id=part.route.channel_id, origin=part.origin))
