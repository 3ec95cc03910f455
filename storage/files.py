"""Small files that are there whole after a power cut, or are as they were before."""

from __future__ import annotations

import os
from pathlib import Path


def replace(path: str | os.PathLike[str], text: str, mode: int = 0o600) -> None:
    """Written beside, synced, renamed, and the folder synced too: a rename alone may outlive its
    bytes. Raises `OSError`; then the old file is still there."""
    place = Path(path)
    fresh = place.with_name(place.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, place)
    folder = os.open(place.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
