"""Fundamental types of BOLT 1: big-endian integers, truncated integers, BigSize, and a reader."""

from __future__ import annotations

from protocol.errors import Malformed


class Reader:
    """Takes bytes from the front of a message. Raises `Malformed` when they run out."""

    __slots__ = ("data", "at")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    @property
    def left(self) -> int:
        """Bytes that are not read yet."""
        return len(self.data) - self.at

    def take(self, count: int) -> bytes:
        """The next bytes. Raises `Malformed` when there are fewer."""
        end = self.at + count
        # BOLT 1: "upon receiving a known message with insufficient length for the contents: MUST
        # close the connection"
        if end > len(self.data):
            raise Malformed("message ends early")
        part = self.data[self.at : end]
        self.at = end
        return part

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.left)

    def uint(self, size: int) -> int:
        """Big endian, `size` bytes. Raises `Malformed`."""
        return int.from_bytes(self.take(size), "big")

    def bigsize(self) -> int:
        """BOLT 1, appendix A: must be the shortest form."""
        first = self.uint(1)
        if first < 0xFD:
            return first
        size, least = {0xFD: (2, 0xFD), 0xFE: (4, 0x1_0000), 0xFF: (8, 0x1_0000_0000)}[first]
        value = self.uint(size)
        # "if a type or length is not minimally encoded: MUST fail to parse the tlv_stream"
        if value < least:
            raise Malformed("decoded bigsize is not canonical")
        return value

    def varbytes(self) -> bytes:
        """A u16 length and as many bytes."""
        return self.take(self.uint(2))

    def point(self) -> bytes:
        """33 bytes of a compressed public key; that it lies on the curve is checked where used."""
        key = self.take(33)
        # BOLT 1: "point: a 33-byte Elliptic Curve point (compressed encoding ...)"
        if key[0] not in (2, 3):
            raise Malformed("not a compressed public key")
        return key


def bigsize(value: int) -> bytes:
    """A number of up to 64 bits as BOLT 1 writes it, in the shortest form."""
    if value < 0xFD:
        return value.to_bytes(1, "big")
    if value < 0x1_0000:
        return b"\xfd" + value.to_bytes(2, "big")
    if value < 0x1_0000_0000:
        return b"\xfe" + value.to_bytes(4, "big")
    return b"\xff" + value.to_bytes(8, "big")


def varbytes(data: bytes) -> bytes:
    """With two bytes of length in front."""
    return len(data).to_bytes(2, "big") + data


def tu(value: int) -> bytes:
    """Truncated unsigned integer: no leading zero bytes, zero is empty."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def read_tu(data: bytes, size: int) -> int:
    """A truncated integer of at most `size` bytes."""
    # BOLT 1: "if variable-length fields within the known encoding for type are not minimal: MUST
    # fail to parse the tlv_stream"; a tu64 has at most eight bytes
    if len(data) > size:
        raise Malformed("truncated integer is too long")
    if data[:1] == b"\x00":
        raise Malformed("truncated integer has a leading zero")
    return int.from_bytes(data, "big")


def signed(value: int) -> bytes:
    """s8, s16, s32 or s64, the shortest that holds the value (BOLT 1, appendix D)."""
    for size in (1, 2, 4, 8):
        if -(1 << 8 * size - 1) <= value < 1 << 8 * size - 1:
            return value.to_bytes(size, "big", signed=True)
    raise ValueError("does not fit into 64 bits")


def read_signed(data: bytes) -> int:
    """1, 2, 4 or 8 bytes, two's complement. Raises `Malformed`."""
    # BOLT 1, fundamental types: s8, s16, s32, s64
    if len(data) not in (1, 2, 4, 8):
        raise Malformed("signed integer of an odd length")
    return int.from_bytes(data, "big", signed=True)
