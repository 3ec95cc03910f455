"""Lives are counted upwards, whatever has become of the file that counts them."""

from __future__ import annotations

import errno
import os
import select
import socket
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from actors.engine import logbook, processes
from actors.engine.leaf import Loop
from actors.engine.lives import next_generation
from actors.engine.seat import Seat
from actors.engine.supervisor import Supervisor, import_for_later_lives
from actors.engine.system import Child, System
from protocol.machine import Answer, Machine
from storage import causes, files
from storage.errors import InUse, Missing, WriteFailed

ROOT = Path(__file__).parent.parent.parent


class Idle(Machine):
    hears = Answer


def test_lives_are_counted(tmp_path: Path) -> None:
    path = str(tmp_path / "api.generation")

    assert [next_generation(path) for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize("damaged", [b"", b"\0\0", b"-3", "²".encode(), b"12 13", b"\xff" * 40])
def test_an_unreadable_count_begins_above_all_that_was_used(tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "api.generation"
    used = [next_generation(str(path), lambda: 1e9) for _ in range(3)]
    for moment in (1_000_000_000, 1_000_000_060):
        path.write_bytes(damaged)
        used.append(next_generation(str(path), lambda at=moment: float(at)))  # type: ignore[misc]
        used.append(next_generation(str(path)))

    assert used == sorted(set(used))


def test_a_file_is_replaced_whole_and_both_it_and_its_folder_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order matters: bytes, then name, then the folder that holds the name."""
    done: list[str] = []
    real_sync, real_replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        done.append("sync " + os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        real_sync(descriptor)

    def replace(one: Path, two: Path) -> None:
        done.append("rename")
        real_replace(one, two)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    files.replace(tmp_path / "count", "7")

    assert done == ["sync count.new", "rename", f"sync {tmp_path.name}"]
    assert (tmp_path / "count").read_text() == "7"


def test_a_start_imports_nothing_that_only_a_search_needs() -> None:
    code = "import sys, daruma.boot, actors.tree; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_later_lives_find_imported_what_is_dear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dear_to_import.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))

    import_for_later_lives(System([Child("one", Idle, later=("dear_to_import",))]))

    assert sys.modules.pop("dear_to_import")


NAMED = """
import ctypes, sys
ctypes.CDLL(None).prctl(15, b") \\xc3( R 1", 0, 0, 0)  # PR_SET_NAME
print("named", flush=True)
sys.stdin.read()
"""


def test_a_process_may_have_any_name() -> None:
    """Whoever runs on the machine calls himself as he likes: bytes that are no text, brackets."""
    words = [sys.executable, "-c", NAMED]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as strange:
        assert strange.stdin is not None and strange.stdout is not None
        strange.stdout.readline()
        with pytest.raises(UnicodeDecodeError):
            Path(f"/proc/{strange.pid}/stat").read_text()

        found = processes.stat(strange.pid)
        assert found is not None and found.state in "RS" and found.parent == os.getpid()
        assert (strange.pid, os.getpid()) in processes.everyone()
        assert processes.lives(strange.pid)
        strange.stdin.close()


def test_a_number_that_somebody_else_has_got_is_not_killed() -> None:
    """Its parent is another one: the process that was meant is gone."""
    words = ["sh", "-c", "sleep 60 & echo $!; wait"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        descriptor = os.pidfd_open(child)
        try:
            processes.kill(child, parent.pid + 1)
            assert not select.select([descriptor], [], [], 0.2)[0]
            processes.kill(child, parent.pid)
            assert select.select([descriptor], [], [], 10)[0]
        finally:
            os.close(descriptor)


def test_a_bell_that_is_full_has_been_rung() -> None:
    """The loop waits for its disk, and the heartbeat goes on for as long as that takes."""
    loop = Loop.__new__(Loop)
    loop._notes = deque()
    bell, loop._ring = socket.socketpair()
    loop._ring.setblocking(False)
    with bell, loop._ring:
        for number in range(10_000):
            loop.post(number)
        with pytest.raises(BlockingIOError):
            loop._ring.send(b"x")
    assert len(loop._notes) == 10_000


def test_one_who_does_not_read_standard_error_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, writing = os.pipe()
    monkeypatch.setattr(logbook, "STANDARD_ERROR", writing)
    for _ in range(10_000):
        logbook.warn("bank", "x" * 100)
    assert os.read(reading, 106) == b"bank: " + b"x" * 100
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (OSError(errno.ENOSPC, "full"), True),
        (WriteFailed("full"), True),
        (InUse("a life that is dying still has it"), True),
        (ConnectionResetError(errno.ECONNRESET, "reset"), False),
        (OSError(errno.EMFILE, "too many"), False),
        (Missing("gone"), False),
    ],
)
def test_a_disk_is_to_blame_for_what_it_refuses_alone(error: Exception, passes: bool) -> None:
    assert causes.refused(error) == passes


class _Watching(Supervisor):
    """Not made as an actor is, which would die with its parent: what it sends stays here."""

    myAddress = "supervisor"
    sent: list[Any]

    def send(self, target: Any, message: Any) -> None:
        self.sent.append(message)


@pytest.mark.parametrize("being_born", [True, False])
def test_who_died_before_it_could_say_who_it_is_is_missed(
    monkeypatch: pytest.MonkeyPatch, being_born: bool
) -> None:
    """Nobody knows its pid: but there is no child that nobody knows, so it is not being born."""
    supervisor = _Watching.__new__(_Watching)
    supervisor.sent = []
    seat = Seat("one", Child("one", Idle))
    seat.address = "nameless"
    supervisor.seats = {"one": seat}
    with subprocess.Popen(["sleep", "60"]) as child:
        family = [(child.pid, os.getpid())] if being_born else []
        monkeypatch.setattr(processes, "everyone", lambda: family)
        supervisor._end_hung(seat)
        child.kill()

    told = [message.childAddress for message in supervisor.sent]
    assert told == ([] if being_born else ["nameless"])
