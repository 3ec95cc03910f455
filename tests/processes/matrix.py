"""The kill matrix: `python -m tests.processes.matrix [STORY] [--every N] [--kills N] [--jobs N]`.

STORY: "payments" (open, pay, close) or "opening" (from the first message to the announcement).
Part one: the whole node is killed before and after every durable commit, in both roles; every
fourth time the recovery is killed too. Part two: single processes are killed by pid at seeded
moments, Thespian's own too.
Prints the points tried and survived; exit status 1 when one did not survive.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from actors.engine.groups import group_of
from actors.testkit.hooks import crashing
from actors.tree import NODE
from storage.mirror import read_mark
from tests.kit import nursery
from tests.processes.openings import Opening
from tests.processes.scenario import Run, prepare

STORIES: dict[str, type[Run]] = {"payments": Run, "opening": Opening}
KILLS_IN_A_RUN, AGAIN = 5, 4

# node, actor, number of its commit, before or after; and the commit of the recovery, 0 for none
Point = tuple[str, str, int, str, int]


def count_commits(story: str, prepared: Path, coins: int) -> dict[tuple[str, str], int]:
    """How many durable commits each actor makes in the undisturbed story."""
    run = STORIES[story](prepared, coins)
    try:
        run.start()
        run.tell()
        run.check()
        return {
            (name, role): commits
            for name, node in run.nodes.items()
            for role, commits in _counted(run.durable, node.folder).items()
        }
    finally:
        run.stop()


def _counted(durable: tuple[str, ...], folder: Path) -> dict[str, int]:
    """Of a group all its members together, as DARUMA_CRASH counts them."""
    counts = dict.fromkeys(durable, 0)
    for name in NODE.names:
        now = read_mark(str(folder / "regtest" / "marks" / f"{name}.mark"))
        if now is not None and group_of(name) in counts:
            counts[group_of(name)] += now.commits
    return counts


def all_points(story: str, prepared: Path, coins: int) -> list[Point]:
    kind = STORIES[story]
    after = count_commits(story, prepared, coins)
    points: list[Point] = []
    for (name, role), total in sorted(after.items()):
        before = _counted(kind.durable, prepared / name)[role]
        for number in range(1, total - before):
            for when in ("before", "after"):
                again = 1 + len(points) % 3 if len(points) % AGAIN == 0 else 0
                points.append((name, role, number, when, again))
    return points


def kill_at(story: str, prepared: str, coins: int, point: Point) -> str:
    """One history with the whole node killed at one commit; "" if it ended well."""
    name, role, number, when, again = point
    run = STORIES[story](Path(prepared), coins)
    try:
        wish = crashing(f"{role}:{number}:{when}:node")
        if again:
            run.again[name] = crashing(f"{role}:{again}:{when}:node")
        run.start({name: wish})
        run.tell()
        run.check()
        return ""
    except Exception as error:
        return f"{'/'.join(map(str, point))}: {type(error).__name__}: {error}\n{run.logs()}"
    finally:
        with contextlib.suppress(Exception):
            run.stop()


def kill_some(story: str, prepared: str, coins: int, seed: int) -> tuple[int, str]:
    """One history with several seeded kills of single processes; -> (kills, what went wrong)."""
    run = STORIES[story](Path(prepared), coins)
    dice = random.Random(seed)
    done = threading.Event()
    victims: list[str] = []
    try:
        run.start()
        killer = threading.Thread(target=_killer, args=(run, dice, done, victims), daemon=True)
        killer.start()
        run.tell()
        done.set()
        killer.join(10)
        run.check()
        return len(victims), ""
    except Exception as error:
        text = f"seed {seed} ({', '.join(victims)}): {type(error).__name__}: {error}"
        return len(victims), f"{text}\n{run.logs()}"
    finally:
        done.set()
        with contextlib.suppress(Exception):
            run.stop()


def _killer(run: Run, dice: random.Random, done: threading.Event, victims: list[str]) -> None:
    while len(victims) < KILLS_IN_A_RUN and not done.wait(dice.uniform(0.02, 0.35)):
        node = run.nodes[dice.choice(["alice", "bob"])]
        rows = [row for row in node.tree() if row["name"] != "node"]
        if rows:
            row = dice.choice(rows)
            with contextlib.suppress(ProcessLookupError):
                os.kill(row["pid"], signal.SIGKILL)
                victims.append(f"{node.name}/{row['name']}")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("story", nargs="?", choices=sorted(STORIES), default="payments")
    parser.add_argument("--every", type=int, default=1, help="take every n-th commit only")
    parser.add_argument("--kills", type=int, default=100, help="kills of single processes")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()
    nursery.begin()
    folder = Path(tempfile.mkdtemp(prefix="matrix-"))
    failures: list[str] = []
    try:
        coins = prepare(folder / "d")
        points = all_points(options.story, folder / "d", coins)[:: options.every]
        print(f"{len(points)} points at durable commits, {options.kills} kills by pid", flush=True)
        with ProcessPoolExecutor(options.jobs, initializer=nursery.begin) as pool:
            jobs = [
                pool.submit(kill_at, options.story, str(folder / "d"), coins, point)
                for point in points
            ]
            for job in as_completed(jobs):
                if job.result():
                    failures.append(job.result())
                    print(job.result(), file=sys.stderr, flush=True)
            print(
                f"commits: tried {len(points)}, survived {len(points) - len(failures)}", flush=True
            )
            kills, results = 0, list[tuple[int, str]]()
            seed = options.seed
            while kills < options.kills:
                hunts = [
                    pool.submit(kill_some, options.story, str(folder / "d"), coins, seed + n)
                    for n in range(max(1, (options.kills - kills) // KILLS_IN_A_RUN))
                ]
                seed += len(hunts)
                results += [hunt.result() for hunt in as_completed(hunts)]
                kills = sum(count for count, _ in results)
            bad = [text for _, text in results if text]
            print(f"single processes: {kills} kills in {len(results)} runs, {len(bad)} failed")
        failures += bad
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for text in failures:
        print(text, file=sys.stderr)
    print(f"{time.monotonic() - began:.0f} s; {len(failures)} failed")
    print(f"{len(points) + len(results) - len(failures)} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
