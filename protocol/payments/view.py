"""Invoices and payments with the fields of Core Lightning's replies."""

from __future__ import annotations

from typing import Any

from protocol.payments.rows import InvoiceRow, Payment


def invoice(row: InvoiceRow, now: float) -> dict[str, Any]:
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
            "payment_preimage": row.preimage.hex(),
        }
    return shown


def pay(row: Payment) -> dict[str, Any]:
    assert row.preimage is not None
    return {
        "destination": row.destination.hex(),
        "payment_hash": row.payment_hash.hex(),
        "created_at": row.created_at,
        "parts": 1,
        "amount_msat": row.amount_msat,
        "amount_sent_msat": row.amount_msat,
        "payment_preimage": row.preimage.hex(),
        "status": "complete",
    }


def xpay(row: Payment) -> dict[str, Any]:
    assert row.preimage is not None
    return {
        "payment_preimage": row.preimage.hex(),
        "failed_parts": row.attempt - 1,
        "successful_parts": 1,
        "amount_msat": row.amount_msat,
        "amount_sent_msat": row.amount_msat,
    }


def listpays(row: Payment) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "payment_hash": row.payment_hash.hex(),
        "status": row.status,
        "destination": row.destination.hex(),
        "created_at": row.created_at,
        "created_index": row.created_index,
    }
    if row.status != "failed":
        shown |= {"amount_msat": row.amount_msat, "amount_sent_msat": row.amount_msat}
    for name, value in (
        ("bolt11", row.bolt11 or None),
        ("label", row.label),
        ("description", row.description),
        ("completed_at", row.completed_at),
    ):
        if value is not None:
            shown[name] = value
    if row.status == "complete" and row.preimage is not None:
        shown |= {"preimage": row.preimage.hex(), "number_of_parts": 1}
    return shown


def listsendpays(row: Payment) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": row.created_index,
        "created_index": row.created_index,
        "payment_hash": row.payment_hash.hex(),
        "groupid": row.attempt,
        "partid": 0,
        "status": row.status,
        "created_at": row.created_at,
        "amount_msat": row.amount_msat,
        "amount_sent_msat": row.amount_msat,
        "destination": row.destination.hex(),
    }
    if row.bolt11:
        shown["bolt11"] = row.bolt11
    if row.label is not None:
        shown["label"] = row.label
    if row.preimage is not None:
        shown |= {"payment_preimage": row.preimage.hex(), "completed_at": row.completed_at}
    return shown
