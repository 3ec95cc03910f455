"""The contract between a machine and whatever drives it.

A machine's state is a set of rows, key to frozen value. A step reads rows and gives back the rows
that it changed and what is to be done; it does nothing itself. Rows whose key begins with "~" are
never stored: they are what the next incarnation does not need to know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from protocol.values import Value


class Rows(Protocol):
    """A read-only table: rows by key, and all rows whose key begins with one segment."""

    def get(self, key: str) -> Any: ...

    def segment(self, name: str) -> Mapping[str, Any]: ...


class Moment(Value, frozen=True, kw_only=True):
    """Time and dice, brought to a step from outside: 32 fresh random bytes."""

    unix_seconds: float
    entropy: bytes


# ---- effects: what a step may order -------------------------------------------------------------


class Tell(Value, frozen=True, kw_only=True):
    """Durable: kept in the outbox until the receiver has it on disk; received exactly once."""

    to: str
    item: Value


class Say(Value, frozen=True, kw_only=True):
    """Volatile: lost when either end restarts. `resume` says again what matters."""

    to: str
    item: Value


class Do(Value, frozen=True, kw_only=True):
    """To the actor's own port: a socket, a chain backend, a wallet. Lost like `Say`."""

    item: Value


class Wake(Value, frozen=True, kw_only=True):
    """Call `wake` at this time, or a little later; forgotten by a restart."""

    unix_seconds: float


class Log(Value, frozen=True, kw_only=True):
    """A line for the operator, by `Do`; the host escapes and cuts it (peers' text may be in it)."""

    text: str


Effect = Tell | Say | Do | Wake


class Step:
    """What one event leads to. Built up while a step runs, then handed over."""

    __slots__ = ("rows", "changes", "effects")

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.changes: dict[str, Any] = {}
        self.effects: list[Effect] = []

    def get(self, key: str) -> Any:
        """The row as this step has left it; None if there is none."""
        return self.changes[key] if key in self.changes else self.rows.get(key)

    def put(self, key: str, value: Any) -> None:
        self.changes[key] = value

    def drop(self, key: str) -> None:
        self.changes[key] = None

    def scan(self, prefix: str) -> dict[str, Any]:
        """All rows below a prefix ("segment/..."), in order of key."""
        rows = self.rows.segment(prefix.partition("/")[0])
        found = {key: value for key, value in rows.items() if key.startswith(prefix)}
        for key, value in self.changes.items():
            if key.startswith(prefix):
                found[key] = value
        return {key: found[key] for key in sorted(found) if found[key] is not None}

    def each(self, segment: str) -> Iterator[tuple[str, Any]]:
        """All rows of a large segment: the key behind the slash, and the row; in no order."""
        start = len(segment) + 1
        changes = self.changes
        for key, value in self.rows.segment(segment).items():
            if key not in changes:
                yield key[start:], value
        for key, value in changes.items():
            if value is not None and key.startswith(f"{segment}/"):
                yield key[start:], value

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """What is raised inside undoes all that was done inside, and goes on."""
        changes, effects = dict(self.changes), len(self.effects)
        try:
            yield
        except Exception:
            self.changes = changes
            del self.effects[effects:]
            raise

    def tell(self, to: str, item: Value) -> None:
        self.effects.append(Tell(to=to, item=item))

    def say(self, to: str, item: Value) -> None:
        self.effects.append(Say(to=to, item=item))

    def do(self, item: Value) -> None:
        self.effects.append(Do(item=item))

    def log(self, text: str) -> None:
        self.do(Log(text=text))

    def wake(self, unix_seconds: float) -> None:
        self.effects.append(Wake(unix_seconds=unix_seconds))


class Machine(Protocol):
    """`name` is the role's address. All methods are pure: constants in, rows in, step out."""

    name: str

    def step(self, step: Step, sender: str, item: Any, at: Moment) -> None:
        """One event from `sender`; "port" is the actor's own port."""

    def resume(self, step: Step, name: str | None, at: Moment) -> None:
        """Order again what a crash may have swallowed: after the own start (None), or what was
        addressed to `name`, which has restarted."""

    def drain(self, step: Step, at: Moment) -> None:
        """Once per batch, after its events and before the write."""

    def wake(self, step: Step, at: Moment) -> None:
        """A `Wake` came due."""


class Ask(Value, frozen=True, kw_only=True):
    """A question from the API; `id` is unique among those that are open."""

    id: str
    method: str
    params: dict[str, Any] = {}


class Answer(Value, frozen=True, kw_only=True):
    """Exactly one for each `Ask`: a result, or Core Lightning's error code with its text."""

    id: str
    result: Any = None
    code: int | None = None
    text: str = ""
    data: Any = None


class Abandoned(Value, frozen=True, kw_only=True):
    """The API says: nobody waits for the answer to this question any more."""

    id: str


DEFECT, DEFECT_TEXT = -32603, "a defect of ours: please report the log"


class Quarantined(Value, frozen=True, kw_only=True):
    """The receiver has put a message aside that ended it several times in a row."""

    digest: str
