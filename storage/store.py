"""The interface of a snapshot store: bytes under keys, changed by whole synced batches.

A commit is all or nothing. Each commit carries a counter and a running hash, which a mirror outside
the database repeats, so that a restored older copy is found out; and the generation of the writer,
so that an incarnation that was replaced cannot write any more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

Changes = Mapping[bytes, bytes | None]


class Mark(NamedTuple):
    """How far a store has come: number of commits, and the hash over all of them (32 bytes)."""

    commits: int
    hash: bytes

    def after(self, changes: Changes) -> Mark:
        """The mark of the store with one more commit."""
        digest = hashlib.blake2b(self.hash, digest_size=32)
        for key, value in changes.items():
            digest.update(len(key).to_bytes(4, "big") + key)
            digest.update(b"-" if value is None else b"+" + len(value).to_bytes(4, "big") + value)
        return Mark(self.commits + 1, digest.digest())

    def __bytes__(self) -> bytes:
        return self.commits.to_bytes(8, "big") + self.hash


NOTHING = Mark(0, bytes(32))


def mark_from(data: bytes) -> Mark:
    """From the 40 bytes that a mark is."""
    return Mark(int.from_bytes(data[:8], "big"), data[8:40])


class Backend(Protocol):
    """Bytes under keys on some medium: `what` it is called, and the `place` where it is kept, in
    the sentences of errors. It knows nothing of marks, nodes and generations (`storage.guard`)."""

    what: str
    place: str

    def exists(self) -> bool:
        """Whether there is anything at this place. What cannot be looked at is not missing: raises
        `Unusable`."""

    def open(self, *, create: bool) -> None:
        """Raises `StoreError`; `InUse` when another process has it open."""

    def get(self, key: bytes) -> bytes | None:
        """Raises `Corrupt` or `Unusable`."""

    def load(self, but: Sequence[bytes]) -> dict[bytes, bytes]:
        """Everything but keys that begin with one of `but`, in order of key. Raises `Corrupt`."""

    def below(self, prefix: bytes) -> dict[bytes, bytes]:
        """All whose keys begin with `prefix`, in order of key. Raises `Corrupt`."""

    def write(self, changes: Changes) -> None:
        """All changes on the medium, synced, or an exception: `WriteFailed`."""

    def close(self) -> None:
        """What was written stays; another may open it."""


class Store(Protocol):
    """One actor's own store, open for one incarnation.

    `remade`: the generation in which it was last made anew because it was missing, or 0;
    `just_remade`: this was it.
    """

    generation: int
    mark: Mark
    remade: int
    just_remade: bool

    def load(self, but: Sequence[bytes] = ()) -> dict[bytes, bytes]:
        """Everything but keys that begin with one of `but`, in order of key. Raises `Corrupt`."""

    def get(self, key: bytes) -> bytes | None:
        """One value, as it was committed last. Raises `Corrupt`."""

    def below(self, prefix: bytes) -> dict[bytes, bytes]:
        """All whose keys begin with `prefix`, in order of key. Raises `Corrupt`."""

    def commit(self, changes: Changes) -> None:
        """All changes on disk, synced, or an exception: `WriteFailed`, `Fenced`."""

    def close(self) -> None:
        """What was written stays; another may open it."""
