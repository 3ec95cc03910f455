"""The rows of one machine, segment by segment.

All in memory, but those of cold segments (`cold.py`): they are read from the disk when they are
asked for, and kept here until they are written. Rows of keys with several parts stand in
boxes, one for each first part, so that what belongs to one channel is found without a walk past all
others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from actors.engine.cold import Cold
from actors.engine.keeps import Keeps
from protocol.segment import AnySegment, Key

Changes = Mapping[AnySegment, Mapping[Any, Any]]
_EMPTY: dict[Any, Any] = {}
NOTHING = Cold(None, Keeps(()))


class Table:
    """`cold` reads rows of cold segments from the disk; `segments`: some that it is to know from
    the beginning."""

    def __init__(self, cold: Cold = NOTHING, segments: Iterable[AnySegment] = ()) -> None:
        self._segments: dict[AnySegment, dict[Any, Any]] = {one: {} for one in segments}
        self._shared: set[AnySegment] = set()
        self._cold = cold

    def get(self, segment: AnySegment, key: Key) -> Any:
        """None if there is none."""
        rows = self._segments.get(segment, _EMPTY)
        if segment.deep:
            rows = rows.get(key[0], _EMPTY)
        if segment.cold and key not in rows:
            return self._cold.get(segment, key)
        return rows.get(key)

    def below(self, segment: AnySegment, prefix: Key) -> Mapping[Key, Any]:
        """All rows whose keys begin with `prefix`."""
        unwritten = self._below(segment, prefix)
        if not segment.cold:
            return unwritten
        rows = {**self._cold.below(segment, prefix), **unwritten}
        return {key: row for key, row in rows.items() if row is not None}

    def _below(self, segment: AnySegment, prefix: Key) -> Mapping[Key, Any]:
        rows = self._segments.get(segment, _EMPTY)
        if not segment.deep:
            if not prefix:
                return rows
            return {prefix: rows[prefix]} if prefix in rows else {}
        if not prefix:
            return {key: row for box in rows.values() for key, row in box.items()}
        box: dict[Key, Any] = rows.get(prefix[0], _EMPTY)
        size = len(prefix)
        return box if size == 1 else {key: row for key, row in box.items() if key[:size] == prefix}

    def each(self, segment: AnySegment) -> Iterator[tuple[Key, Any]]:
        yield from self.below(segment, ()).items()

    def apply(self, changes: Changes) -> None:
        """What a step has changed; None removes a row."""
        for segment, changed in changes.items():
            rows, deep, keep = self._own(segment), segment.deep, segment.cold
            for key, row in changed.items():
                box = rows.setdefault(key[0], {}) if deep else rows
                if row is not None or keep:
                    box[key] = row
                    continue
                box.pop(key, None)
                if deep and not box:
                    del rows[key[0]]

    def add(self, segment: AnySegment, key: Key, row: Any) -> None:
        """A row from the disk, before any step."""
        rows = self._segments[segment]
        if segment.deep:
            rows.setdefault(key[0], {})[key] = row
        else:
            rows[key] = row

    def set(self, segment: AnySegment, key: Key, row: Any) -> None:
        """One row; None removes it."""
        self.apply({segment: {key: row}})

    def _own(self, segment: AnySegment) -> dict[Any, Any]:
        """The rows of a segment, which no twin shares any more."""
        rows = self._segments.get(segment)
        if rows is None:
            rows = self._segments[segment] = {}
        elif segment in self._shared:
            self._shared.discard(segment)
            copied = {k: dict(box) for k, box in rows.items()} if segment.deep else dict(rows)
            rows = self._segments[segment] = copied
        return rows

    def fork(self, cold: Cold) -> Table:
        """The same rows in a table that goes its own way; whoever writes first copies."""
        twin = Table(cold)
        twin._segments = dict(self._segments)
        self._shared.update(self._segments)
        twin._shared = set(self._segments)
        return twin

    def written(self) -> None:
        """Everything is on the disk."""
        for segment, rows in self._segments.items():
            if segment.cold and rows:
                self._cold.written(segment, self._below(segment, ()).items())
                self._segments[segment] = {}

    # ---- for those who look in from outside: tests, and what shows a node ----

    def named(self, name: str) -> AnySegment | None:
        """The segment of this name, if it is known, or there ever was a row in it."""
        return next((segment for segment in self._segments if segment.name == name), None)

    def read(self, place: str) -> Any:
        """A row by the text of its key."""
        segment = self.named(place.partition("/")[0])
        return None if segment is None else self.get(segment, segment.key(place))

    def write(self, place: str, row: Any) -> None:
        """Over a row that is there."""
        segment = self.named(place.partition("/")[0])
        assert segment is not None, f"there is no row like {place}"
        self.set(segment, segment.key(place), row)

    def kept(self) -> Table:
        """What the next incarnation finds."""
        twin = Table()
        for segment in [one for one in self._segments if one.stored]:
            for key, row in self.below(segment, ()).items():
                twin.set(segment, key, row)
        return twin

    def shown(self, name: str) -> dict[str, Any]:
        """All rows of a segment by the text of their keys."""
        segment = self.named(name)
        if segment is None:
            return {}
        return {segment.place(key): row for key, row in self.below(segment, ()).items()}

    def in_memory(self) -> Iterator[tuple[str, Any]]:
        """All rows that are kept nowhere, by the text of their keys."""
        for segment in sorted((s for s in self._segments if not s.stored), key=lambda s: s.name):
            for key, row in sorted(self._below(segment, ()).items()):
                yield segment.place(key), row

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        for segment in self._segments:
            for key, row in self._below(segment, ()).items():
                yield segment.place(key), row
