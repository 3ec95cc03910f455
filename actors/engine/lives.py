"""The lives of an actor: how many it had, what ended the last one, and whether it still beats."""

from __future__ import annotations

import contextlib
import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path

from storage import files

NO_WORDS = "without a word: killed (a signal, a crash, want of memory), or it could not write why"


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


def last_words(folder: str, name: str, cause: str) -> None:
    """Why an actor ends itself, for whoever starts it again."""
    with contextlib.suppress(OSError), open(os.path.join(folder, f"{name}.cause"), "w") as file:
        file.write(cause[:300])


def cause_of_death(folder: str, name: str) -> str:
    """Its last words, which are forgotten then; or that it had none."""
    path = os.path.join(folder, f"{name}.cause")
    with contextlib.suppress(OSError):
        text = Path(path).read_bytes()[:300].decode("utf-8", "replace")
        os.unlink(path)
        return text or NO_WORDS
    return NO_WORDS


def shared_page(path: str, size: int) -> mmap.mmap:
    """Memory that others may map too, and that outlives its process. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.truncate(descriptor, size)
        return mmap.mmap(descriptor, size)
    finally:
        os.close(descriptor)


class Pulse:
    """A counter in a page of memory that two processes share: one beats, the other looks. Nobody
    waits for anybody, whatever has become of the other. Raises `OSError`."""

    def __init__(self, path: str) -> None:
        self._page = shared_page(path, mmap.PAGESIZE)

    @property
    def count(self) -> int:
        """How often it has beaten."""
        return int.from_bytes(self._page[:8], "big")

    def beat(self) -> None:
        """By the one that lives."""
        self._page[:8] = (self.count + 1).to_bytes(8, "big")
