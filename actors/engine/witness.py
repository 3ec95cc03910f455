"""What an actor was hearing when it died: a page of memory that outlives its process.

An exception can be written down by the one whom it ends. A hang, a native crash, want of memory
cannot: so whoever has died without a word has each message on record, from then on, before it hears
it. A store into a mapped file costs a microsecond, and the kernel keeps it whatever the process
dies of.
"""

from __future__ import annotations

from typing import Any

import msgspec

from actors.engine.lives import shared_page

SIZE, DIGEST = 1 << 14, 32
ALIVE = 0
_RECORD = slice(8, 8 + DIGEST)
_COUNTS = 64
MAX_COUNTS = 100


class Witness:
    """`silent`: the life before ended without a word. `accused`: digest (32 hex digits) of what it
    was hearing then, "" if that is not on record. `counts`: what actors without a store remember of
    earlier deaths. Raises `OSError`."""

    def __init__(self, path: str) -> None:
        self._page = shared_page(path, SIZE)
        self.silent = self._page[ALIVE] == 1
        record = self._page[_RECORD].strip(b"\0") if self.silent else b""
        self.accused = record.decode("ascii", "replace")
        self.counts = self._read_counts()
        self._page[_RECORD] = bytes(DIGEST)
        self._page[ALIVE] = 1

    def hearing(self, digest: str) -> None:
        """On record from now on."""
        self._page[_RECORD] = digest.encode().ljust(DIGEST, b"\0")

    def heard(self) -> None:
        """It did no harm."""
        self._page[_RECORD] = bytes(DIGEST)

    def ends(self) -> None:
        """This life ends by itself, and has said why."""
        self._page[ALIVE] = 0

    def remember(self, counts: dict[str, int]) -> None:
        """For an actor without a store: how often its messages have ended it."""
        newest = dict(list(counts.items())[-MAX_COUNTS:])
        data = msgspec.msgpack.encode(newest)
        self._page[_COUNTS : _COUNTS + 4] = len(data).to_bytes(4, "big")
        self._page[_COUNTS + 4 : _COUNTS + 4 + len(data)] = data

    def _read_counts(self) -> dict[str, int]:
        size = int.from_bytes(self._page[_COUNTS : _COUNTS + 4], "big")
        data: Any = self._page[_COUNTS + 4 : _COUNTS + 4 + min(size, SIZE)]
        try:
            return msgspec.msgpack.decode(data, type=dict[str, int])
        except msgspec.MsgspecError:
            return {}  # a new page, or one that a power cut has torn
