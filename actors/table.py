"""The rows of one machine in memory, grouped by the first segment of their keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_EMPTY: dict[str, Any] = {}


class Table:
    def __init__(self) -> None:
        self._segments: dict[str, dict[str, Any]] = {}

    def get(self, key: str) -> Any:
        return self._segments.get(key.partition("/")[0], _EMPTY).get(key)

    def segment(self, name: str) -> Mapping[str, Any]:
        rows: Mapping[str, Any] = self._segments.get(name, _EMPTY)
        return rows

    def set(self, key: str, value: Any) -> None:
        """None removes the row."""
        segment = self._segments.setdefault(key.partition("/")[0], {})
        if value is None:
            segment.pop(key, None)
        else:
            segment[key] = value

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        for segment in self._segments.values():
            yield from segment.items()
