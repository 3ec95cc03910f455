"""Depth 2: `python -m actors.testkit.deep [--jobs N] [--minutes N] [--every N]`.

Each crash of depth 1 is crashed again at every point of the rest of its sentence. A history ends
early when it meets, at the end of a sentence, a state from which the story is known to end well:
everything durable, every connection, the chain and what is under way, without times and counters.
A budget that runs out is reported as points not tried, never as survived.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from typing import Any

import msgspec

from actors import vocabulary
from actors.testkit import tale
from actors.testkit.explore import Report, Story, branches, observe, watched
from actors.testkit.world import START, World

_YEAR = 366 * 86_400


def _timeless(value: Any) -> Any:
    if isinstance(value, float | int) and START - _YEAR < value < START + _YEAR:
        return 0
    if isinstance(value, dict):
        return {str(key): _timeless(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_timeless(one) for one in value]
    return value


@lru_cache(maxsize=100_000)
def _row(role: str, key: str, data: bytes) -> bytes:
    value = vocabulary.SCHEMAS[role].decode(key, data)
    plain = msgspec.to_builtins(value, builtin_types=(bytes,))
    return msgspec.msgpack.encode([role, key, _timeless(plain)])


def fingerprint(world: World) -> bytes:
    """Of a world at rest."""
    digest = hashlib.sha256()
    for name, node in world.nodes.items():
        digest.update(name.encode())
        for role, disk in node.disks.items():
            for key, data in sorted(disk.data.items()):
                if key[:2] == b"r/":
                    digest.update(_row(role, key[2:].decode(), data))
        for cid, live in sorted(node.rows("peers", "~live").items()):
            digest.update(f"{cid} {live.online} {live.established}".encode())
        waiting = sorted(node.asked)
        digest.update(repr((waiting, {r: len(o) for r, o in _outboxes(node)})).encode())
    digest.update(repr((world.chain.height, sorted(world.chain.mempool))).encode())
    return digest.digest()


def _outboxes(node: Any) -> list[tuple[str, list[Any]]]:
    return [
        (role, [item for items in driver.outbox.values() for item in items])
        for role, driver in node.drivers.items()
    ]


class Explorer:
    """One share of depth 2, with what it has learned to be good."""

    def __init__(self, story: Story, deadline: float) -> None:
        self.story, self.deadline = story, deadline
        self.good: set[tuple[int, bytes]] = set()
        self.report = Report()
        self.untried = 0

    def finish(self, world: World, sentence: int) -> None:
        """The rest of the story, or as much of it as is new."""
        path: list[tuple[int, bytes]] = []
        while sentence < len(self.story.sentences):
            world.settle()
            place = (sentence, fingerprint(world))
            if place in self.good:
                self.report.repeats += 1
                self.good.update(path)
                return
            path.append(place)
            self.story.sentences[sentence](world)
            sentence += 1
        world.settle()
        self.story.check(world)
        self.good.update(path)

    def _try(self, name: str, world: World, sentence: int) -> None:
        self.report.points += 1
        try:
            self.story.sentences[sentence](world)
            self.finish(world, sentence + 1)
            self.report.survived += 1
        except Exception as error:
            self.report.failures.append((name, f"{type(error).__name__}: {error}"))

    def share(self, number: int, shares: int, every: int) -> None:
        for at, (point, world, sentence) in enumerate(branches(self.story)):
            if at % (shares * every) != number * every:
                continue
            if time.monotonic() > self.deadline:
                self.untried += 1
                continue
            self._deeper(str(point), world, sentence)

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
        for point, twin, _ in seconds:
            self._try(f"{first} then {point}", twin, sentence)


def _work(job: tuple[int, int, int, float]) -> tuple[Report, int, int]:
    number, shares, every, seconds = job
    explorer = Explorer(tale.story(), time.monotonic() + seconds)
    explorer.share(number, shares, every)
    return explorer.report, explorer.untried, len(explorer.good)


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
