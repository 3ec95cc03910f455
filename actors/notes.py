"""What supervisor and leaves say to each other over Thespian: rare, and small."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from actors.hardened import Note


@dataclass(frozen=True, repr=False)
class Settings(Note):
    """Where a node lives, and what every leaf needs of it. `seed` never leaves the machine.
    `rebuild`: actors whose missing store is made anew from what the others have."""

    folder: str
    network: str
    host: str
    port: int
    alias: str
    zeroconf_peers: tuple[str, ...]
    announced: tuple[tuple[str, str, int], ...]
    rpc: dict[str, Any]
    seed: bytes
    first_pid: int
    rebuild: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Start(Note):
    """The first note of a leaf: who it is."""

    name: str
    settings: Settings


@dataclass(frozen=True, repr=False)
class Started(Note):
    """A leaf is up. `path` is where it listens for links."""

    name: str
    generation: int
    pid: int
    path: str


@dataclass(frozen=True, repr=False)
class Refused(Note):
    """A leaf cannot start, and trying again would not help: one sentence for the operator."""

    name: str
    reason: str


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
    """`alive` is the last number that the leaf's own loop has seen."""

    name: str
    alive: int


@dataclass(frozen=True, repr=False)
class Boot(Note):
    """To the supervisor, from the first process."""

    settings: Settings


@dataclass(frozen=True, repr=False)
class Status(Note):
    """From the supervisor: `ready` when all leaves are up; `fatal` ends the node."""

    ready: bool
    pid: int
    fatal: str = ""
    tree: tuple[dict[str, Any], ...] = field(default_factory=tuple)


@dataclass(frozen=True, repr=False)
class AskStatus(Note):
    pass
