"""BOLT 4, Failure Messages: the whole list, with the fields that each carries."""

from __future__ import annotations

from typing import NamedTuple

from protocol.errors import Malformed
from protocol.wire.codec import Reader

BADONION, PERM, NODE, UPDATE = 0x8000, 0x4000, 0x2000, 0x1000

# code -> (name, fields); "bytes" is a u16 length and as many bytes
TABLE: dict[int, tuple[str, tuple[tuple[str, str], ...]]] = {
    NODE | 2: ("temporary_node_failure", ()),
    PERM | NODE | 2: ("permanent_node_failure", ()),
    PERM | NODE | 3: ("required_node_feature_missing", ()),
    BADONION | PERM | 4: ("invalid_onion_version", (("sha256_of_onion", "hash"),)),
    BADONION | PERM | 5: ("invalid_onion_hmac", (("sha256_of_onion", "hash"),)),
    BADONION | PERM | 6: ("invalid_onion_key", (("sha256_of_onion", "hash"),)),
    UPDATE | 7: ("temporary_channel_failure", (("channel_update", "bytes"),)),
    PERM | 8: ("permanent_channel_failure", ()),
    PERM | 9: ("required_channel_feature_missing", ()),
    PERM | 10: ("unknown_next_peer", ()),
    UPDATE | 11: ("amount_below_minimum", (("htlc_msat", "u64"), ("channel_update", "bytes"))),
    UPDATE | 12: ("fee_insufficient", (("htlc_msat", "u64"), ("channel_update", "bytes"))),
    UPDATE | 13: ("incorrect_cltv_expiry", (("cltv_expiry", "u32"), ("channel_update", "bytes"))),
    UPDATE | 14: ("expiry_too_soon", (("channel_update", "bytes"),)),
    PERM | 15: (
        "incorrect_or_unknown_payment_details",
        (("htlc_msat", "u64"), ("height", "u32")),
    ),
    18: ("final_incorrect_cltv_expiry", (("cltv_expiry", "u32"),)),
    19: ("final_incorrect_htlc_amount", (("incoming_htlc_amt", "u64"),)),
    UPDATE | 20: ("channel_disabled", (("disabled_flags", "u16"), ("channel_update", "bytes"))),
    21: ("expiry_too_far", ()),
    PERM | 22: ("invalid_onion_payload", (("type", "bigsize"), ("offset", "u16"))),
    23: ("mpp_timeout", ()),
    BADONION | PERM | 24: ("invalid_onion_blinding", (("sha256_of_onion", "hash"),)),
}
CODE = {name: code for code, (name, _) in TABLE.items()}


class Failure(NamedTuple):
    """A failure message: its code, its name ("unknown" if not in the list), and its fields."""

    code: int
    name: str
    fields: dict[str, int | bytes]


def encode(name: str, **fields: int | bytes) -> bytes:
    """A failure message by its name in BOLT 4."""
    code = CODE[name]
    parts = [code.to_bytes(2, "big")]
    for field, kind in TABLE[code][1]:
        value = fields[field]
        if isinstance(value, bytes):
            parts.append(value if kind == "hash" else len(value).to_bytes(2, "big") + value)
        elif kind == "bigsize":
            parts.append(value.to_bytes(1, "big"))
        else:
            parts.append(value.to_bytes(int(kind[1:]) // 8, "big"))
    return b"".join(parts)


def decode(message: bytes) -> Failure:
    """Never raises: an unknown code keeps its number, missing fields are left out."""
    reader = Reader(message)
    fields: dict[str, int | bytes] = {}
    try:
        code = reader.uint(2)
    except Malformed:
        return Failure(0, "unknown", fields)
    name, layout = TABLE.get(code, ("unknown", ()))
    try:
        for field, kind in layout:
            match kind:
                case "hash":
                    fields[field] = reader.take(32)
                case "bytes":
                    fields[field] = reader.varbytes()
                case "bigsize":
                    fields[field] = reader.bigsize()
                case _:
                    fields[field] = reader.uint(int(kind[1:]) // 8)
    except Malformed:
        pass  # a shorter form of the same failure; what is there is kept
    return Failure(code, name, fields)
