"""The first process of a node: the operator's. It starts the actor system before anything else,
watches its two roots (Thespian's admin and our supervisor), and starts all anew when one dies.

It owns no database and no thread. Whoever kills it kills the node: every process dies with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from actors import descriptors, hardened
from actors.logbook import Logbook
from actors.notes import AskStatus, Boot, Settings, Status
from actors.supervisor import Supervisor
from daruma import seed
from daruma.config import Config, ConfigError
from daruma.embedded.process import ChainProcess
from protocol.api.shapes import VERSION

START_SECONDS, LOCK_SECONDS = 60.0, 2.0
MAX_STARTS, START_WINDOW_SECONDS = 20, 60.0


class StartFailed(Exception):
    """One sentence for the operator; trying again as it is would not help."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def lock(folder: Path) -> Any:
    """One node for each folder. Raises `ConfigError`."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = open(folder / "lock", "w")  # noqa: SIM115  held as long as we live
    # all processes of a node hold it: those of one that was killed may take a moment to be gone
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            if time.monotonic() > deadline:
                text = f"another node is running in {folder}"
                raise ConfigError(f"{text}: stop it, or use another --lightning-dir") from None
        time.sleep(0.01)
    os.set_inheritable(file.fileno(), False)
    return file


class Node:
    """The system of actors, and how it is kept alive."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.folder = config.folder
        self.lock = lock(self.folder)
        if (self.folder / "stores" / "monitors").exists():
            text = f"{self.folder} was made by an earlier development version: use another folder"
            raise ConfigError(text)
        run = self.folder / "run"
        run.mkdir(mode=0o700, exist_ok=True)
        for old in run.glob("*.sock"):
            old.unlink()
        secret = seed.load_or_make(self.folder)
        self.stopping = False
        # a signal is seen at once: `select` by itself would go on waiting behind its handler
        self._rung, ring = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
        self.chain = ChainProcess(self.folder / "chain") if config.rpc is None else None
        self.settings = Settings(
            folder=str(self.folder),
            network=config.network,
            host=config.host,
            port=config.port,
            alias=config.alias,
            zeroconf_peers=config.zeroconf_peers,
            announced=config.announced,
            rpc=config.rpc or (self.chain.rpc if self.chain else {}),
            seed=secret,
            first_pid=os.getpid(),
            rebuild=config.rebuild,
        )
        self.system: Any = None
        self.supervisor: Any = None
        self._logbook = Logbook(str(self.folder), "node")
        self._logbook.check()
        self._watched: dict[int, tuple[str, int]] = {}

    def log(self, text: str) -> None:
        self._logbook.write(text)

    # ---- one life of the actor system ----

    def start(self) -> None:
        """Raises `StartFailed`."""
        os.environ[hardened.KEY_VARIABLE] = os.urandom(32).hex()
        os.environ["THESPLOG_FILE"] = str(self.folder / "run" / "thespian.log")
        os.environ["DARUMA_CRASH_FOLDER"] = str(self.folder / "run")
        (self.folder / "run" / "system.json").unlink(missing_ok=True)
        self.system = hardened.start_system(free_port())
        self.supervisor = self.system.createActor(Supervisor)
        self.system.tell(self.supervisor, Boot(self.settings))
        status = self._wait_until_up()
        self._watch(status)

    def _wait_until_up(self) -> Status:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and not self.stopping:
            status = self._ask()
            if status is not None and status.fatal:
                raise StartFailed(status.fatal)
            if status is not None and status.ready:
                return status
            time.sleep(0.01)
        raise StartFailed("the node did not come up in time: see its log")

    def _ask(self) -> Status | None:
        answer = self.system.ask(self.supervisor, AskStatus(), 2)
        return answer if isinstance(answer, Status) else None

    def _watch(self, status: Status) -> None:
        """pidfds of the roots: their death is noticed at once, without being their parent."""
        roots = {"supervisor": status.pid, **_thespians_own(status.pid)}
        rows: list[dict[str, Any]]
        rows = [{"name": "node", "role": "node", "parent": None, "pid": os.getpid()}]
        parents = {"supervisor": "admin", "admin": "node", "logger": "admin"}
        rows += [
            {"name": name, "role": name, "parent": parents[name], "pid": pid}
            for name, pid in roots.items()
        ]
        if self.chain is not None:
            rows.append(
                {"name": "bitcoin", "role": "bitcoin", "parent": "node", "pid": self.chain.pid}
            )
        for row in rows:
            row["started"] = round(time.time(), 3)
        (self.folder / "run" / "system.json").write_text(json.dumps(rows))
        for name in ("supervisor", "admin"):
            if name in roots:
                with contextlib.suppress(OSError):
                    self._watched[os.pidfd_open(roots[name])] = (name, roots[name])

    def wait(self) -> None:
        """Until one of the roots has died, or the node is to stop."""
        while not self.stopping:
            ready, _, _ = select.select([self._rung, *self._watched], [], [], 0.5)
            if self._rung in ready:
                os.read(self._rung, 64)
                ready.remove(self._rung)
            if ready:
                died = " and ".join(f"{name} (pid {pid})" for name, pid in self._names(ready))
                self.log(f"{died} died: all actors are started anew")
                return
            _reap()
            if self.chain is not None:
                self.chain.keep()

    def _names(self, descriptors: list[int]) -> list[tuple[str, int]]:
        return [self._watched[descriptor] for descriptor in descriptors]

    def end(self, *, kind: bool) -> None:
        """All processes of this life go; a kind end lets them close their stores."""
        for descriptor in self._watched:
            os.close(descriptor)
        self._watched.clear()
        if self.system is not None and kind:
            with contextlib.suppress(Exception):
                self.system.shutdown()
        _end_descendants(spare=self.chain.pid if self.chain is not None else None)
        self.system = None


