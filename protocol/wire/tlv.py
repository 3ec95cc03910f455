"""TLV streams (BOLT 1, Type-Length-Value Format)."""

from __future__ import annotations

from collections.abc import Container, Mapping

from protocol.errors import Malformed
from protocol.wire.codec import Reader, bigsize


def encode(records: Mapping[int, bytes]) -> bytes:
    """Records in ascending order of type."""
    return b"".join(
        bigsize(kind) + bigsize(len(records[kind])) + records[kind] for kind in sorted(records)
    )


def decode(stream: bytes, known: Container[int] = ()) -> dict[int, bytes]:
    """All records, the unknown odd ones too. Raises `Malformed` as BOLT 1 asks.

    "MUST fail to parse the tlv_stream" when types do not strictly increase, when a length runs
    past the end, or on an unknown even type.
    """
    reader, records, last = Reader(stream), {}, -1
    while reader.left:
        kind = reader.bigsize()
        # "if decoded types are not strictly-increasing: MUST fail to parse the tlv_stream"
        if kind <= last:
            raise Malformed("tlv types do not increase")
        last = kind
        value = reader.take(reader.bigsize())
        # "if type is even [and unknown]: MUST fail to parse the tlv_stream"
        if kind % 2 == 0 and kind not in known:
            raise Malformed(f"unknown even tlv type {kind}")
        records[kind] = value
    return records
