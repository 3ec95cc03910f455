"""BOLT 2, Channel Close: shutdown, closing_signed, closing_complete, closing_sig."""

from __future__ import annotations

from typing import Annotated

from protocol.wire.message import U32, U64, Bytes32, Message, Signature, Tlv, VarBytes


def _read_range(data: bytes) -> tuple[int, int]:
    return int.from_bytes(data[:8], "big"), int.from_bytes(data[8:], "big")


def _write_range(value: tuple[int, int]) -> bytes:
    return value[0].to_bytes(8, "big") + value[1].to_bytes(8, "big")


class Shutdown(Message, frozen=True, kw_only=True):
    """The sender offers nothing new, and is to be paid to `scriptpubkey`."""

    TYPE = 38
    channel_id: Bytes32
    scriptpubkey: VarBytes


class ClosingSigned(Message, frozen=True, kw_only=True):
    """`fee_range` is (least, most) in satoshi."""

    TYPE = 39
    channel_id: Bytes32
    fee_satoshis: U64
    signature: Signature
    fee_range: Annotated[tuple[int, int] | None, Tlv(1, 16, _read_range, _write_range)] = None


class _SimpleClose(Message, frozen=True, kw_only=True):
    channel_id: Bytes32
    closer_scriptpubkey: VarBytes
    closee_scriptpubkey: VarBytes
    fee_satoshis: U64
    locktime: U32
    closer_output_only: Annotated[bytes | None, Tlv(1, 64)] = None
    closee_output_only: Annotated[bytes | None, Tlv(2, 64)] = None
    closer_and_closee_outputs: Annotated[bytes | None, Tlv(3, 64)] = None


class ClosingComplete(_SimpleClose, frozen=True, kw_only=True):
    """option_simple_close: a closing transaction that its sender pays for, in up to three forms."""

    TYPE = 40


class ClosingSig(_SimpleClose, frozen=True, kw_only=True):
    """The answer to closing_complete: the same, with the one signature that was chosen."""

    TYPE = 41
