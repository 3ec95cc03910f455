"""How a BOLT message is laid out: each class names its type, its fields and its TLV records.

A field is (name, kind). Kinds: an integer size in bytes as "u8" to "u64"; a byte count; "point";
"bytes" (u16 length first); "signatures" (u16 count of 64 bytes each).
TLV records: type number -> (field name, reader, writer); an absent record is None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

from protocol.errors import Malformed
from protocol.values import Value
from protocol.wire import tlv
from protocol.wire.codec import Reader, varbytes

Layout = tuple[tuple[str, str | int], ...]
Record = tuple[str, Callable[[bytes], Any], Callable[[Any], bytes]]

_SIGNATURE = 64


def read_field(reader: Reader, kind: str | int) -> Any:
    if isinstance(kind, int):
        return reader.take(kind)
    match kind:
        case "u8" | "u16" | "u32" | "u64":
            return reader.uint(int(kind[1:]) // 8)
        case "point":
            return reader.point()
        case "bytes":
            return reader.varbytes()
        case "signatures":
            return tuple(reader.take(_SIGNATURE) for _ in range(reader.uint(2)))
    raise AssertionError(kind)


def _write(value: Any, kind: str | int) -> bytes:
    if isinstance(kind, int) or kind == "point":
        return bytes(value)
    match kind:
        case "u8" | "u16" | "u32" | "u64":
            return int(value).to_bytes(int(kind[1:]) // 8, "big")
        case "bytes":
            return varbytes(value)
        case "signatures":
            return len(value).to_bytes(2, "big") + b"".join(value)
    raise AssertionError(kind)


def fixed(size: int) -> Callable[[bytes], bytes]:
    """A TLV value of exactly `size` bytes."""

    def read(data: bytes) -> bytes:
        if len(data) != size:
            raise Malformed(f"tlv value of {len(data)} bytes where {size} are due")
        return data

    return read


def raw(name: str, size: int | None = None) -> Record:
    """A record that stays bytes, of any length or of one."""
    return name, (bytes if size is None else fixed(size)), bytes


class Message(Value, frozen=True, kw_only=True):
    """The base of every peer message."""

    TYPE: ClassVar[int]
    LAYOUT: ClassVar[Layout]
    RECORDS: ClassVar[Mapping[int, Record]] = {}

    def encode(self) -> bytes:
        """The message with its two bytes of type in front."""
        parts = [self.TYPE.to_bytes(2, "big")]
        parts += [_write(getattr(self, name), kind) for name, kind in self.LAYOUT]
        records = {
            number: write(value)
            for number, (name, _, write) in self.RECORDS.items()
            if (value := getattr(self, name)) is not None
        }
        return b"".join(parts) + tlv.encode(records)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """From the bytes behind the type. Raises `Malformed`.

        Each message may be followed by a TLV stream; unknown odd records are skipped (BOLT 1).
        """
        reader = Reader(body)
        fields = {name: read_field(reader, kind) for name, kind in cls.LAYOUT}
        if reader.left:
            found = tlv.decode(reader.rest(), cls.RECORDS)
            for number, (name, read, _) in cls.RECORDS.items():
                if number in found:
                    fields[name] = read(found[number])
        return cls(**fields)
