"""The lives of actors: how many those had that keep nothing, and what ended one."""

from __future__ import annotations

import contextlib
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
