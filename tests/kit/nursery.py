"""Real nodes that need no imports: a process that has done them all forks one for each start.

A node's start is a second of imports, and the tests make some thousand of them. The nursery is a
process of its own, without threads, stores or sockets but the one that it is asked over; what it
forks is the same program with the same arguments, environment, standard output and death with its
parent. Where a fresh interpreter matters (the command line, signals of the first process) tests
start one themselves.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

from actors.engine.hardened import die_with_parent
from daruma.playground import spawn as FRESH

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MAX_REQUEST = 1 << 20


class Child:
    """As much of `subprocess.Popen` as the playground uses."""

    def __init__(self, nursery: Nursery, pid: int, stdout: Any) -> None:
        self.nursery, self.pid, self.stdout = nursery, pid, stdout
        self.returncode: int | None = None
        self._end = os.pidfd_open(pid)

    def __del__(self) -> None:
        os.close(self._end)

    def _ended(self, seconds: float | None) -> bool:
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        return bool(poll.poll(None if seconds is None else seconds * 1000))

    def poll(self) -> int | None:
        if self.returncode is None and self._ended(0):
            self.returncode = self.nursery.status(self.pid)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None and not self._ended(timeout):
            raise subprocess.TimeoutExpired("daruma", timeout or 0)
        code = self.poll()
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._end, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The asking side."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "tests.kit.nursery", str(theirs.fileno())]
        self._process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], cwd=ROOT, preexec_fn=die_with_parent
        )
        theirs.close()

    def _ask(self, question: dict[str, Any], *descriptors: int) -> int:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        with self._lock:
            self._sock.sendmsg([json.dumps(question).encode()], rights if descriptors else [])
            answer = self._sock.recv(64)
        if not answer:
            raise ConnectionError("the nursery is gone")
        return int(answer)

    def spawn(self, command: list[str], environment: dict[str, str]) -> Child:
        """`command`: python -m daruma and the rest."""
        assert command[1:3] == ["-m", "daruma"]
        read, write = os.pipe()
        asked = {"words": command[3:], "environment": environment, "folder": os.getcwd()}
        try:
            pid = self._ask(asked, write)
        finally:
            os.close(write)
        return Child(self, pid, os.fdopen(read, "rb"))

    def status(self, pid: int) -> int:
        """Of a child that has ended."""
        return self._ask({"ended": pid})

    def close(self) -> None:
        self._sock.close()
        self._process.wait()


@contextlib.contextmanager
def fresh() -> Iterator[None]:
    """What is started here is an interpreter of its own, with the limits of this process."""
    from daruma import playground

    before, playground.spawn = playground.spawn, FRESH
    try:
        yield
    finally:
        playground.spawn = before


def begin() -> None:
    """From now on whatever this process starts comes from a nursery of its own."""
    from daruma import playground

    playground.spawn = Nursery().spawn  # type: ignore[assignment]


@contextlib.contextmanager
def at_work() -> Iterator[None]:
    """Whatever the playground starts comes from a nursery."""
    from daruma import playground

    before, nursery = playground.spawn, Nursery()
    playground.spawn = nursery.spawn  # type: ignore[assignment]
    try:
        yield
    finally:
        playground.spawn = before
        nursery.close()


# ---- the nursery itself -------------------------------------------------------------------------


def _import_all() -> None:
    import daruma.embedded.server  # noqa: F401
    from actors.engine.supervisor import import_before_the_forks
    from actors.tree import NODE

    import_before_the_forks(NODE)


def _be_born(asked: dict[str, Any], stdout: int) -> None:
    from daruma import cli

    code = 1
    try:
        die_with_parent()
        os.dup2(stdout, 1)
        os.close(stdout)
        os.chdir(asked["folder"])
        os.environ.clear()
        os.environ.update(asked["environment"])
        sys.argv = ["daruma", *asked["words"]]
        code = cli.main(asked["words"])
        sys.stdout.flush()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        os._exit(code)


def _serve(sock: socket.socket) -> None:
    ended: dict[int, int] = {}  # asked for by two threads, perhaps
    while True:
        data, rights, _, _ = sock.recvmsg(MAX_REQUEST, socket.CMSG_SPACE(4))
        if not data:
            return
        asked = json.loads(data)
        if "ended" in asked:
            pid = asked["ended"]
            if pid not in ended:
                ended[pid] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            sock.send(str(ended[pid]).encode())
            continue
        (stdout,) = array.array("i", rights[0][2])
        pid = os.fork()
        ended.pop(pid, None)
        if pid == 0:
            sock.close()
            _be_born(asked, stdout)
        os.close(stdout)
        sock.send(str(pid).encode())


if __name__ == "__main__":
    asking = socket.socket(fileno=int(sys.argv[1]))
    _import_all()
    _serve(asking)
