"""The mark of a store, kept in a small file outside the database.

Two slots are written in turn, so that a torn write leaves the other one. Written at every commit
(a killed process loses nothing of it), synced now and then (a power cut may lose the newest marks,
which can only make the check more lenient, never refuse a good store).
"""

from __future__ import annotations

import os
import zlib

from storage.store import NOTHING, Mark, mark_from

_SLOT = 64
SYNC_EVERY = 256


class Mirror:
    """The file of one store's mark."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._synced = False
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def read(self) -> Mark:
        """The newest valid slot; `NOTHING` in a fresh file."""
        best = NOTHING
        for slot in (0, 1):
            data = os.pread(self._fd, _SLOT, slot * _SLOT)
            if len(data) == _SLOT and zlib.crc32(data[:40]).to_bytes(4, "big") == data[40:44]:
                best = max(best, mark_from(data), key=lambda mark: mark.commits)
        return best

    def write(self, mark: Mark) -> None:
        """As the newest mark, beside the one before."""
        data = bytes(mark)
        data += zlib.crc32(data).to_bytes(4, "big")
        os.pwrite(self._fd, data.ljust(_SLOT, b"\0"), mark.commits % 2 * _SLOT)
        if not self._synced:
            self._sync_folder()
        if not self._synced or mark.commits % SYNC_EVERY == 1:
            self.sync()
        self._synced = True

    def _sync_folder(self) -> None:
        """The file itself must outlive a power cut, or the store would look like a restored one."""
        folder = os.open(os.path.dirname(self.path) or ".", os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def sync(self) -> None:
        """Down to the disk."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        self.sync()
        os.close(self._fd)


def read_mark(path: str) -> Mark | None:
    """The mark of somebody else's store, for showing; None when there is none."""
    if not os.path.exists(path):
        return None
    mirror = Mirror(path)
    try:
        return mirror.read()
    finally:
        os.close(mirror._fd)
