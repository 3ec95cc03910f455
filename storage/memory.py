"""Stores in memory, for tests: the kit's own, with a disk that can fail, and a backend."""

from __future__ import annotations

from collections.abc import Sequence

from storage.errors import Fenced, InUse, Stale, WriteFailed
from storage.store import NOTHING, Changes, Mark


class Disk:
    """What survives a crash. `fail_at`: after so many more commits one fails, as `how` says.

    how: "error" or "full" (nothing is written), "torn" (written, but the writer is told of an
    error; the batch is atomic, so that old or new are the only two outcomes).
    """

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}
        self.generation = 0
        self.mark: Mark = NOTHING
        self.mirror: Mark = NOTHING
        self.fail_at: int | None = None
        self.how = "error"
        self.remade = 0

    def copy(self) -> Disk:
        """The same bytes and marks; failures that were ordered stay behind."""
        twin = Disk()
        twin.data, twin.generation = dict(self.data), self.generation
        twin.mark, twin.mirror = self.mark, self.mirror
        twin.remade = self.remade
        return twin

    def lose(self) -> None:
        """All of it; the next start makes it anew."""
        self.data = {}
        self.remade = self.generation + 1


def _below(data: dict[bytes, bytes], prefix: bytes) -> dict[bytes, bytes]:
    return {key: data[key] for key in sorted(key for key in data if key.startswith(prefix))}


class MemoryStore:
    """`Store` over a `Disk`."""

    def __init__(self, disk: Disk) -> None:
        if disk.mark.commits < disk.mirror.commits:
            raise Stale("the store is older than its last write: restore the newest copy")
        self.disk = disk
        disk.generation += 1
        self.generation = disk.generation
        self.mark = disk.mark
        self.remade, self.just_remade = disk.remade, False

    def load(self, but: Sequence[bytes] = ()) -> dict[bytes, bytes]:
        data, unread = self.disk.data, tuple(but)
        return {key: data[key] for key in sorted(data) if not key.startswith(unread)}

    def get(self, key: bytes) -> bytes | None:
        return self.disk.data.get(key)

    def below(self, prefix: bytes) -> dict[bytes, bytes]:
        return _below(self.disk.data, prefix)

    def commit(self, changes: Changes) -> None:
        disk = self.disk
        if disk.generation != self.generation:
            raise Fenced("a later incarnation of this actor has taken over its store")
        if disk.fail_at is not None:
            disk.fail_at -= 1
            if disk.fail_at < 0 and disk.how != "torn":
                raise WriteFailed("the disk refused a write: free some space and start again")
        for key, value in changes.items():
            if value is None:
                disk.data.pop(key, None)
            else:
                disk.data[key] = value
        self.mark = disk.mark = disk.mirror = self.mark.after(changes)
        if disk.fail_at is not None and disk.fail_at < 0:
            raise WriteFailed("the disk reported an error after a write: start again")

    def close(self) -> None:
        pass


MEDIA: dict[str, dict[bytes, bytes]] = {}  # what stands under "memory:<name>"


class MemoryBackend:
    """Of the process that has it; `place` is its name. Gone with the process."""

    _open: set[str] = set()

    def __init__(self, place: str, what: str, *, remakeable: bool = False) -> None:
        self.place, self.what = place, what
        self._data: dict[bytes, bytes] = {}

    def exists(self) -> bool:
        return self.place in MEDIA

    def open(self, *, create: bool) -> None:
        if self.place in self._open:
            text = f"the {self.what} store is in use by another process: stop that one first"
            raise InUse(text)
        self._open.add(self.place)
        self._data = MEDIA.setdefault(self.place, {}) if create else MEDIA[self.place]

    def get(self, key: bytes) -> bytes | None:
        return self._data.get(key)

    def below(self, prefix: bytes) -> dict[bytes, bytes]:
        return _below(self._data, prefix)

    def load(self, but: Sequence[bytes]) -> dict[bytes, bytes]:
        unread = tuple(but)
        return {key: self._data[key] for key in sorted(self._data) if not key.startswith(unread)}

    def write(self, changes: Changes) -> None:
        for key, value in changes.items():
            if value is None:
                self._data.pop(key, None)
            else:
                self._data[key] = value

    def close(self) -> None:
        self._open.discard(self.place)
