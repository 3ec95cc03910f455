"""`python -m tests.bench.patience`: limits that a system has if nobody says otherwise, in seconds.

A message that hangs its actor until it is put aside; a stopped supervisor until there is another; a
disk that takes nothing for half a minute; an actor that always dies until the system ends. Some
minutes, nearly all of them spent waiting. Reports; asserts what is to happen, not when.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from actors.testkit.hooks import BLOCKING
from daruma.playground import until
from tests.kit.frail_run import Run

STALL_SECONDS, MOST_SECONDS = 30.0, 180.0


def _hang(run: Run) -> None:
    run.start("USUAL")
    run.tell(1, "hang")
    until(lambda: len(run.letters()) == 1, "it is put aside", MOST_SECONDS)
    run.tell(2)
    until(lambda: run.heard() == [2], "the rest lives")


def _stopped(run: Run) -> None:
    run.start("USUAL")
    before = run.supervisor()
    os.kill(before, signal.SIGSTOP)
    until(lambda: run.supervisor() not in (0, before), "there is another one", MOST_SECONDS)


def _stalled(run: Run) -> None:
    run.start("USUAL", **BLOCKING)
    before, began = run.pids(), time.monotonic()
    blocked = Path(run.home) / "run" / "frail.blocked"
    blocked.touch()
    run.tell(1)
    until(lambda: time.monotonic() - began > STALL_SECONDS, "it has stalled", MOST_SECONDS)
    assert run.pids() == before
    blocked.unlink()
    until(lambda: run.heard() == [1], "it goes on")
    assert run.pids() == before


def _always(run: Run) -> None:
    run.start("USUAL")
    run.flag("always")
    os.kill(run.pids()["frail"], signal.SIGKILL)
    assert run.process is not None
    _, text = run.process.communicate(timeout=MOST_SECONDS)
    assert text == "frail: the actor frail dies again and again: see its log\n", text


def main() -> None:
    found: dict[str, float] = {}
    works: list[tuple[str, Callable[[Run], None]]] = [
        ("a message that hangs is put aside", _hang),
        ("a stopped supervisor is replaced", _stopped),
        ("a disk that stalls ends nothing", _stalled),
        ("an actor that always dies ends the system", _always),
    ]
    for name, work in works:
        with tempfile.TemporaryDirectory() as folder:
            run, began = Run(Path(folder)), time.monotonic()
            work(run)
            found[name] = round(time.monotonic() - began, 1)
            if run.process is not None and run.process.poll() is None:
                run.end()
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
