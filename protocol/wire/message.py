"""How a BOLT message is laid out: its fields in their order, each with its type on the wire.

    class UpdateFailHtlc(Message, frozen=True, kw_only=True):
        TYPE = 131
        channel_id: Bytes32
        id: U64
        reason: VarBytes

Behind the fields may stand a TLV stream. A field with a `Tlv` is one of its records, None where it
is absent.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, ClassVar, NamedTuple, Self, get_type_hints

from protocol.errors import Malformed
from protocol.values import Value
from protocol.wire import tlv
from protocol.wire.codec import Reader, varbytes


class Kind(NamedTuple):
    """The type of a field on the wire."""

    read: Callable[[Reader], Any]
    write: Callable[[Any], bytes]


def _uint(size: int) -> Kind:
    return Kind(lambda reader: reader.uint(size), lambda value: int(value).to_bytes(size, "big"))


def exactly(size: int) -> Kind:
    """So many bytes."""
    return Kind(lambda reader: reader.take(size), bytes)


def _read_signatures(reader: Reader) -> tuple[bytes, ...]:
    return tuple(reader.take(64) for _ in range(reader.uint(2)))


def _write_signatures(signatures: tuple[bytes, ...]) -> bytes:
    return len(signatures).to_bytes(2, "big") + b"".join(signatures)


U8 = Annotated[int, _uint(1)]
U16 = Annotated[int, _uint(2)]
U32 = Annotated[int, _uint(4)]
U64 = Annotated[int, _uint(8)]
Bytes32 = Annotated[bytes, exactly(32)]
ShortChannelId = Annotated[bytes, exactly(8)]
Signature = Annotated[bytes, exactly(64)]
Point = Annotated[bytes, Kind(Reader.point, bytes)]
VarBytes = Annotated[bytes, Kind(Reader.varbytes, varbytes)]  # behind a u16 with their number
Signatures = Annotated[tuple[bytes, ...], Kind(_read_signatures, _write_signatures)]


class Tlv(NamedTuple):
    """A record of the TLV stream: its type number, its length if there is only one, and how its
    bytes are read and written. `read` may raise `Malformed`."""

    number: int
    size: int | None = None
    read: Callable[[bytes], Any] = bytes
    write: Callable[[Any], bytes] = bytes


class _Layout(NamedTuple):
    fields: tuple[tuple[str, Kind], ...]
    records: dict[int, tuple[str, Tlv]]


@cache
def _layout(cls: type[Message]) -> _Layout:
    hints = get_type_hints(cls, include_extras=True)
    kinds = [(name, hints[name].__metadata__[0]) for name in cls.__struct_fields__]
    return _Layout(
        tuple((name, kind) for name, kind in kinds if isinstance(kind, Kind)),
        {kind.number: (name, kind) for name, kind in kinds if isinstance(kind, Tlv)},
    )


class Message(Value, frozen=True, kw_only=True):
    """The base of every peer message."""

    TYPE: ClassVar[int]

    def encode(self) -> bytes:
        """The message with its two bytes of type in front."""
        fields, records = _layout(type(self))
        parts = [self.TYPE.to_bytes(2, "big")]
        parts += [kind.write(getattr(self, name)) for name, kind in fields]
        stream = {
            number: record.write(value)
            for number, (name, record) in records.items()
            if (value := getattr(self, name)) is not None
        }
        return b"".join(parts) + tlv.encode(stream)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """From the bytes behind the type. Raises `Malformed`.

        Each message may be followed by a TLV stream; unknown odd records are skipped (BOLT 1).
        """
        layout = _layout(cls)
        reader = Reader(body)
        fields = {name: kind.read(reader) for name, kind in layout.fields}
        if reader.left:
            found = tlv.decode(reader.rest(), layout.records)
            for number, (name, record) in layout.records.items():
                if number in found:
                    fields[name] = _read(found[number], record)
        return cls(**fields)

    @classmethod
    def decode_fields(cls, body: bytes) -> Self:
        """As `decode`, but whatever follows the fields is not read. Raises `Malformed`."""
        reader = Reader(body)
        return cls(**{name: kind.read(reader) for name, kind in _layout(cls).fields})

    def records(self) -> list[str]:
        """Names of the TLV records that are there."""
        known = _layout(type(self)).records.values()
        return [name for name, _ in known if getattr(self, name) is not None]


def _read(data: bytes, record: Tlv) -> Any:
    # BOLT 1: "if length is not exactly equal to that required for the known encoding for type: MUST
    # fail to parse the tlv_stream"
    if record.size is not None and len(data) != record.size:
        raise Malformed(f"tlv value of {len(data)} bytes where {record.size} are due")
    return record.read(data)
