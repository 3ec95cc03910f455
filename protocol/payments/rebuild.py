"""A new snapshot: of a new node, or after a loss. The monitors say what stands.

An HTLC that stands (`STANDING`) came in and was relayed before the loss. It is neither
relayed again nor failed: what is downstream answers it. HTLCs of lost payments of ours become
payments again, of which nothing is known but that they are under way.
"""

from __future__ import annotations

from protocol.channel.messages import FORWARD
from protocol.crypto.hashes import sha256
from protocol.machine import Moment, Step
from protocol.monitor.messages import HtlcArrived, HtlcStands, ReportState, StateReported
from protocol.onion import sphinx
from protocol.payments import send
from protocol.payments.rows import (
    BEGUN,
    CHANNELS,
    CLAIMS,
    COUNTERS,
    FORWARDS,
    PARTS,
    PAYMENTS,
    STANDING,
    Begun,
    Counters,
    Forward,
    Payment,
    ReceivedPart,
    SentPart,
    Standing,
)
from protocol.router.messages import Hop, Route


def begin(step: Step, at: Moment) -> None:
    """The snapshot is new: all monitors are asked what they know."""
    BEGUN.put(step, Begun(at=int(at.unix_seconds)))
    step.deliver("monitors", ReportState())


def whole(step: Step) -> bool:
    """Whether all monitors have answered: until then nothing may be called lost."""
    begun = BEGUN.get(step)
    return begun is not None and begun.whole


def told(step: Step, monitor: str, item: StateReported) -> None:
    """One more monitor has said all that it has. Numbers that an earlier snapshot may have given
    are not given again."""
    begun = BEGUN.need(step)
    said = (*begun.said, monitor)
    begun = begun.but(said=said, used=begun.used or item.used, whole=len(said) >= item.of)
    BEGUN.put(step, begun)
    if begun.whole and begun.used:
        known = COUNTERS.get(step) or Counters()
        fresh = known.but(paid=begun.at + known.paid, first_paid=begun.at + 1, events=begun.at)
        COUNTERS.put(step, fresh)


def stands(step: Step, item: HtlcStands, at: Moment) -> None:
    """A monitor says which HTLC of ours is under way: its payment or forward is known again."""
    if item.origin.startswith(FORWARD):
        cid, number = item.origin.removeprefix(FORWARD).split("/")[:2]
        place = bytes.fromhex(cid), int(number)
        known = STANDING.get(step, *place)
        if known is None or _tries(known) < _tries(item):  # the last one is the one that lives
            STANDING.put(step, item.into(Standing), *place)
        return
    name, group, number = item.origin.split("/")
    row = PAYMENTS.get(step, bytes.fromhex(name))
    peer = CHANNELS.get(step, item.channel_id)
    if row is None:
        row = _payment(item, int(group), at, peer.peer if peer is not None else bytes(33))
    hop = Hop(
        scid=bytes(8),
        direction=0,
        node_id=row.destination,
        amount_msat=item.amount_msat,
        delay=0,
    )
    part = SentPart(
        payment_hash=item.payment_hash,
        groupid=int(group),
        partid=int(number),
        route=Route(channel_id=item.channel_id, hops=(hop,)),
        session_key=sha256(item.origin.encode()),
        created_at=int(at.unix_seconds),
        created_index=row.created_index,
        since=at.unix_seconds,
    )
    PARTS.put(step, part, *part.place)
    row = row.but(
        amount_msat=row.amount_msat + item.amount_msat,
        sent_msat=row.sent_msat + item.amount_msat,
        living=(*row.living, int(number)),
        last_part=max(row.last_part, int(number)),
    )
    send.put(step, row)


def _tries(item: HtlcStands | Standing) -> int:
    return int(item.origin.rpartition("/")[2])


def _payment(item: HtlcStands, group: int, at: Moment, peer: bytes) -> Payment:
    """Its `destination` is the first hop, for more is not known."""
    return Payment(
        payment_hash=item.payment_hash,
        destination=peer,
        amount_msat=0,
        payment_secret=None,
        total_msat=0,
        final_cltv=0,
        metadata=None,
        bolt11="",
        label=None,
        description=None,
        created_at=int(at.unix_seconds),
        created_index=0,
        deadline=at.unix_seconds,
        groupid=group,
        sendpay=True,
    )


def is_known(step: Step, node_secret: bytes, item: HtlcArrived) -> bool:
    """An HTLC that arrived before the loss: claimed already, or relayed."""
    place = (item.channel_id, item.htlc_id)
    if any(place in claim.parts for claim in CLAIMS.below(step).values()):
        return True
    onward = STANDING.get(step, *place)
    if onward is None:
        return False
    STANDING.drop(step, *place)
    part = ReceivedPart(
        channel_id=item.channel_id,
        htlc_id=item.htlc_id,
        amount_msat=item.amount_msat,
        cltv_expiry=item.cltv_expiry,
        shared_secret=sphinx.peel(node_secret, item.onion, item.payment_hash).shared_secret,
    )
    counters = COUNTERS.get(step) or Counters()
    COUNTERS.put(step, counters.but(forwarded=counters.forwarded + 1))
    channel = CHANNELS.get(step, onward.channel_id)
    row = Forward(
        part=part,
        payment_hash=item.payment_hash,
        index=counters.forwarded + 1,
        wanted=channel.scid if channel is not None else bytes(8),
        peer=channel.peer if channel is not None else bytes(33),
        out_msat=onward.amount_msat,
        out_expiry=onward.cltv_expiry,
        onion=b"",
        received_at=0.0,
        channel_id=onward.channel_id,
        tries=_tries(onward),
        tried=(onward.channel_id,),
        withdrawn=True,  # it is not offered on another channel
    )
    FORWARDS.put(step, row, *row.place)
    return True
