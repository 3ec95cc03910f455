"""One clock for a loop: unix time that never goes back."""

from __future__ import annotations

import time
from collections.abc import Callable


def _since_boot() -> float:
    """Goes on while the computer sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Clock:
    """When somebody sets the system's clock back, this one goes on from where it was.

    Every wake-up and deadline of a machine hangs on it: for an hour nothing would be due.
    """

    def __init__(
        self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = _since_boot
    ) -> None:
        self._wall, self._steady = wall, steady
        self._last = wall(), steady()

    def now(self) -> float:
        """Unix seconds."""
        wall, steady = self._wall(), self._steady()
        last_wall, last_steady = self._last
        self._last = max(wall, last_wall + steady - last_steady), steady
        return self._last[0]
