"""Payments whose parts somebody else orders: `sendpay` and `waitsendpay`."""

from __future__ import annotations

from typing import Any

from protocol.chain.messages import TIP
from protocol.errors import Refusal
from protocol.gossip.announce import direction
from protocol.machine import Ask, Moment, Step
from protocol.payments import rpc, send, sent_parts, waiters
from protocol.payments.channels import channels_to, named
from protocol.payments.rows import COUNTERS, PARTS, PAYMENTS, Counters, Payment
from protocol.payments.waiters import answer, refuse
from protocol.router.messages import Hop, Route
from protocol.scid import scid_from_text


def sendpay(step: Step, us: bytes, ask: Ask, at: Moment) -> None:
    """Asked again (also after a restart), the same part is the same part."""
    params = ask.params
    payment_hash = bytes.fromhex(params["payment_hash"])
    known = PAYMENTS.get(step, payment_hash)
    number = params.get("partid", 0)
    group = _group(known, params.get("groupid"))
    part = PARTS.get(step, payment_hash, group, number)
    if known is not None and known.status == "complete":
        answer(step, ask, rpc.sendpay(known, part))
        return
    if known is not None and part is not None and part.status == "pending":
        answer(step, ask, rpc.sendpay(known, part))
        return
    try:
        if part is not None:
            raise Refusal("This partid and groupid has failed: use the next groupid", code=-32602)
        if TIP.get(step) is None:
            raise Refusal("the height of the chain is not known yet: try again", code=-1)
        route = _route(step, us, params["route"])
        row = _payment(step, ask, at, known, route, group)
        flying = sent_parts.flying_msat(step, row)
        if flying >= row.amount_msat:
            text = f"Already have {flying}msat of {row.amount_msat}msat payments in progress"
            raise Refusal(text, code=200)
        row = sent_parts.offer(step, row, route, at, number)
    except ValueError:
        refuse(step, ask, -32602, "route: it does not fit into an onion")
        return
    except Refusal as refusal:
        refuse(step, ask, refusal.code, str(refusal))
        return
    send.put(step, row)
    step.wake(row.deadline)
    answer(step, ask, rpc.sendpay(row, PARTS.get(step, payment_hash, group, number)))


def _group(known: Payment | None, given: int | None) -> int:
    """As Core Lightning: that of the parts in flight, else the next one."""
    if given is not None or known is None:
        return given or 1
    return known.groupid if known.status == "pending" else known.groupid + 1


def _payment(
    step: Step, ask: Ask, at: Moment, known: Payment | None, route: Route, group: int
) -> Payment:
    """The payment that this part belongs to, perhaps a new one. Raises `Refusal`."""
    params = ask.params
    amount = params.get("amount_msat", route.amount_msat)
    if known is not None and known.status == "pending":
        if not known.sendpay or group != known.groupid or not params.get("partid"):
            raise Refusal("Payment is still in progress: wait for its parts", code=200)
        if known.amount_msat != amount:
            raise Refusal("amount_msat: not that of the parts in flight", code=-32602)
        return known
    if known is not None and group <= known.groupid:
        raise Refusal("groupid: use a higher one than that of earlier attempts", code=-32602)
    counters = COUNTERS.get(step) or Counters()
    COUNTERS.put(step, counters.but(sent=counters.sent + 1))
    secret, metadata = params.get("payment_secret"), params.get("payment_metadata")
    return Payment(
        payment_hash=bytes.fromhex(params["payment_hash"]),
        destination=route.hops[-1].node_id,
        amount_msat=amount,
        payment_secret=bytes.fromhex(secret) if secret else None,
        total_msat=amount,
        final_cltv=route.hops[-1].delay,
        metadata=bytes.fromhex(metadata) if metadata else None,
        bolt11=params.get("bolt11", ""),
        label=params.get("label"),
        description=params.get("description"),
        created_at=int(at.unix_seconds),
        created_index=counters.sent + 1,
        deadline=at.unix_seconds + send.DEFAULT_RETRY_FOR,
        sendpay=True,
        groupid=group,
    )


def _route(step: Step, us: bytes, given: list[dict[str, Any]]) -> Route:
    """Raises `Refusal`."""
    first = given[0]
    scid = scid_from_text(first["channel"])
    peer = bytes.fromhex(first["id"])
    channel = named(step, scid) if scid is not None else None
    mine = channels_to(step, peer)
    if channel is None or channel not in mine:
        channel = next(iter(mine), None)
    if channel is None:
        raise Refusal("route: its first hop is no usable channel of ours", code=204)
    hops, source = [], us
    for row in given:
        scid, node = scid_from_text(row["channel"]), bytes.fromhex(row["id"])
        if scid is None:
            raise Refusal("route: channel should be a short channel id", code=-32602)
        hop = Hop(
            scid=scid,
            direction=direction(source, node),
            node_id=node,
            amount_msat=row["amount_msat"],
            delay=row["delay"],
        )
        hops.append(hop)
        source = node
    return Route(channel_id=channel, hops=tuple(hops))


def waitsendpay(step: Step, ask: Ask, at: Moment) -> None:
    """Answered when the part has ended, or the time is over."""
    params = ask.params
    payment_hash = bytes.fromhex(params["payment_hash"])
    row = PAYMENTS.get(step, payment_hash)
    group = params.get("groupid", row.groupid if row is not None else 1)
    part = PARTS.get(step, payment_hash, group, params.get("partid", 0))
    if row is None or part is None:
        refuse(step, ask, 208, "Never attempted payment part")
    elif part.status == "pending":
        timeout = params.get("timeout")
        until = at.unix_seconds + timeout if timeout is not None else None
        waiters.part(step, part, ask, until)
    else:
        waiters.part_result(step, ask, part, row)