def _thespians_own(supervisor: int) -> dict[str, int]:
    """Our one child is the admin; the logger is its child that is no actor of ours."""
    found: dict[str, int] = {}
    for pid, parent, title in _processes():
        if parent == os.getpid() and "daruma chain" not in title:
            found["admin"] = pid
    for pid, parent, _ in _processes():
        if parent == found.get("admin") and pid != supervisor:
            found["logger"] = pid
    return found


def _processes() -> list[tuple[int, int, str]]:
    """(pid, parent, command line) of every process that we can see."""
    rows = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{entry}/stat").read_text()
                name, rest = stat.rpartition(")")[0], stat.rpartition(")")[2].split()
                line = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                rows.append((int(entry), int(rest[1]), line or name))
    return rows


def _descendants() -> list[int]:
    parents: dict[int, list[int]] = {}
    for pid, parent, _ in _processes():
        parents.setdefault(parent, []).append(pid)
    found, todo = [], [os.getpid()]
    while todo:
        children = parents.get(todo.pop(), [])
        found += children
        todo += children
    return found


def _end_descendants(spare: int | None) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        _reap()
        left = [pid for pid in _descendants() if pid != spare]
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def _reap() -> None:
    """We have adopted the admin: its end, and that of orphans, is ours to collect."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def run(config: Config) -> int:
    """The whole life of a node; -> exit status."""
    if (limit := descriptors.raise_limit()) < descriptors.LEAST:
        text = f"{limit} file descriptors are allowed, and a node needs {descriptors.LEAST}"
        print(f"daruma: {text}: raise the limit (ulimit -n) and start again", file=sys.stderr)
        return 1
    try:
        node = Node(config)
    except ConfigError as error:
        print(f"daruma: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"daruma: {_unusable(config, error)}", file=sys.stderr)
        return 1

    def stop(_number: int, _frame: Any) -> None:
        node.stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        return _keep(node)
    finally:
        if node.chain is not None:
            node.chain.stop()
        with contextlib.suppress(FileNotFoundError):
            (config.folder / "lightning-rpc").unlink()


def _unusable(config: Config, error: OSError) -> str:
    """A seed that somebody else owns is no reason to make another one."""
    place = error.filename or config.folder
    cure = "choose another folder with --lightning-dir"
    if os.path.lexists(place) and os.path.lexists(config.folder / "seed.txt"):
        cure = "give it to the node's user and start again"
    return f"{place} cannot be used ({error.strerror}): {cure}"


def _keep(node: Node) -> int:
    node.log(f"daruma {VERSION} starts: {node.config.told}, Python {platform.python_version()}")
    try:
        return _lives(node)
    finally:
        node.log("ends")


def _lives(node: Node) -> int:
    starts: list[float] = []
    announced = False
    while not node.stopping:
        now = time.monotonic()
        starts = [at for at in starts if now - at < START_WINDOW_SECONDS] + [now]
        if len(starts) > MAX_STARTS:
            node.log("gives up: the node ends again and again")
            print("daruma: the node ends again and again: see its log", file=sys.stderr)
            return 1
        try:
            node.start()
        except StartFailed as failed:
            node.end(kind=False)
            if node.stopping:
                break
            node.log(f"cannot start: {failed}")
            print(f"daruma: {failed}", file=sys.stderr)
            return 1
        except PermissionError as error:
            node.end(kind=False)
            node.log(f"cannot start: {error}")
            print(f"daruma: {_unusable(node.config, error)}", file=sys.stderr)
            return 1
        except Exception as error:  # the library's own, when one of its processes was killed
            node.end(kind=False)
            node.log(f"a start was interrupted: {type(error).__name__}: {error}")
            continue
        node.log(f"all actors are up after {(time.monotonic() - now) * 1000:.0f} ms")
        if not announced:
            announced = True
            print(f"ready {node.config.socket}", flush=True)
        node.wait()
        node.end(kind=node.stopping)
    return 0
