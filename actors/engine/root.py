"""The first process of a system: starts it before anything else, watches its two roots (Thespian's
admin and our supervisor), and starts all anew when one dies.

It owns no database and no thread. Whoever kills it kills the system: every process dies with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from actors.engine import hardened, processes
from actors.engine.control import AskStatus, Boot, Life, Status
from actors.engine.lives import Pulse, take_words
from actors.engine.logbook import Logbook
from actors.engine.supervisor import Supervisor
from actors.engine.system import System, load
from storage import causes

START_SECONDS, LOCK_SECONDS = 60.0, 2.0
MAX_STARTS, START_WINDOW_SECONDS = 20, 60.0
MAX_GIVE_UPS, QUIET_SECONDS, PAUSE_SECONDS = 1, 600.0, 1.0
DISK_PAUSE_SECONDS = 5.0
AWAY_SECONDS = 3.0  # without a turn of our own: much more than it sleeps


class StartFailed(Exception):
    """One sentence for the operator; trying again as it is would not help."""


class Taken(Exception):
    """Somebody else runs in this folder."""


def free_port() -> int:
    """A TCP port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def lock(folder: Path) -> Any:
    """One system for each folder, which is made if it is not there; held as long as the file that
    is given back. Raises `Taken` or `OSError`."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = open(folder / "lock", "w")  # noqa: SIM115  held as long as we live
    # all processes of a system hold it: those of one that was killed may take a moment to be gone
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            if time.monotonic() > deadline:
                raise Taken(str(folder)) from None
        time.sleep(0.01)
    os.set_inheritable(file.fileno(), False)
    return file


class Root:
    """One life of the actors after the other. The caller holds the folder's lock.

    `companions()`: other children of this process, by name: they are spared and shown. `idle()` is
    called twice a second while all is well.
    """

    def __init__(
        self,
        life: Life,
        *,
        companions: Callable[[], Mapping[str, int]] = dict,
        idle: Callable[[], None] = lambda: None,
    ) -> None:
        self.life, self.companions, self.idle = life, companions, idle
        self.run_folder = Path(life.folder) / "run"
        self.run_folder.mkdir(mode=0o700, exist_ok=True)
        for old in self.run_folder.glob("*.sock"):
            old.unlink()
        self.stopping = self.was_up = False
        # a signal is seen at once: `select` by itself would go on waiting behind its handler
        self._rung, ring = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
        system: System = load(life.system)
        self.hung_seconds = system.hung_seconds + 1  # a beat is a second
        self.pulse = Pulse(str(self.run_folder / "supervisor.pulse"))
        self.system: Any = None
        self.supervisor: Any = None
        self._logbook = Logbook(life.folder, "node")
        self._logbook.check()
        self._watched: dict[int, tuple[str, int]] = {}

    def log(self, text: str) -> None:
        self._logbook.write(text)

    def stop_on_signals(self) -> None:
        """SIGTERM and SIGINT end the tree in good order."""

        def stop(_number: int, _frame: Any) -> None:
            self.stopping = True

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)

    # ---- all lives ----

    def run(self, ready: Callable[[], None]) -> None:
        """Until somebody wants it to stop. `ready` is called once, when all actors are up. Raises
        `StartFailed`, or `OSError` for files that cannot be used."""
        starts: list[float] = []
        given_up: list[float] = []
        while not self.stopping:
            now = time.monotonic()
            starts = [at for at in starts if now - at < START_WINDOW_SECONDS] + [now]
            if len(starts) > MAX_STARTS:
                self.log("gives up: the node ends again and again")
                raise StartFailed("the node ends again and again: see its log")
            if not self._start(now):
                continue
            if not self.was_up:
                self.was_up = True
                ready()
            self._wait()
            self._end(kind=self.stopping)
            self._escalate(given_up)

    def _escalate(self, given_up: list[float]) -> None:
        """When the supervisor has given an actor up: once more from the beginning, then the end.
        Raises `StartFailed`."""
        reason = take_words(self.pulse.page)
        if self.stopping or not reason:
            return
        now = time.monotonic()
        given_up[:] = [at for at in given_up if now - at < QUIET_SECONDS] + [now]
        if len(given_up) > MAX_GIVE_UPS:
            self.log(f"gives up: {reason}")
            raise StartFailed(reason)
        self.log(f"all actors are started anew: {reason}")
        time.sleep(PAUSE_SECONDS)

    def _start(self, began: float) -> bool:
        """False when it is to be tried again, or not at all any more."""
        try:
            self._begin()
        except Exception as error:
            self._end(kind=False)
            if self.stopping:
                return False
            hopeless = (StartFailed,) if self.was_up else (StartFailed, PermissionError)
            if isinstance(error, hopeless):
                self.log(f"cannot start: {error}")
                raise
            # the library's own, when one of its processes was killed; or a disk that refuses
            self.log(f"a start was interrupted: {type(error).__name__}: {error}")
            time.sleep(DISK_PAUSE_SECONDS if causes.refused(error) else 0)
            return False
        self.log(f"all actors are up after {(time.monotonic() - began) * 1000:.0f} ms")
        return True

    # ---- one life ----

    def _begin(self) -> None:
        os.environ[hardened.KEY_VARIABLE] = os.urandom(32).hex()
        os.environ["THESPLOG_FILE"] = str(self.run_folder / "thespian.log")
        (self.run_folder / "system.json").unlink(missing_ok=True)
        self.system = hardened.start_system(free_port())
        self.supervisor = self.system.createActor(Supervisor)
        take_words(self.pulse.page)  # old ones are no reason now
        self.system.tell(self.supervisor, Boot(self.life, again=self.was_up))
        self._watch(self._wait_until_up())

    def _wait_until_up(self) -> Status:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and not self.stopping:
            status = self._ask()
            if status is not None and status.fatal:
                raise StartFailed(status.fatal)
            if status is not None and status.ready:
                return status
            time.sleep(0.01)
        late = "the node did not come up in time: see its log"
        raise TimeoutError(late) if self.was_up else StartFailed(late)

    def _ask(self) -> Status | None:
        answer = self.system.ask(self.supervisor, AskStatus(), 2)
        return answer if isinstance(answer, Status) else None

    def _watch(self, status: Status) -> None:
        """pidfds of the roots: their death is noticed at once, without being their parent."""
        companions = self.companions()
        roots = {"supervisor": status.pid, **_thespians_own(status.pid, companions)}
        rows: list[dict[str, Any]]
        rows = [{"name": "node", "role": "node", "parent": None, "pid": os.getpid()}]
        parents = {"supervisor": "admin", "admin": "node", "logger": "admin"}
        rows += [
            {"name": name, "role": name, "parent": parents.get(name, "node"), "pid": pid}
            for name, pid in [*roots.items(), *companions.items()]
        ]
        for row in rows:
            row["started"] = round(time.time(), 3)
        (self.run_folder / "system.json").write_text(json.dumps(rows))
        for name in ("supervisor", "admin"):
            if name in roots:
                # one that is gone already is an interrupted start
                self._watched[os.pidfd_open(roots[name])] = (name, roots[name])

    def _wait(self) -> None:
        """Until one of the roots has died, or the system is to stop. A supervisor whose pulse is
        gone is killed."""
        beats, beaten_at = -1, time.monotonic()
        looked_at = beaten_at
        while not self.stopping:
            now = time.monotonic()
            if self.pulse.count != beats or now - looked_at > AWAY_SECONDS:
                # if we were stopped, it may have been too
                beats, beaten_at = self.pulse.count, now
            elif now - beaten_at > self.hung_seconds:
                beaten_at = now
                self._end_supervisor()
            looked_at = now
            ready, _, _ = select.select([self._rung, *self._watched], [], [], 0.5)
            if self._rung in ready:
                os.read(self._rung, 64)
                ready.remove(self._rung)
            if ready:
                dead = [self._watched[descriptor] for descriptor in ready]
                names = " and ".join(f"{name} (pid {pid})" for name, pid in dead)
                self.log(f"{names} died: all actors are started anew")
                return
            processes.reap()
            self.idle()

    def _end_supervisor(self) -> None:
        for descriptor, (name, pid) in self._watched.items():
            if name == "supervisor" and not processes.waits_for_disk(pid):
                self.log(
                    f"the supervisor (pid {pid}) hung for {self.hung_seconds:.0f} s: it is killed"
                )
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)

    def _end(self, *, kind: bool) -> None:
        """All processes of this life go; a kind end lets them close their stores."""
        for descriptor in self._watched:
            os.close(descriptor)
        self._watched.clear()
        if self.system is not None and kind:
            with contextlib.suppress(Exception):
                self.system.shutdown()
        processes.end_descendants(spare=set(self.companions().values()))
        self.system = None


def _thespians_own(supervisor: int, companions: Mapping[str, int]) -> dict[str, int]:
    """Our one other child is the admin; the logger is its child that is no actor of ours."""
    found: dict[str, int] = {}
    known = processes.everyone()
    for pid, parent in known:
        if parent == os.getpid() and pid not in companions.values():
            found["admin"] = pid
    for pid, parent in known:
        if parent == found.get("admin") and pid != supervisor:
            found["logger"] = pid
    return found
