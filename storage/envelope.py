"""Every stored value: schema name, version, checksum, body.

One byte "1", one byte of name length, the name, two bytes of version, four of CRC-32, the body.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from storage.errors import Corrupt, TooOld

MAGIC, BEFORE = b"1", b"D"


class Sealed(NamedTuple):
    """What an envelope holds."""

    name: str
    version: int
    body: bytes


class Envelope:
    """For values of one schema: all of it but checksum and body is made once."""

    def __init__(self, name: str, version: int) -> None:
        label = name.encode()
        self._head = MAGIC + bytes([len(label)]) + label + version.to_bytes(2, "big")
        self._check = zlib.crc32(self._head)

    def seal(self, body: bytes) -> bytes:
        """Body (msgpack) to value."""
        return self._head + zlib.crc32(body, self._check).to_bytes(4, "big") + body

    def opened(self, data: bytes) -> bytes | None:
        """The body, if this is whole and of this schema and version; else see `unseal`."""
        start = len(self._head) + 4
        if not data.startswith(self._head):
            return None
        body = data[start:]
        good = zlib.crc32(body, self._check) == int.from_bytes(data[start - 4 : start], "big")
        return body if good else None


def seal(name: str, version: int, body: bytes) -> bytes:
    """As `Envelope.seal`, for one value."""
    return Envelope(name, version).seal(body)


def unseal(data: bytes, where: str) -> Sealed:
    """Raises `Corrupt` or `TooOld`; `where` names the record for the operator."""
    if data[:1] == BEFORE:
        raise TooOld(
            f"the record {where} was written by an earlier development version, which no release "
            "reads: use another folder"
        )
    if len(data) < 8 or data[:1] != MAGIC or len(data) < 8 + data[1]:
        raise Corrupt(f"the record {where} is not one of ours: restore the store from a backup")
    end = 2 + data[1]
    head, check, body = data[: end + 2], data[end + 2 : end + 6], data[end + 6 :]
    if zlib.crc32(head + body).to_bytes(4, "big") != check:
        raise Corrupt(f"the record {where} is damaged: restore the store from a backup")
    return Sealed(data[2:end].decode(), int.from_bytes(data[end : end + 2], "big"), body)
