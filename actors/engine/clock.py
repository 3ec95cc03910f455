"""One clock for a loop: unix time that never goes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

_since_boot = partial(time.clock_gettime, time.CLOCK_BOOTTIME)  # goes on while a computer sleeps


class Clock:
    """When somebody sets the system's clock back, this one goes on from where it was.

    Every wake-up and deadline of a machine hangs on it: for an hour nothing would be due.
    """

    def __init__(
        self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = _since_boot
    ) -> None:
        self._wall, self._steady = wall, steady
        self._ahead = wall() - steady()

    def now(self) -> float:
        """Unix seconds."""
        steady = self._steady()
        ahead = self._wall() - steady
        if ahead > self._ahead:
            self._ahead = ahead
        return steady + self._ahead
