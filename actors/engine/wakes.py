"""When an actor wants to be called: each time once, the earliest at hand."""

from __future__ import annotations

import heapq


class Wakes:
    """Times in unix seconds."""

    def __init__(self) -> None:
        self._times: list[float] = []  # a heap
        self._known: set[float] = set()

    @property
    def first(self) -> float | None:
        return self._times[0] if self._times else None

    def add(self, unix_seconds: float) -> None:
        """One more time to wake at; said twice, it is the same one."""
        if unix_seconds not in self._known:
            self._known.add(unix_seconds)
            heapq.heappush(self._times, unix_seconds)

    def take(self, now: float) -> bool:
        """Whether one is due; all that are due are forgotten."""
        due = bool(self._times) and self._times[0] <= now
        while self._times and self._times[0] <= now:
            self._known.discard(heapq.heappop(self._times))
        return due
