"""The rows of one machine, grouped by the first segment of their keys.

All in memory, but those of cold segments: they are read from the disk when they are asked for, and
kept here only until they are written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

_EMPTY: dict[str, Any] = {}


def _no_disk(key: str) -> Any:
    return None


class Table:
    """`fetch` reads a row of one of the segments `cold` from the disk; None if there is none."""

    def __init__(
        self, cold: frozenset[str] = frozenset(), fetch: Callable[[str], Any] = _no_disk
    ) -> None:
        self._segments: dict[str, dict[str, Any]] = {}
        self._cold, self._fetch = cold, fetch

    def get(self, key: str) -> Any:
        name = key.partition("/")[0]
        rows = self._segments.get(name, _EMPTY)
        if name in self._cold and key not in rows:
            return self._fetch(key)
        return rows.get(key)

    def segment(self, name: str) -> Mapping[str, Any]:
        assert name not in self._cold, f"{name} rows are not in memory: ask for one by its key"
        rows: Mapping[str, Any] = self._segments.get(name, _EMPTY)
        return rows

    def set(self, key: str, value: Any) -> None:
        """None removes the row."""
        name = key.partition("/")[0]
        segment = self._segments.setdefault(name, {})
        if value is None and name not in self._cold:
            segment.pop(key, None)
        else:
            segment[key] = value

    def fork(self, fetch: Callable[[str], Any]) -> Table:
        """The same rows, which are frozen, in a table that goes its own way."""
        twin = Table(self._cold, fetch)
        twin._segments = {name: dict(rows) for name, rows in self._segments.items()}
        return twin

    def written(self) -> None:
        """Everything is on the disk."""
        for name in self._cold:
            self._segments.pop(name, None)

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        for segment in self._segments.values():
            yield from segment.items()
