"""Depth 2: each crash of depth 1 is crashed again at every point of the rest of its sentence.

A history ends early when it meets, at the end of a sentence, a state from which the story is known
to end well: everything durable, what `World.at_rest` names, and what is under way, without times
and counters. A budget that runs out is reported as points not tried, never as survived.
"""

from __future__ import annotations

import time
from typing import Any

from actors.testkit.explore import Report, Search, Story, branches, observe
from actors.testkit.world import World


class Explorer:
    """One share of depth 2, with what it has learned to be good."""

    def __init__(self, story: Story, deadline: float) -> None:
        self.story, self.deadline = story, deadline
        self.search = Search(story)
        self.report = self.search.report
        self.untried = 0

    def share(self, number: int, shares: int, every: int) -> None:
        """Every `every`-th first crash of share `number` of `shares`, until the deadline."""
        for at, (point, make, sentence) in enumerate(branches(self.story)):
            if at % (shares * every) != number * every:
                continue
            if time.monotonic() > self.deadline:
                self.untried += 1
                continue
            self._deeper(str(point), make(), sentence)

    def _deeper(self, first: str, world: World, sentence: int) -> None:
        """Crash again at each point between the first crash and the end of its sentence."""
        while world.crash is not None and world.step():
            pass
        if world.crash is not None:
            world.tick(0)  # a wake leads to it
        seconds: list[Any] = []
        observe(world, sentence, seconds)
        self.report.points += 1
        try:
            self.story.sentences[sentence](world)
        except Exception as error:
            self.report.failures.append((first, f"{type(error).__name__}: {error}"))
            return
        world.look = None
        self.report.survived += 1
        for point, make, _ in seconds:
            self.search.tried(f"{first} then {point}", make, sentence)


def explore_twice(story: Story) -> Report:
    """Every crash of depth 1, and every crash of what then follows in its sentence."""
    explorer = Explorer(story, deadline=float("inf"))
    for point, make, sentence in branches(story):
        explorer.search.tried(str(point), make, sentence)
    explorer.share(0, 1, 1)
    return explorer.report
