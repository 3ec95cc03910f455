"""Depth 2 of the first story: `python -m actors.testkit.node.deep [--jobs N] [--minutes N]
[--every N]` (see `actors.testkit.depth_two`).
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from actors.testkit.depth_two import Explorer
from actors.testkit.explore import Report
from actors.testkit.node.stories import tale


def _work(job: tuple[int, int, int, float]) -> tuple[Report, int, int]:
    number, shares, every, seconds = job
    explorer = Explorer(tale.story(), time.monotonic() + seconds)
    explorer.share(number, shares, every)
    return explorer.report, explorer.untried, len(explorer.search.good)


def main() -> int:
    """The command; -> exit status."""
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
