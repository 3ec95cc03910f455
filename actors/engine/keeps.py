"""What one machine keeps on disk: its stored segments, and how their rows are written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from protocol.segment import AnySegment, Key
from storage.errors import TooNew
from storage.schema import Schema


class Keeps:
    """The stored segments of a machine, by the first part of a row's place ("name/...")."""

    def __init__(self, segments: Iterable[AnySegment]) -> None:
        self._known: dict[str, tuple[AnySegment, Schema]] = {}
        for one in segments:
            if one.name in self._known:
                raise ValueError(f"two segments of one machine are called {one.name!r}")
            self._known[one.name] = (one, Schema(one.name, one.kind, one.version, one.upgrades))
        self._schemas = {one: schema for one, schema in self._known.values()}

    def __deepcopy__(self, _memo: Any) -> Keeps:
        return self  # constant

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def __iter__(self) -> Iterator[tuple[str, Schema]]:
        for segment, schema in self._known.values():
            yield segment.name, schema

    @property
    def segments(self) -> tuple[AnySegment, ...]:
        return tuple(one for one, _ in self._known.values())

    @property
    def cold(self) -> list[str]:
        """Names of the segments that are not kept in memory."""
        return sorted(one.name for one, _ in self._known.values() if one.cold)

    def written(self, segment: AnySegment, key: Key, row: Any) -> tuple[str, bytes | None]:
        """Place and bytes of a row; None for one that is gone. Raises `TypeError` for a segment
        that is not kept here, a key of other parts, a row of another type or with a field of
        another type."""
        schema = self._schemas.get(segment)
        if schema is None:
            raise TypeError(f"{segment} is not kept by this machine: list it in `keeps`")
        if row is None:
            return segment.place(key), None
        if not isinstance(row, segment.kind):
            raise TypeError(f"{segment} does not keep a {type(row).__name__}")
        return segment.place(key), schema.encode(row)

    def read(self, place: str, data: bytes) -> tuple[AnySegment, Key, Any]:
        """A row from the disk. Raises `Corrupt`, `TooNew` or `TooOld`."""
        segment, schema = self._at(place)
        return segment, segment.key(place), schema.decode(data, place)

    def encode(self, place: str, row: Any) -> bytes:
        """For those who write a row by the text of its key."""
        return self._at(place)[1].encode(row)

    def decode(self, place: str, data: bytes) -> Any:
        """Of a row at this place. Raises `Corrupt`, `TooNew` or `TooOld`."""
        return self._at(place)[1].decode(data, place)

    def _at(self, place: str) -> tuple[AnySegment, Schema]:
        found = self._known.get(place.partition("/")[0])
        if found is None:
            raise TooNew(
                f"the record {place} is of a kind that this release does not know: "
                "start the release that wrote it"
            )
        return found
