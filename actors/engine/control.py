"""What supervisor and leaves say to each other over Thespian: rare, and small."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from actors.engine.hardened import Note


@dataclass(frozen=True, repr=False)
class Life(Note):
    """What every leaf needs. `system`: "module:NAME" of the declaration. `settings`: what the
    machines and ports are made with; whatever can be pickled, for it never leaves the machine.
    `rebuild`: actors whose missing store is made anew from what the others have."""

    system: str
    folder: str
    settings: Any = None
    rebuild: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Start(Note):
    """The first note of a leaf: who it is, and how many of that name were born before it."""

    name: str
    birth: int
    life: Life


@dataclass(frozen=True, repr=False)
class Started(Note):
    """A leaf is up. `path` is where it listens for links."""

    name: str
    birth: int
    generation: int
    pid: int
    path: str


@dataclass(frozen=True, repr=False)
class Refused(Note):
    """A leaf cannot start: one sentence for the operator. `passing`: its disk is to blame, and may
    be better later; else trying again would not help."""

    name: str
    birth: int
    reason: str
    pid: int
    passing: bool


@dataclass(frozen=True, repr=False)
class Directory(Note):
    """All leaves that are up, and the tree as the operator sees it."""

    entries: tuple[Started, ...]
    tree: tuple[dict[str, Any], ...]


@dataclass(frozen=True, repr=False)
class Ping(Note):
    """The heartbeat brings the directory along: a lost note heals within a second."""

    number: int
    directory: Directory


@dataclass(frozen=True, repr=False)
class Pong(Note):
    """`alive` is the last number that the leaf's own loop has seen; `writing`: it waits for the
    disk."""

    name: str
    alive: int
    writing: bool


@dataclass(frozen=True, repr=False)
class Boot(Note):
    """To the supervisor, from the first process. `again`: all actors were up before."""

    life: Life
    again: bool


@dataclass(frozen=True, repr=False)
class Status(Note):
    """From the supervisor: `ready` when all leaves are up; `fatal` ends the node."""

    ready: bool
    pid: int
    fatal: str = ""
    tree: tuple[dict[str, Any], ...] = field(default_factory=tuple)


@dataclass(frozen=True, repr=False)
class AskStatus(Note):
    """From the root: answered with `Status`."""
