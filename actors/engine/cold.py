"""Rows that are many and seldom read: from the disk when they are asked for, not kept in memory.

But for the last few that were written: what has changed is what is looked at next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from actors.engine.keeps import Keeps
from protocol.segment import AnySegment, Key
from storage.store import Store

ROW = b"r/"  # the keys of all rows in a store begin with it
WARM = 256


class Cold:
    """Of one actor; without a store there is nothing."""

    def __init__(self, store: Store | None, keeps: Keeps) -> None:
        self._store, self._keeps = store, keeps
        self._warm: dict[tuple[AnySegment, Key], Any] = {}

    def written(self, segment: AnySegment, rows: Iterable[tuple[Key, Any]]) -> None:
        """They are on the disk as they are here; None stands for none."""
        warm = self._warm
        for key, row in rows if self._store is not None else ():
            warm.pop((segment, key), None)
            warm[segment, key] = row
        while len(warm) > WARM:
            del warm[next(iter(warm))]

    def get(self, segment: AnySegment, key: Key) -> Any:
        """None if there is none. Raises `StoreError`."""
        if (segment, key) in self._warm:
            return self._warm[segment, key]
        if self._store is None:
            return None
        place = segment.place(key)
        data = self._store.get(ROW + place.encode())
        return None if data is None else self._keeps.decode(place, data)

    def below(self, segment: AnySegment, prefix: Key) -> Mapping[Key, Any]:
        """All whose keys begin with `prefix`; None stands for none. Raises `StoreError`."""
        if self._store is None:
            return {}
        if len(prefix) == len(segment.by):
            return {prefix: self.get(segment, prefix)}
        found = self._store.below(ROW + segment.beneath(prefix).encode())
        rows = (self._keeps.read(key[len(ROW) :].decode(), data) for key, data in found.items())
        return {key: row for _, key, row in rows}
