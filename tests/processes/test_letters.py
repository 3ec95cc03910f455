"""Messages that end their actor, one that always dies, a hung supervisor, a disk that stalls."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors import Refused, ask
from actors.engine import processes
from actors.engine.seat import BACKOFF_SECONDS
from actors.testkit.hooks import BLOCKING, REFUSING
from daruma.playground import until
from tests.kit.frail import WAYS
from tests.kit.frail_run import Run


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    found = Run(tmp_path)
    yield found
    if found.process is not None and found.process.poll() is None:
        found.end()


@pytest.mark.parametrize("how", WAYS)
def test_what_ends_its_actor_again_and_again_is_put_aside_whole(run: Run, how: str) -> None:
    """At the third death. Who is killed may be so by anybody: that takes seven."""
    deaths = 7 if how == "killed" else 3
    run.start()
    run.tell(1)
    run.tell(2, how)
    run.tell(3)

    (letter,) = until(run.letters, "it is put aside")
    until(lambda: run.heard() == [1, 3], "the others are heard")
    assert run.deaths() == deaths
    assert (letter["sender"], letter["message"], letter["actor"]) == ("sender", "Blow", "frail")
    assert "without Blow" in run.log() and "started anew" not in run.log()

    # it is not well yet: one more death, and it lies where it lay
    with pytest.raises(Refused, match="put aside again"):
        ask(run.home, "frail", "retrydeadletter", id=letter["id"])
    until(lambda: run.letters() == [letter], "it is put aside again")
    assert run.deaths() == deaths + 1

    run.flag("healed")
    assert ask(run.home, "frail", "retrydeadletter", id=letter["id"]) == {}
    assert (run.letters(), run.heard()) == ([], [1, 2, 3])


def test_many_messages_that_end_their_actor_are_all_put_aside(run: Run) -> None:
    """As one defect may meet what is said of many channels: the others go on, and the tree too."""
    many = 9
    run.start("USUAL")
    for number in range(many):
        run.tell(number, "exception")
    run.tell(many)

    until(lambda: run.heard() == [many], "the last one is heard")
    assert len(run.letters()) == many
    assert run.deaths() == 3 * many and "started anew" not in run.log()


def test_a_new_release_tries_it_once(run: Run) -> None:
    run.start()
    run.tell(1, "native")
    until(run.letters, "it is put aside")
    run.end()
    before = run.deaths()

    run.start("SECOND")
    until(lambda: run.deaths() == before + 1, "it is tried")
    until(run.letters, "it is put aside again")
    run.end()
    run.start("SECOND")
    run.tell(2)
    until(lambda: run.heard() == [2], "what follows is heard")
    assert run.deaths() == before + 1
    run.end()

    run.flag("healed")
    run.start("FIRST")  # another release once more
    until(lambda: run.heard() == [1, 2], "it is heard")
    assert run.letters() == []


def test_what_is_no_dead_letter_is_refused(run: Run) -> None:
    run.start()
    for number in ("", "frail/", "frail/" + "0" * 32):
        with pytest.raises(Refused, match="listdeadletters"):
            ask(run.home, "frail", "retrydeadletter", id=number)


def test_an_actor_that_always_dies_ends_the_system_with_one_sentence(run: Run) -> None:
    """Twice: the tree was started anew in between. The pauses grow."""
    run.start("USUAL")
    run.flag("always")
    os.kill(run.pids()["frail"], signal.SIGKILL)

    assert run.end(status=1) == "frail: the actor frail dies again and again: see its log\n"
    assert run.deaths() == 1 + 11 + 11
    assert "all actors are started anew: the actor frail dies" in run.log()
    times = run.times_of_deaths()
    assert times[11] - times[10] > 1.0 > 0.2 > BACKOFF_SECONDS[2] > BACKOFF_SECONDS[1]


def test_an_actor_that_always_lives_for_a_moment_ends_the_system_too(run: Run) -> None:
    """Within any window there are few deaths; but no life in between is a quiet one."""
    run.flag("soon")
    run.start("IMPATIENT")

    assert run.end(status=1) == "frail: the actor frail dies again and again: see its log\n"
    assert run.deaths() == 5 + 5


def test_who_is_killed_from_outside_is_not_one_who_always_dies(run: Run) -> None:
    """As often as is normal, and more often than for reasons of its own."""
    run.start("IMPATIENT")
    for _ in range(7):
        pid = until(lambda: run.pids().get("frail"), "it is there")
        os.kill(pid, signal.SIGKILL)
        until(lambda p=pid: run.pids().get("frail") not in (None, p), "it is back")
    assert "started anew" not in run.log()


def test_an_actor_that_is_stopped_does_not_hang(run: Run) -> None:
    run.start()
    run.tell(1)
    before = run.pids()
    os.kill(before["frail"], signal.SIGSTOP)
    until(lambda: "frail waits to be continued" in run.log(), "it is said")
    waited_from = time.monotonic()
    until(lambda: time.monotonic() - waited_from > 4, "much more than a hang may last")
    os.kill(before["frail"], signal.SIGCONT)

    until(lambda: "frail goes on" in run.log(), "it is said")
    assert run.pids() == before and run.deaths() == 0


def test_a_whole_system_that_is_stopped_goes_on_as_it_was(run: Run) -> None:
    """A laptop's lid, a batch queue: nobody is to blame for the silence."""
    run.start()
    before, family = run.pids(), run.family()
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    stopped_at = time.monotonic()
    until(lambda: time.monotonic() - stopped_at > 6, "much more than a hang may last")
    for pid in reversed(family):
        os.kill(pid, signal.SIGCONT)

    run.tell(1)
    until(lambda: run.heard() == [1], "it goes on")
    time_after = time.monotonic()
    until(lambda: time.monotonic() - time_after > 4, "whoever looks has looked again")
    assert run.pids() == before and "killed" not in run.log()


