"""Real processes, real SIGKILL: a part of the kill matrix (tests/processes/matrix.py is all)."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from actors.tree import NODE
from daruma.playground import until
from tests.conftest import Covered
from tests.processes.matrix import kill_at, kill_some
from tests.processes.scenario import Run

LEAVES = NODE.names


@pytest.mark.parametrize(
    "point",
    [
        ("alice", "funding", 3, "after"),
        ("alice", "monitors", 1, "before"),
        ("alice", "monitors", 12, "after"),
        ("bob", "monitors", 9, "before"),
        ("bob", "payments", 4, "after"),
        ("bob", "funding", 2, "before"),
        ("alice", "wallet", 2, "after"),
    ],
    ids=str,
)
def test_the_whole_node_is_killed_at_a_commit(
    prepared: tuple[Path, int], point: tuple[str, str, int, str], covered: Covered
) -> None:
    assert kill_at("payments", str(prepared[0]), prepared[1], (*point, 0)) == ""
    covered("kills of whole nodes at a commit", 1)


@pytest.mark.parametrize("seed", [1, 2])
def test_single_processes_are_killed_by_pid(
    prepared: tuple[Path, int], seed: int, covered: Covered
) -> None:
    kills, failed = kill_some("payments", str(prepared[0]), prepared[1], seed)

    assert failed == ""
    covered("kills of single processes", kills)


def test_a_killed_actor_comes_back_alone(run: Run) -> None:
    """The others keep their pids; its generation and its restarts rise."""
    run.start()
    for victim in LEAVES:
        before = {row["name"]: row for row in run.alice.tree()}
        run.alice.kill_actor(victim)
        after = {row["name"]: row for row in run.alice.tree()}
        assert before[victim]["generation"] < after[victim]["generation"]
        assert after[victim]["restarts"] - before[victim]["restarts"] == 1
        for name, row in before.items():
            if name != victim:
                assert row["pid"] == after[name]["pid"], f"{name} died with {victim}"


def test_actors_that_die_at_once_are_all_noticed_at_once(run: Run) -> None:
    """Of deaths in one instant the actor library reports one; none may wait for the heartbeat to
    find it hung, nor take the tree along."""
    run.start()
    supervisor = run.alice.pid("supervisor")
    for victims in (("monitors",), ("monitors", "payments", "peers")) * 2:
        before = {row["name"]: row for row in run.alice.tree() if row["role"] in victims}
        for row in before.values():
            os.kill(row["pid"], signal.SIGKILL)
        run.until(lambda old=before: _all_new(run, old), f"{victims} are back", 8)

    assert run.alice.pid("supervisor") == supervisor


def _all_new(run: Run, old: dict[str, dict[str, Any]]) -> bool:
    now = {row["name"]: row["pid"] for row in run.alice.tree()}
    return all(now.get(name) not in (None, row["pid"]) for name, row in old.items())


def test_the_supervisor_forks_and_owns_nothing(run: Run) -> None:
    """A child of a process that has threads or a store open would hang."""
    run.start()
    process = Path(f"/proc/{run.alice.pid('supervisor')}")

    threads = len(list((process / "task").iterdir()))
    opened = [os.readlink(link) for link in (process / "fd").iterdir()]

    assert threads == 1
    assert not [path for path in opened if "/stores/" in path]


@pytest.mark.parametrize("victim", ["supervisor", "admin", "logger"])
def test_thespians_own_processes_may_be_killed(run: Run, victim: str) -> None:
    """The node answers again by itself, and no process of the old life is left."""
    run.start()
    old = {row["name"]: row["pid"] for row in run.alice.tree()}

    os.kill(old[victim], signal.SIGKILL)

    def back() -> bool:
        now = {row["name"]: row["pid"] for row in run.alice.tree()}
        renewed = victim == "logger" or now.get(victim) not in (None, old[victim])
        return set(now) >= set(LEAVES) and renewed

    until(back, "the node came back")
    run.tell()
    run.check()


def test_sigterm_ends_with_status_zero_and_sigkill_leaves_nobody(run: Run) -> None:
    """`Run.stop` looks for processes that are left."""
    run.start()
    run.note_pids()

    # nobody starts them again
    alice, bob = run.nodes.pop("alice"), run.nodes.pop("bob")
    status = alice.stop()
    bob.kill()

    assert status == 0
