"""Rows that are many and seldom read: from the disk when they are asked for, not kept in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actors.engine.keeps import Keeps
from protocol.segment import AnySegment, Key
from storage.store import Store

ROW = b"r/"  # the keys of all rows in a store begin with it


class Cold:
    """Of one actor; without a store there is nothing."""

    def __init__(self, store: Store | None, keeps: Keeps) -> None:
        self._store, self._keeps = store, keeps

    def get(self, segment: AnySegment, key: Key) -> Any:
        """None if there is none. Raises `StoreError`."""
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