def test_who_waits_for_a_disk_in_the_kernel_does_not_hang(run: Run) -> None:
    """A read that takes its time: it says nothing, and a kill would not end it."""
    run.start()
    before = run.pids()
    run.flag("slow")
    run.tell(1, "slow")

    until(lambda: "frail waits for its disk" in run.log(), "it is said")
    assert processes.waits_for_disk(before["frail"])
    (run.folder / "slow").unlink()

    until(lambda: run.heard() == [1], "it goes on")
    assert not processes.waits_for_disk(before["frail"])
    assert run.pids() == before and run.deaths() == 0


def test_a_disk_that_refuses_for_long_ends_nothing(run: Run) -> None:
    """Its actor is started again until it may write; the others live, and nothing is lost."""
    run.start(**REFUSING)
    refused = Path(run.home) / "run" / "frail.refused"
    refused.touch()
    run.tell(1)
    until(lambda: "frail waits for its disk, and goes on by itself" in run.log(), "it is said")
    run.tell(2)
    before = run.supervisor()
    os.kill(before, signal.SIGKILL)
    until(lambda: run.supervisor() not in (0, before), "the others live, after that too")
    run.tell(3)
    refused.unlink()

    until(lambda: run.heard() == [1, 2, 3], "it goes on")
    assert run.deaths() == 0
    assert "frail waits for its disk" in run.end()


def test_who_dies_while_another_waits_for_its_disk_is_not_forgotten(run: Run) -> None:
    """The whole tree was started anew meanwhile: nobody but the supervisor knows who is up."""
    run.start(**REFUSING)
    before = run.supervisor()
    (Path(run.home) / "run" / "sender.refused").touch()
    os.kill(before, signal.SIGKILL)
    until(lambda: "sender waits for its disk" in run.log(), "it is said")
    until(lambda: run.supervisor() not in (0, before), "the others are up")
    run.flag("always")
    os.kill(run.pids()["frail"], signal.SIGKILL)

    assert "the actor frail dies again and again" in run.end(status=1)


def test_who_dies_before_it_could_say_who_it_is_is_started_again(run: Run) -> None:
    run.start(DARUMA_HOOK="tests.kit.frail:stillborn")
    run.flag("stillborn")
    os.kill(run.pids()["frail"], signal.SIGKILL)
    until(lambda: (run.folder / "born").exists(), "it was killed at its birth")
    (run.folder / "stillborn").unlink()

    run.tell(1)
    until(lambda: run.heard() == [1], "it is there again")
    assert "started anew" not in run.log()


def test_a_supervisor_that_is_stopped_is_replaced(run: Run) -> None:
    run.start()
    before = run.supervisor()
    os.kill(before, signal.SIGSTOP)
    stopped_at = time.monotonic()

    until(lambda: run.supervisor() not in (None, before), "there is another one")
    assert time.monotonic() - stopped_at < 15
    run.tell(1)
    until(lambda: run.heard() == [1], "all is well")


def test_a_disk_that_takes_no_write_for_long_ends_nothing(run: Run) -> None:
    run.start(**BLOCKING)
    before = run.pids()
    blocked = Path(run.home) / "run" / "frail.blocked"
    blocked.touch()
    run.tell(1)

    until(lambda: "frail waits for its disk, which takes no write" in run.log(), "it is said")
    waited_from = time.monotonic()
    until(lambda: time.monotonic() - waited_from > 6, "much more than a hang may last")
    assert run.pids() == before
    blocked.unlink()

    until(lambda: run.heard() == [1], "it goes on")
    assert run.pids() == before
    until(lambda: "frail goes on" in run.log(), "it is said")
