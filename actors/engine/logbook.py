"""The log of a node: one event a line, in UTC, by whoever it happened to.

    2026-11-28T21:04:05.123Z payments invoice_paid label='coffee' ...

Text that came from a peer cannot break out of its line, and no line is without an end.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import time
from functools import lru_cache

MAX_LINE = 2_000
STANDARD_ERROR = 2


@lru_cache(maxsize=1)
def _stamp(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def line(who: str, text: str, now: float) -> bytes:
    """One line of at most `MAX_LINE` printable ASCII characters; `now` in unix seconds."""
    second = int(now)
    stamp = f"{_stamp(second)}.{int((now - second) * 1000):03}Z"
    words = text
    if not (text.isascii() and text.isprintable()):
        plain = text.encode("ascii", "backslashreplace").decode()
        words = " | ".join(part.strip() for part in plain.splitlines() if part.strip())
        words = "".join(c if c.isprintable() else "?" for c in words)
    if len(words) > MAX_LINE:
        words = words[:MAX_LINE] + "..."
    return f"{stamp} {who} {words}\n".encode()


def warn(title: str, text: str) -> None:
    """One line for whoever started the system; lost when its pipe is full, for nobody waits."""
    data = f"{title}: {text[:MAX_LINE]}".encode("ascii", "backslashreplace")[: select.PIPE_BUF - 1]
    with contextlib.suppress(OSError, ValueError):
        if select.select([], [STANDARD_ERROR], [], 0)[1]:
            os.write(STANDARD_ERROR, data + b"\n")


class Logbook:
    """Appends to `<folder>/log`. A process that forks keeps nothing open (`keep`)."""

    def __init__(self, folder: str, who: str, *, keep: bool = False) -> None:
        self.path, self.who, self.keep = os.path.join(folder, "log"), who, keep
        self._descriptor: int | None = None

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.open(self.path, flags, 0o600)

    def check(self) -> None:
        """Before a node starts. Raises `OSError` when it would run without a word in its log; a
        disk that is full for now is no reason."""
        try:
            os.close(self._open())
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise

    def write(self, text: str) -> None:
        # a full disk takes the log with it, and must not keep anybody from going on or ending
        with contextlib.suppress(OSError):
            descriptor = self._descriptor
            if descriptor is None:
                descriptor = self._open()
            self._descriptor = descriptor if self.keep else None
            try:
                os.write(descriptor, line(self.who, text, time.time()))
            finally:
                if not self.keep:
                    os.close(descriptor)
