"""One child's place in the tree: who sits in it, how often he has died, and when that is too often.

Deaths of its own in a row are worse than those that may have come from outside, and a hang, which
costs a system ten seconds, is worse than a crash. Who finds out what ends it has got somewhere.
"""

from __future__ import annotations

import time
from typing import Any

from actors.engine.control import Started
from actors.engine.system import Child
from actors.engine.witness import Death

BACKOFF_SECONDS = (0.0, 0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 1.0, 1.0, 1.5, 2.0)
LATE_SECONDS = 30.0
HANG_COUNTS = 5


class Seat:
    """One child's place in the tree, whoever sits in it."""

    def __init__(self, name: str, child: Child) -> None:
        self.name, self.child = name, child
        self.address: Any = None
        self.births = 0
        self.entry: Started | None = None
        self.started = False
        self.deaths: list[float] = []
        self.in_a_row = 0  # deaths of its own since its last quiet life, or since it knew of what
        self.known = 0  # how often it has known since its last quiet life
        self.refusals = 0  # of its disk since it was up
        self.restarts = 0
        self.heard_at = time.monotonic()
        self.born_at = 0.0
        self.alive = 0
        self.again_at: float | None = None
        self.died_at: float | None = None
        self.hung = False
        self.refused = ""  # why it could not start
        self.waits = ""  # for what, when it is silent and not to blame

    def count(self, death: Death, now: float) -> None:
        """One more. When it has found out what ends it, that is put aside: the deaths until then
        have led to something, and the next message may cost as many."""
        window, weight = self.child.window_seconds, HANG_COUNTS if self.hung else 1
        if now - self.born_at >= window:
            self.in_a_row = self.known = 0
        if death.known:
            self.known, self.in_a_row, self.deaths = self.known + weight, 0, []
        self.in_a_row += death.own
        self.deaths = [at for at in self.deaths if now - at < window] + [now] * weight
        self.hung = False

    @property
    def worn_out(self) -> bool:
        """It dies again and again."""
        often = max(len(self.deaths), self.known) > self.child.restarts
        return often or self.in_a_row > self.child.restarts // 2

    def pause_seconds(self, now: float) -> float:
        """Before its next life: the longer, the more often it has died of late."""
        late = max(sum(now - at < LATE_SECONDS for at in self.deaths), self.in_a_row)
        return BACKOFF_SECONDS[min(late, len(BACKOFF_SECONDS)) - 1]
