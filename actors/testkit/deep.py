"""Depth 2: `python -m actors.testkit.deep [--jobs N] [--minutes N] [--every N]`.

Each crash of depth 1 is crashed again at every point of the rest of its sentence. A history ends
early when it meets, at the end of a sentence, a state from which the story is known to end well:
everything durable, every connection, the chain and what is under way, without times and counters.
A budget that runs out is reported as points not tried, never as survived.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from actors.testkit import tale
from actors.testkit.explore import Report, Search, Story, branches, observe, watched
from actors.testkit.world import World


class Explorer:
    """One share of depth 2, with what it has learned to be good."""

    def __init__(self, story: Story, deadline: float) -> None:
        self.story, self.deadline = story, deadline
        self.search = Search(story)
        self.report = self.search.report
        self.untried = 0

    def share(self, number: int, shares: int, every: int) -> None:
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
        seconds: list[Any] = []
        watched(world)
        observe(world, sentence, seconds)
        self.report.points += 1
        try:
            self.story.sentences[sentence](world)
        except Exception as error:
            self.report.failures.append((first, f"{type(error).__name__}: {error}"))
            return
        world.__class__ = World
        self.report.survived += 1
        for point, make, _ in seconds:
            self.search.tried(f"{first} then {point}", make, sentence)


def _work(job: tuple[int, int, int, float]) -> tuple[Report, int, int]:
    number, shares, every, seconds = job
    explorer = Explorer(tale.story(), time.monotonic() + seconds)
    explorer.share(number, shares, every)
    return explorer.report, explorer.untried, len(explorer.search.good)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--every", type=int, default=1, help="take every n-th first crash only")
    options = parser.parse_args()
    began = time.monotonic()
    jobs = [(n, options.jobs, options.every, options.minutes * 60) for n in range(options.jobs)]
    total, untried, states = Report(), 0, 0
    with ProcessPoolExecutor(options.jobs) as pool:
        for report, left, good in pool.map(_work, jobs):
            total.points += report.points
            total.survived += report.survived
            total.repeats += report.repeats
            total.failures += report.failures
            untried += left
            states += good
    for point, why in total.failures[:20]:
        print(f"{point}: {why}", file=sys.stderr)
    print(
        f"{total}; distinct states {states}; first crashes not tried {untried}; "
        f"{time.monotonic() - began:.0f} s"
    )
    return 1 if total.failures or untried else 0


if __name__ == "__main__":
    sys.exit(main())
