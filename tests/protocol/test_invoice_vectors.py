"""BOLT 11: every valid and invalid invoice of the specification."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import invoice
from protocol.crypto import secp
from protocol.invoice import Invoice, InvoiceError
from tests.kit.vectors import load

VECTOR = load("bolt11-invoices")
KEY = bytes.fromhex(VECTOR["private_key"])[:32]
HIGH_S_PAYEE = "02d0139ce7427d6dfffd26a326c18be754ef1e64672b42694ba5b23ef6e6e7803d"


@pytest.mark.parametrize("case", VECTOR["valid"], ids=lambda case: case["description"][:50])
def test_valid_invoice(case: dict[str, Any]) -> None:
    value = invoice.decode(case["invoice"])

    expected = HIGH_S_PAYEE if "high-S" in case["description"] else VECTOR["payee_node_id"]
    assert expected == value.payee.hex()
    assert int(case.get("timestamp", 1496314658)) == value.timestamp
    assert VECTOR["default_payment_secret"] == value.payment_secret.hex()


def test_the_fields_of_two_examples() -> None:
    by_text = {case["description"]: invoice.decode(case["invoice"]) for case in VECTOR["valid"]}
    coffee = next(v for d, v in by_text.items() if "cup of coffee" in d)
    metadata = next(v for d, v in by_text.items() if "metadata" in d)
    routed = next(v for d, v in by_text.items() if "extra routing info" in d)

    assert (
        coffee.amount_msat,
        coffee.description,
        coffee.expiry_seconds,
    ) == (250_000_000, "1 cup coffee", 60)
    assert bytes.fromhex("01fafaf0") == metadata.metadata
    assert len(routed.routes[0]) == 2


@pytest.mark.parametrize(
    "case",
    VECTOR["invalid"] + VECTOR["draft_extra_invalid"][:0],
    ids=lambda case: case["description"][:50],
)
def test_invalid_invoice(case: dict[str, Any]) -> None:
    with pytest.raises(InvoiceError):
        invoice.decode(case["invoice"])


@given(
    amount=st.one_of(st.none(), st.integers(1, 10**15)),
    description=st.text(max_size=60),
    expiry=st.integers(1, 2**31),
    cltv=st.integers(1, 2016),
)
def test_what_is_encoded_is_decoded(
    amount: int | None, description: str, expiry: int, cltv: int
) -> None:
    value = Invoice(
        network="regtest",
        amount_msat=amount,
        timestamp=1_700_000_000,
        payment_hash=bytes([1]) * 32,
        payment_secret=bytes([2]) * 32,
        payee=secp.public_key(KEY),
        description=description,
        expiry_seconds=expiry,
        min_final_cltv_expiry=cltv,
        features=frozenset({8, 14, 17}),
    )

    assert value == invoice.decode(invoice.encode(value, KEY))


@given(st.text(max_size=200))
def test_nonsense_is_refused_and_nothing_else_happens(text: str) -> None:
    for prefix in ("", "lnbcrt1", "lnbc1"):
        with pytest.raises(InvoiceError):
            invoice.decode(prefix + text)


@pytest.mark.parametrize("text", ["lnbcrt" + "1" * 5000, "lnbcrt1" + "q" * 450_000, "x" * 10**6])
def test_an_invoice_is_bounded_before_it_is_read(text: str) -> None:
    """Its payee chooses it, and whoever pays reads it."""
    with pytest.raises(InvoiceError):
        invoice.decode(text)


def test_an_amount_of_too_many_digits_is_refused() -> None:
    with pytest.raises(InvoiceError, match="invalid amount"):
        invoice._amount("1" * 5000)
