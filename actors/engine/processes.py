"""The machine's processes: who lives, whose child it is, and the end of all that come from us."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

END_SECONDS = 10.0


class Stat(NamedTuple):
    """The kernel's letter for what it does, and the pid of its parent (proc(5))."""

    state: str
    parent: int


def stat(pid: int | str) -> Stat | None:
    """None: there is no such process, or we may not look. Its name may be any bytes."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return Stat(words[0].decode("ascii", "replace"), int(words[1]))
    return None


def lives(pid: int) -> bool:
    """Whether it is a child of ours and not dead: a pid alone may be somebody else's by now."""
    found = stat(pid)
    return found is not None and found.state not in "ZX" and found.parent == os.getpid()


def waits_for_disk(pid: int) -> bool:
    """Whether a thread of this process is in the kernel and waits for a disk: it is not to blame
    for its silence, and a kill would not end it."""
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            found = stat(f"{pid}/task/{task}")
            if found is not None and found.state == "D":
                return True
    return False


def is_stopped(pid: int) -> bool:
    """Whether somebody has stopped it, or follows it step by step."""
    found = stat(pid)
    return found is not None and found.state in "Tt"


def everyone() -> list[tuple[int, int]]:
    """(pid, parent) of every process that we can see."""
    known = ((int(entry), stat(entry)) for entry in os.listdir("/proc") if entry.isdigit())
    return [(pid, found.parent) for pid, found in known if found is not None]


def end_descendants(spare: set[int]) -> None:
    """All that come from us are killed and collected, but those to be spared and their own."""
    deadline = time.monotonic() + END_SECONDS
    while time.monotonic() < deadline:
        reap()
        left = _descendants(spare)
        if not left:
            return
        for pid, parent in left:
            kill(pid, parent)
        time.sleep(0.005)


def _descendants(spare: set[int]) -> list[tuple[int, int]]:
    parents: dict[int, list[int]] = {}
    for pid, parent in everyone():
        if pid not in spare:
            parents.setdefault(parent, []).append(pid)
    found, todo = [], [os.getpid()]
    while todo:
        parent = todo.pop()
        children = parents.get(parent, [])
        found += [(child, parent) for child in children]
        todo += children
    return found


def kill(pid: int, parent: int) -> None:
    """The child of `parent`, an orphan of it that we have adopted, or nobody: the descriptor is of
    one process for good, and its parent is asked for after it was opened."""
    with contextlib.suppress(OSError):
        descriptor = os.pidfd_open(pid)
        try:
            found = stat(pid)
            if found is not None and found.parent in (parent, os.getpid()):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        finally:
            os.close(descriptor)


def reap() -> None:
    """Collects every dead child, adopted ones too."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
