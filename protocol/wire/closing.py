"""BOLT 2, Channel Close: shutdown, closing_signed, closing_complete, closing_sig."""

from __future__ import annotations

from protocol.wire.message import Message, Record, fixed, raw


def _read_range(data: bytes) -> tuple[int, int]:
    fixed(16)(data)
    return int.from_bytes(data[:8], "big"), int.from_bytes(data[8:], "big")


def _write_range(value: tuple[int, int]) -> bytes:
    return value[0].to_bytes(8, "big") + value[1].to_bytes(8, "big")


_RANGE: Record = ("fee_range", _read_range, _write_range)
_SIGNATURES = {
    1: raw("closer_output_only", 64),
    2: raw("closee_output_only", 64),
    3: raw("closer_and_closee_outputs", 64),
}


class Shutdown(Message, frozen=True, kw_only=True):
    TYPE = 38
    LAYOUT = (("channel_id", 32), ("scriptpubkey", "bytes"))
    channel_id: bytes
    scriptpubkey: bytes


class ClosingSigned(Message, frozen=True, kw_only=True):
    """`fee_range` is (least, most) in satoshi."""

    TYPE = 39
    LAYOUT = (("channel_id", 32), ("fee_satoshis", "u64"), ("signature", 64))
    RECORDS = {1: _RANGE}
    channel_id: bytes
    fee_satoshis: int
    signature: bytes
    fee_range: tuple[int, int] | None = None


class _SimpleClose(Message, frozen=True, kw_only=True):
    LAYOUT = (
        ("channel_id", 32),
        ("closer_scriptpubkey", "bytes"),
        ("closee_scriptpubkey", "bytes"),
        ("fee_satoshis", "u64"),
        ("locktime", "u32"),
    )
    RECORDS = _SIGNATURES
    channel_id: bytes
    closer_scriptpubkey: bytes
    closee_scriptpubkey: bytes
    fee_satoshis: int
    locktime: int
    closer_output_only: bytes | None = None
    closee_output_only: bytes | None = None
    closer_and_closee_outputs: bytes | None = None


class ClosingComplete(_SimpleClose, frozen=True, kw_only=True):
    TYPE = 40


class ClosingSig(_SimpleClose, frozen=True, kw_only=True):
    TYPE = 41
