"""Schemas: how the value of a row is written, and how older versions become the current one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from storage.envelope import Envelope, unseal
from storage.errors import Corrupt, TooNew, TooOld

# numbers of more than 64 bits, lone surrogates, fields of another type, nesting without end
UNREADABLE = (msgspec.MsgspecError, OverflowError, UnicodeError, RecursionError)

Upgrade = Callable[[dict[str, Any]], dict[str, Any]]


class Schema:
    """One kind of row. `upgrades[n]` makes plain data of version n into version n + 1."""

    def __init__(
        self, name: str, kind: Any, version: int = 1, upgrades: Mapping[int, Upgrade] | None = None
    ) -> None:
        self.name = name
        self.kind = kind
        self.version = version
        self.upgrades = dict(upgrades or {})
        self._envelope = Envelope(name, version)
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(kind)

    def encode(self, value: Any) -> bytes:
        """Raises `TypeError` for what could not be read again: nobody is to meet it later."""
        try:
            body = self._encoder.encode(value)
            self._decoder.decode(body)
        except UNREADABLE as error:
            raise TypeError(f"nobody could read this {type(value).__name__}: {error}") from None
        return self.sealed(body)

    def sealed(self, body: bytes) -> bytes:
        """Of a value that is encoded already, and is known to be readable."""
        return self._envelope.seal(body)

    def decode(self, data: bytes, where: str) -> Any:
        """Raises `Corrupt`, `TooNew` or `TooOld`; nothing is silently read as something else."""
        body = self._envelope.opened(data)
        if body is not None:
            try:
                return self._decoder.decode(body)
            except msgspec.MsgspecError as error:
                raise _misfit(where, error) from None
        sealed = unseal(data, where)
        if sealed.name != self.name:
            raise Corrupt(
                f"the record {where} is of kind {sealed.name!r}, not {self.name!r}: "
                "restore the store from a backup"
            )
        if sealed.version > self.version:
            raise TooNew(
                f"the record {where} was written by a later release (version {sealed.version}): "
                "start that release again"
            )
        try:
            return msgspec.convert(self._upgraded(sealed.version, sealed.body, where), self.kind)
        except msgspec.MsgspecError as error:
            raise _misfit(where, error) from None

    def _upgraded(self, version: int, body: bytes, where: str) -> dict[str, Any]:
        plain = msgspec.msgpack.decode(body)
        while version < self.version:
            if version not in self.upgrades:
                raise TooOld(
                    f"the record {where} has version {version}, which this release no longer "
                    "reads: run the release that wrote it, or use another folder"
                )
            plain = self.upgrades[version](plain)
            version += 1
        return dict(plain)


def _misfit(where: str, error: Exception) -> Corrupt:
    return Corrupt(f"the record {where} does not fit its schema ({error})")
