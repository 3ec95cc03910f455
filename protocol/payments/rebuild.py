"""A new snapshot: of a new node, or after a loss. The monitors say what stands.

Row "standing/<channel>/<htlc>": an HTLC that came in and was relayed before the loss. It is neither
relayed again nor failed: what is downstream answers it. HTLCs of lost payments of ours become
payments again, of which nothing is known but that they are under way.
"""

from __future__ import annotations

from protocol.channel.items import FORWARD
from protocol.crypto import sphinx
from protocol.crypto.hashes import sha256
from protocol.machine import Moment, Step
from protocol.monitor.items import HtlcArrived, HtlcStands, ThatStands, WhatStands
from protocol.payments import parts, send
from protocol.payments.rows import Begun, Counters, Forward, Part, Payment, Sent
from protocol.router.items import Hop, Route


def begin(step: Step, at: Moment) -> None:
    step.put("begun", Begun(at=int(at.unix_seconds)))
    step.tell("monitors", WhatStands())


def whole(step: Step) -> bool:
    begun = step.get("begun")
    return begun is not None and begun.whole


def told(step: Step, monitor: str, item: ThatStands) -> None:
    """One more monitor has said all that it has. Numbers that an earlier snapshot may have given
    are not given again."""
    begun = step.get("begun")
    said = (*begun.said, monitor)
    begun = begun.but(said=said, used=begun.used or item.used, whole=len(said) >= item.of)
    step.put("begun", begun)
    if begun.whole and begun.used:
        known = step.get("counters") or Counters()
        step.put(
            "counters",
            known.but(paid=begun.at + known.paid, first_paid=begun.at + 1, events=begun.at),
        )


def stands(step: Step, item: HtlcStands, at: Moment) -> None:
    if item.origin.startswith(FORWARD):
        cid, number = item.origin.removeprefix(FORWARD).split("/")[:2]
        key = f"standing/{cid}/{number}"
        known = step.get(key)
        if known is None or _tries(known) < _tries(item):  # the last one is the one that lives
            step.put(key, item)
        return
    name, group, number = item.origin.split("/")
    row = step.get(f"payment/{name}")
    peer = step.get(f"channel/{item.channel_id.hex()}")
    if row is None:
        row = _payment(item, int(group), at, peer.peer if peer is not None else bytes(33))
    hop = Hop(
        scid=bytes(8),
        direction=0,
        node_id=row.destination,
        amount_msat=item.amount_msat,
        delay=0,
    )
    part = Sent(
        payment_hash=item.payment_hash,
        groupid=int(group),
        partid=int(number),
        route=Route(channel_id=item.channel_id, hops=(hop,)),
        session_key=sha256(item.origin.encode()),
        created_at=int(at.unix_seconds),
        created_index=row.created_index,
        since=at.unix_seconds,
    )
    step.put(parts.key(part), part)
    row = row.but(
        amount_msat=row.amount_msat + item.amount_msat,
        sent_msat=row.sent_msat + item.amount_msat,
        live=(*row.live, int(number)),
        last_part=max(row.last_part, int(number)),
    )
    send.put(step, row)


def _tries(item: HtlcStands) -> int:
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
        manual=True,
    )


def is_known(step: Step, node_secret: bytes, item: HtlcArrived) -> bool:
    """An HTLC that arrived before the loss: claimed already, or relayed."""
    place = (item.channel_id, item.htlc_id)
    if any(place in claim.parts for claim in step.scan("claim/").values()):
        return True
    key = f"standing/{item.channel_id.hex()}/{item.htlc_id}"
    onward = step.get(key)
    if onward is None:
        return False
    step.drop(key)
    part = Part(
        channel_id=item.channel_id,
        htlc_id=item.htlc_id,
        amount_msat=item.amount_msat,
        cltv_expiry=item.cltv_expiry,
        shared_secret=sphinx.peel(node_secret, item.onion, item.payment_hash).shared_secret,
    )
    counters = step.get("counters") or Counters()
    step.put("counters", counters.but(forwarded=counters.forwarded + 1))
    channel = step.get(f"channel/{onward.channel_id.hex()}")
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
    step.put(f"forward/{row.name}", row)
    return True
