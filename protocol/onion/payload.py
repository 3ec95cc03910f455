"""BOLT 4: what an onion says to one hop (the `payload` TLV stream)."""

from __future__ import annotations

from protocol.errors import Malformed
from protocol.values import Value
from protocol.wire import tlv
from protocol.wire.codec import read_tu, tu

AMT_TO_FORWARD, OUTGOING_CLTV, SHORT_CHANNEL_ID, PAYMENT_DATA = 2, 4, 6, 8
PAYMENT_METADATA, KEYSEND_PREIMAGE = 16, 5482373484
_KNOWN = frozenset({2, 4, 6, 8, 16, KEYSEND_PREIMAGE})


class HopPayload(Value, frozen=True, kw_only=True):
    """`short_channel_id` (8 bytes) is None for the final hop; a keysend carries its preimage."""

    amount_msat: int
    cltv_expiry: int
    short_channel_id: bytes | None = None
    payment_secret: bytes | None = None
    total_msat: int | None = None
    payment_metadata: bytes | None = None
    keysend_preimage: bytes | None = None


def encode(payload: HopPayload) -> bytes:
    """The tlv stream of one hop (BOLT 4, Payload Format), without its length."""
    records = {AMT_TO_FORWARD: tu(payload.amount_msat), OUTGOING_CLTV: tu(payload.cltv_expiry)}
    if payload.short_channel_id is not None:
        records[SHORT_CHANNEL_ID] = payload.short_channel_id
    if payload.payment_secret is not None:
        records[PAYMENT_DATA] = payload.payment_secret + tu(payload.total_msat or 0)
    if payload.payment_metadata is not None:
        records[PAYMENT_METADATA] = payload.payment_metadata
    if payload.keysend_preimage is not None:
        records[KEYSEND_PREIMAGE] = payload.keysend_preimage
    return tlv.encode(records)


def decode(data: bytes) -> HopPayload:
    """Raises `Malformed`; the failure to answer with is invalid_onion_payload."""
    found = tlv.decode(data, _KNOWN)
    # "MUST return an error if amt_to_forward or outgoing_cltv_value are not present"
    for needed in (AMT_TO_FORWARD, OUTGOING_CLTV):
        if needed not in found:
            raise Malformed(f"the payload lacks type {needed}")
    secret = total = None
    if PAYMENT_DATA in found:
        # BOLT 1: "if length is not exactly equal to that required for the known encoding for
        # type: MUST fail to parse the tlv_stream"; below too
        if len(found[PAYMENT_DATA]) < 32:
            raise Malformed("payment_data is too short")
        secret, total = found[PAYMENT_DATA][:32], read_tu(found[PAYMENT_DATA][32:], 8)
    scid = found.get(SHORT_CHANNEL_ID)
    preimage = found.get(KEYSEND_PREIMAGE)
    if scid is not None and len(scid) != 8 or preimage is not None and len(preimage) != 32:
        raise Malformed("a field of the payload has a wrong length")
    return HopPayload(
        amount_msat=read_tu(found[AMT_TO_FORWARD], 8),
        cltv_expiry=read_tu(found[OUTGOING_CLTV], 4),
        short_channel_id=scid,
        payment_secret=secret,
        total_msat=total,
        payment_metadata=found.get(PAYMENT_METADATA),
        keysend_preimage=preimage,
    )
