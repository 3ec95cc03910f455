"""Invoices and payments with the fields of Core Lightning's replies, and lists of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from protocol.invoice import decode
from protocol.machine import Ask, Step
from protocol.onion import failures
from protocol.payments.rows import (
    CHANNELS,
    FORWARDS,
    PARTS,
    PAYMENTS,
    Forward,
    InvoiceRow,
    PartSet,
    Payment,
    SentPart,
)
from protocol.scid import scid_text


def invoice(row: InvoiceRow, now: float) -> dict[str, Any]:
    """A row of `listinvoices` and of what waits for an invoice; `now` in unix seconds."""
    status = "expired" if row.status == "unpaid" and now > row.expires_at else row.status
    shown: dict[str, Any] = {
        "label": row.label,
        "payment_hash": row.payment_hash.hex(),
        "status": status,
        "description": row.description,
        "expires_at": row.expires_at,
        "created_index": row.created_index,
    }
    if row.bolt11:
        shown["bolt11"] = row.bolt11
    if row.amount_msat is not None:
        shown["amount_msat"] = row.amount_msat
    if row.status == "paid":
        shown |= {
            "pay_index": row.pay_index,
            "amount_received_msat": row.received_msat,
            "paid_at": row.paid_at,
            "payment_preimage": row.preimage.hex() if row.preimage is not None else "",
        }
    return shown


def scid(name: bytes) -> str:
    return scid_text(name)


def held(row: InvoiceRow, waiting: PartSet | None) -> dict[str, Any]:
    """A hold invoice: open, accepted (the user decides), settled or canceled."""
    whole = waiting is not None and waiting.whole
    state = "settled" if row.claim else "accepted" if whole else "open"
    shown: dict[str, Any] = {
        "label": row.label,
        "payment_hash": row.payment_hash.hex(),
        "bolt11": row.bolt11,
        "description": row.description,
        "expires_at": row.expires_at,
        "state": "canceled" if row.status == "cancelled" else state,
    }
    if row.amount_msat is not None:
        shown["amount_msat"] = row.amount_msat
    if whole and waiting is not None:
        shown["htlc_expiry"] = min(part.cltv_expiry for part in waiting.parts)
    if row.claim and row.preimage is not None:
        shown["preimage"] = row.preimage.hex()
    return shown


def pay(row: Payment) -> dict[str, Any]:
    """The answer of `pay`, of one that has arrived."""
    assert row.preimage is not None
    return {
        "destination": row.destination.hex(),
        "payment_hash": row.payment_hash.hex(),
        "created_at": row.created_at,
        "parts": max(1, row.done_parts + len(row.living)),
        "amount_msat": row.amount_msat,
        "amount_sent_msat": row.sent_msat,
        "payment_preimage": row.preimage.hex(),
        "status": "complete",
    }


def xpay(row: Payment) -> dict[str, Any]:
    """The answer of `xpay`, of one that has arrived."""
    assert row.preimage is not None
    return {
        "payment_preimage": row.preimage.hex(),
        "failed_parts": row.failed_parts,
        "successful_parts": max(1, row.done_parts + len(row.living)),
        "amount_msat": row.amount_msat,
        "amount_sent_msat": row.sent_msat,
    }


def listpays(row: Payment) -> dict[str, Any]:
    """A row of `listpays`."""
    shown: dict[str, Any] = {
        "payment_hash": row.payment_hash.hex(),
        "status": row.status,
        "destination": row.destination.hex(),
        "created_at": row.created_at,
        "created_index": row.created_index,
    }
    if row.status != "failed":
        shown |= {"amount_msat": row.amount_msat, "amount_sent_msat": row.sent_msat}
    for name, value in (
        ("bolt11", row.bolt11 or None),
        ("label", row.label),
        ("description", row.description),
        ("completed_at", row.completed_at),
    ):
        if value is not None:
            shown[name] = value
    if row.status == "complete" and row.preimage is not None:
        parts = max(1, row.done_parts + len(row.living))
        shown |= {"preimage": row.preimage.hex(), "number_of_parts": parts}
    return shown


def sendpay(row: Payment, part: SentPart | None) -> dict[str, Any]:
    """The answer of `sendpay`; no part when another one has paid already."""
    if part is None:  # paid by other parts
        shown = {"payment_hash": row.payment_hash.hex(), "status": row.status}
        preimage = {"payment_preimage": row.preimage.hex()} if row.preimage is not None else {}
        return shown | preimage
    message = "Monitor status with listpays or waitsendpay"
    return listsendpays(part, row) | ({"message": message} if part.status == "pending" else {})


def listsendpays(part: SentPart, row: Payment) -> dict[str, Any]:
    """A row of `listsendpays`."""
    shown: dict[str, Any] = {
        "id": part.created_index,
        "created_index": part.created_index,
        "payment_hash": part.payment_hash.hex(),
        "groupid": part.groupid,
        "partid": part.partid,
        "status": part.status,
        "created_at": part.created_at,
        "amount_msat": part.route.amount_msat,
        "amount_sent_msat": part.route.sent_msat,
        "destination": row.destination.hex(),
    }
    if row.bolt11:
        shown["bolt11"] = row.bolt11
    if row.label is not None:
        shown["label"] = row.label
    if part.completed_at is not None:
        shown["completed_at"] = part.completed_at
    if part.status == "complete" and row.preimage is not None:
        shown["payment_preimage"] = row.preimage.hex()
    return shown


def failed_part(part: SentPart, row: Payment) -> dict[str, Any]:
    """What Core Lightning says of a part that failed: who failed it, and how."""
    shown = listsendpays(part, row)
    if part.failed_at is None or len(part.failed_with) < 2:
        return shown
    hops = part.route.hops
    failing = hops[min(part.failed_at, len(hops) - 1)]
    failure = failures.decode(part.failed_with)
    return shown | {
        "erring_index": part.failed_at,
        "failcode": failure.code,
        "failcodename": "WIRE_" + failure.name.upper(),
        "erring_node": hops[part.failed_at - 1].node_id.hex() if part.failed_at else "",
        "erring_channel": scid_text(failing.scid),
        "erring_direction": failing.direction,
        "raw_message": part.failed_with.hex(),
    }


def paystatus(row: Payment, parts: list[SentPart]) -> dict[str, Any]:
    """A row of `paystatus`."""
    return {
        "bolt11": row.bolt11,
        "amount_msat": row.amount_msat,
        "destination": row.destination.hex(),
        "attempts": [
            {
                "strategy": f"{len(part.route.hops)} hops",
                "start_time": part.created_at,
                "state": {"complete": "completed"}.get(part.status, part.status),
                "partid": part.partid,
                "amount_msat": part.route.amount_msat,
            }
            for part in parts
        ],
    }


def forward(row: Forward, names: dict[str, str]) -> dict[str, Any]:
    """`names`: short channel ids (text) of our channels by id (hex)."""
    arrived = row.part
    shown: dict[str, Any] = {
        "created_index": row.index,
        "in_channel": names.get(arrived.channel_id.hex(), arrived.channel_id.hex()),
        "in_htlc_id": arrived.htlc_id,
        "in_msat": arrived.amount_msat,
        "out_channel": names.get(row.channel_id.hex(), scid_text(row.wanted)),
        "status": row.status,
        "received_time": row.received_at,
        "style": "tlv",
    }
    if row.status in ("offered", "settled"):
        shown |= {"out_msat": row.out_msat, "fee_msat": row.fee_msat}
    if row.resolved_at is not None:
        shown["resolved_time"] = row.resolved_at
    if row.failcode is not None:
        shown |= {"failcode": row.failcode, "failreason": row.failreason}
    return shown


# ---- lists --------------------------------------------------------------------------------------

Rows = list[dict[str, Any]]


def rows(step: Step, ask: Ask) -> Rows:
    """For the questions that list something; the last one is `listforwards`."""
    match ask.method:
        case "listpays":
            return [listpays(row) for row in _wanted(step, ask)]
        case "listsendpays":
            return [
                listsendpays(part, row)
                for row in _wanted(step, ask, status=False)
                for part in _parts(step, row)
                if ask.params.get("status") in (None, part.status)
            ]
        case "paystatus":
            return [paystatus(row, _parts(step, row)) for row in _wanted(step, ask)]
    return _forwards(step, ask)


def _wanted(step: Step, ask: Ask, *, status: bool = True) -> Iterable[Payment]:
    wanted, bolt11 = ask.params.get("payment_hash"), ask.params.get("bolt11")
    if bolt11 is not None:
        # by what it says and not by its letters: a pending payment must be found
        wanted = wanted or decode(bolt11).payment_hash.hex()
    if wanted is not None:
        found = [PAYMENTS.get(step, bytes.fromhex(wanted))]
    else:
        found = list(PAYMENTS.below(step).values())
    rows = sorted((row for row in found if row), key=lambda row: row.created_index)
    state = ask.params.get("status") if status else None
    rows = [row for row in rows if state in (None, row.status)]
    return _paged(rows, ask, lambda row: row.created_index)


def _paged(rows: list[Any], ask: Ask, index: Any) -> list[Any]:
    start = ask.params.get("start", 0)
    return [row for row in rows if index(row) >= start][: ask.params.get("limit")]


def _parts(step: Step, row: Payment) -> list[SentPart]:
    return list(PARTS.below(step, row.payment_hash).values())


def _forwards(step: Step, ask: Ask) -> Rows:
    found = sorted(FORWARDS.below(step).values(), key=lambda row: row.index)
    names = {channel.hex(): scid(row.scid) for (channel,), row in CHANNELS.below(step).items()}
    shown = [forward(row, names) for row in _paged(found, ask, lambda row: row.index)]
    for name in ("status", "in_channel", "out_channel"):
        wanted = ask.params.get(name)
        shown = [row for row in shown if wanted is None or row.get(name) == wanted]
    return shown
