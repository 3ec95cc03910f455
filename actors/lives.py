"""The lives of an actor that keeps nothing, counted in a file."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from storage import files


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
