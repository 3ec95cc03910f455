"""The lives of a process: how many it had, what it said at the end, and whether it still beats."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path

from storage import files

MAX_WORDS = 512  # bytes


def next_generation(path: str, now: Callable[[], float] = time.time) -> int:
    """One more than the file says, and written there. A file that a power cut has emptied counts
    anew from the time in seconds: above all that can have been used, for no actor lives so short.
    Raises `OSError`."""
    place = Path(path)
    last = 0
    if place.exists():
        text = place.read_bytes()[:20].decode("ascii", "replace").strip()
        readable = text.isascii() and text.isdigit()
        last = int(text) if readable else int(now())
    files.replace(place, str(last + 1))
    return last + 1


def shared_page(path: str, size: int) -> mmap.mmap:
    """Memory that others may map too, and that outlives its process. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # every byte of it has its place on disk: one that fills up later ends nobody
        os.posix_fallocate(descriptor, 0, size)
        return mmap.mmap(descriptor, size)
    finally:
        os.close(descriptor)


def leave_words(page: mmap.mmap, text: str) -> None:
    """Why a process ends itself, at the end of a page: there is room, however full the disk."""
    data = text.encode("utf-8", "replace")[:MAX_WORDS]
    page[-MAX_WORDS:] = data.ljust(MAX_WORDS, b"\0")


def take_words(page: mmap.mmap) -> str:
    """They are forgotten then. Nothing: it left none."""
    text = bytes(page[-MAX_WORDS:]).rstrip(b"\0").decode("utf-8", "replace")
    page[-MAX_WORDS:] = bytes(MAX_WORDS)
    return text


class Pulse:
    """A counter in a page of memory that two processes share: one beats, the other looks. Nobody
    waits for anybody, whatever has become of the other. It has room for last words too. Raises
    `OSError`."""

    def __init__(self, path: str) -> None:
        self.page = shared_page(path, mmap.PAGESIZE)

    @property
    def count(self) -> int:
        """How often it has beaten."""
        return int.from_bytes(self.page[:8], "big")

    def beat(self) -> None:
        """By the one that lives."""
        self.page[:8] = (self.count + 1).to_bytes(8, "big")
