"""A segment: one kind of row, its type, and the parts of its keys. The only way to a row.

    HTLCS = Segment("htlc", Htlc, by=(bytes, str, int))  by channel id (32 bytes), whose, and its id
    TIP = Segment("~tip", Tip, by=())                    one row

    htlc = HTLCS.get(step, channel_id, "ours", 3)
    for (_, whose, number), htlc in HTLCS.below(step, channel_id).items(): ...

Where a row is stored its key is text: "htlc/<hex>/ours/3".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar, TypeVarTuple, overload

Part = str | int | bytes
Key = tuple[Any, ...]  # of parts
Upgrade = Callable[[dict[str, Any]], dict[str, Any]]
T = TypeVar("T")
A = TypeVar("A", str, int, bytes)
B = TypeVar("B", str, int, bytes)
C = TypeVar("C", str, int, bytes)
Ks = TypeVarTuple("Ks")
_READ: dict[Any, Callable[[str], Part]] = {bytes: bytes.fromhex, int: int, str: str}


class Rows(Protocol):
    """What a step reads: rows by their keys, those below a part of a key, all of a segment."""

    def get(self, segment: AnySegment, key: Key) -> Any:
        """None if there is none."""

    def below(self, segment: AnySegment, prefix: Key) -> Mapping[Any, Any]:
        """By their keys, in no order."""

    def each(self, segment: AnySegment) -> Iterator[tuple[Any, Any]]:
        """All of a large segment, one by one."""


class Work(Protocol):
    """What a segment needs of a step: what was there, and what has changed."""

    stored_rows: Rows
    changed_rows: dict[AnySegment, dict[Any, Any]]


class Segment(Generic[T, *Ks]):
    """Rows of type `kind`, found by a key of the parts `by`; by the empty tuple there is one row.

    Rows of a segment whose name begins with "~" are never stored. `cold`: they are many and seldom
    read, and are not kept in memory. `version` and `upgrades` as in `storage.schema.Schema`. Of the
    parts of a key only the last may be text with a slash in it.
    """

    @overload
    def __init__(
        self: Segment[T, str], name: str, kind: type[T], *, version: int = 1, cold: bool = False,
        upgrades: Mapping[int, Upgrade] | None = None,
    ) -> None: ...  # fmt: skip

    @overload
    def __init__(
        self: Segment[T], name: str, kind: type[T], by: tuple[()], *, version: int = 1,
        cold: bool = False, upgrades: Mapping[int, Upgrade] | None = None,
    ) -> None: ...  # fmt: skip

    @overload
    def __init__(
        self: Segment[T, A], name: str, kind: type[T], by: tuple[type[A]], *, version: int = 1,
        cold: bool = False, upgrades: Mapping[int, Upgrade] | None = None,
    ) -> None: ...  # fmt: skip

    @overload
    def __init__(
        self: Segment[T, A, B], name: str, kind: type[T], by: tuple[type[A], type[B]], *,
        version: int = 1, cold: bool = False, upgrades: Mapping[int, Upgrade] | None = None,
    ) -> None: ...  # fmt: skip

    @overload
    def __init__(
        self: Segment[T, A, B, C], name: str, kind: type[T],
        by: tuple[type[A], type[B], type[C]], *, version: int = 1, cold: bool = False,
        upgrades: Mapping[int, Upgrade] | None = None,
    ) -> None: ...  # fmt: skip

    def __init__(
        self,
        name: str,
        kind: Any,
        by: tuple[Any, ...] = (str,),
        *,
        version: int = 1,
        cold: bool = False,
        upgrades: Mapping[int, Upgrade] | None = None,
    ) -> None:
        self.name, self.kind, self.by = name, kind, by
        self.version, self.cold, self.upgrades = version, cold, dict(upgrades or {})
        self.stored = not name.startswith("~")
        self.deep = len(by) > 1
        if not all(kind in _READ for kind in by):
            raise TypeError(f"the parts of a key of {name} are of type str, int or bytes")
        self._reads = [_READ[kind] for kind in by]
        self._inner = [n for n, kind in enumerate(by[:-1]) if kind is str]

    def __repr__(self) -> str:
        return f"Segment({self.name!r})"

    def __deepcopy__(self, _memo: Any) -> Segment[T, *Ks]:
        return self  # constant

    # ---- rows ----

    def get(self, step: Work, *key: *Ks) -> T | None:
        """The row as this step has left it; None if there is none."""
        changed = step.changed_rows.get(self)
        if changed is not None and key in changed:
            found: T | None = changed[key]
            return found
        row: T | None = step.stored_rows.get(self, key)
        return row

    def need(self, step: Work, *key: *Ks) -> T:
        """A row that is there. Raises `KeyError`, a defect of ours, when it is not."""
        row = self.get(step, *key)
        if row is None:
            raise KeyError(f"no row {self.name} at {key!r}")
        return row

    def put(self, step: Work, row: T, *key: *Ks) -> None:
        """In the place of what stood at this key."""
        step.changed_rows.setdefault(self, {})[key] = row

    def drop(self, step: Work, *key: *Ks) -> None:
        """No row at this key from now on, if there was one or not."""
        step.changed_rows.setdefault(self, {})[key] = None

    def below(self, step: Work, *prefix: Part) -> dict[tuple[*Ks], T]:
        """All rows whose keys begin with `prefix`, in order of key; it costs what it returns."""
        found: dict[Any, T | None] = dict(step.stored_rows.below(self, prefix))
        changed = step.changed_rows.get(self)
        if changed is not None:
            size = len(prefix)
            for key, row in changed.items():
                if key[:size] == prefix:
                    found[key] = row
        if len(found) < 2:
            return {key: row for key, row in found.items() if row is not None}
        return {key: row for key in sorted(found) if (row := found[key]) is not None}

    def each(self, step: Work) -> Iterator[tuple[tuple[*Ks], T]]:
        """All rows of a large segment, in no order, one by one."""
        changed: Mapping[Any, T | None] = step.changed_rows.get(self, {})
        for key, row in step.stored_rows.each(self):
            if key not in changed:
                yield key, row
        for key, new in changed.items():
            if new is not None:
                yield key, new

    def count(self, step: Work) -> int:
        """How many rows there were before this step."""
        return len(step.stored_rows.below(self, ()))

    # ---- keys as they are stored ----

    def place(self, key: Key) -> str:
        """The text of a key. Raises `TypeError` for parts that are not those of `by`."""
        if tuple(map(type, key)) != self.by:
            parts = ", ".join(part.__name__ for part in self.by)
            raise TypeError(f"a key of {self.name} has the parts ({parts}), not {key!r}")
        for n in self._inner:
            if "/" in key[n]:
                raise TypeError(f"only the last part of a key of {self.name} may have a slash")
        return "/".join([self.name, *_texts(key)])

    def beneath(self, prefix: Key) -> str:
        """What the texts of all keys begin with that have these parts, and more."""
        return "/".join([self.name, *_texts(prefix), ""])

    def key(self, place: str) -> Key:
        """From the text of a key. Raises `ValueError` when it is none."""
        parts = place.split("/", len(self.by))[1:] if self.by else []
        if len(parts) != len(self.by):
            raise ValueError(f"{place!r} is no key of {self.name}")
        return tuple([read(text) for read, text in zip(self._reads, parts, strict=True)])


def _texts(parts: Key) -> list[str]:
    return [part.hex() if isinstance(part, bytes) else str(part) for part in parts]


AnySegment = Segment[Any, *tuple[Any, ...]]
