"""A leaf actor: Thespian on the main thread, everything else in one loop in a second thread.

The main thread hears notes (start, directory, heartbeat). The loop owns the driver, the store, the
links and the sockets; it answers the heartbeat, and any error in it ends the process.
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import socket
import threading
import time
import traceback
from collections import deque
from typing import Any

from thespian.actors import ActorExitRequest

import storage
from actors.engine import letters, lives, system
from actors.engine.clock import Clock
from actors.engine.control import Directory, Ping, Pong, Refused, Start, Started
from actors.engine.driver import Driver
from actors.engine.hardened import SafeActor
from actors.engine.links import Hub
from actors.engine.logbook import Logbook, warn
from actors.engine.port import CannotStart
from actors.engine.witness import Witness
from protocol.machine import ALARM, Log, Moment
from storage import causes
from storage.errors import Missing, StoreError
from storage.store import Store

MAX_WAIT_SECONDS = 3_600.0  # epoll takes no more than some days


class Leaf(SafeActor):
    """The main thread's half."""

    def __init__(self) -> None:
        super().__init__()
        self.loop: Loop | None = None

    def hear(self, message: Any, sender: Any) -> None:
        match message:
            case Start():
                self._start(message, sender)
            case Directory() | Ping():
                assert self.loop is not None
                self.loop.post(message)
                if isinstance(message, Ping):
                    self.send(sender, self.loop.pong())
            case ActorExitRequest():
                if self.loop is not None:
                    self.loop.stop()

    def _start(self, message: Start, sender: Any) -> None:
        try:
            self.loop = Loop(message)
        except (StoreError, CannotStart, OSError) as error:
            words = _unusable(message.name, error) if isinstance(error, OSError) else str(error)
            refused = Refused(
                message.name, message.birth, words, os.getpid(), causes.refused(error)
            )
            self.send(sender, refused)
            return
        self.loop.begin()
        hub = self.loop.hub
        started = Started(message.name, message.birth, hub.generation, os.getpid(), hub.path)
        self.send(sender, started)


class Loop:
    """The second thread's half; also the driver's `Host`."""

    def __init__(self, start: Start) -> None:
        self.name, self.life = start.name, start.life
        self.settings, self.folder = start.life.settings, start.life.folder
        self.system: system.System = system.load(start.life.system)
        self.child = self.system.child(start.name)
        self._run_folder = os.path.join(self.folder, "run")
        self._logbook = Logbook(self.folder, self.name, keep=True)
        self.alive = 0
        self.selector = selectors.EpollSelector()
        self.directory: Directory | None = None
        self._notes: deque[Any] = deque()
        self._fed: deque[Any] = deque()
        self._stopping = False
        self._dice = b""
        self._clock = Clock()
        self._bell, bell = socket.socketpair()
        self._bell.setblocking(False)
        bell.setblocking(False)
        self._ring = bell
        self.selector.register(self._bell, selectors.EVENT_READ, self._rung)
        store = self._open_store() if self.child.durable else None
        generation = store.generation if store is not None else self._next_generation()
        self.hub = Hub(self.system, self.name, generation, self._run_folder, self.selector)
        self.witness = Witness(self._run_folder, self.name)
        self.witness.trace_crashes()
        self.driver = Driver(
            self.system.machine(self.name, self.settings),
            store,
            self.system,
            self,
            on_commit=_hook(self.name, self._run_folder),
            witness=self.witness,
        )
        self._load()
        self.hub.on_up = self.driver.linked
        self.hub.on_item = self.driver.hear
        self.hub.on_ack = self.driver.acknowledged
        self._port = self._make_port()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    def _load(self) -> None:
        """Here and not in the thread: a store that is refused is told upwards. Nothing of what is
        read is garbage, nor is what the imports have made: it is not looked at again and again."""
        gc.disable()
        self.driver.load()
        gc.freeze()
        gc.enable()

    def _open_store(self) -> Store:
        stores = os.path.join(self.folder, "stores")
        os.makedirs(stores, mode=0o700, exist_ok=True)
        os.makedirs(os.path.join(self.folder, "marks"), mode=0o700, exist_ok=True)
        identity = f"{self.name} ".encode() + self.system.identity(self.settings)
        mirror = os.path.join(self.folder, "marks", f"{self.name}.mark")
        folder = os.path.join(stores, self.name)
        wanted = self.child.rebuildable and self.name in self.life.rebuild
        again = self.child.remakeable or bool(wanted)
        try:
            url = f"rocksdb:{folder}"
            store = storage.open(url, self.name, mirror, identity, remakeable=again)
        except Missing as error:
            if not self.child.rebuildable:
                raise
            raise Missing(f"{error}, {self.child.rebuildable}") from None
        if store.just_remade:
            self.warn(f"the {self.name} store was missing ({folder}) and is made anew")
        return store

    def _next_generation(self) -> int:
        """An actor without a store counts its lives in a file."""
        return lives.next_generation(os.path.join(self._run_folder, f"{self.name}.generation"))

    def _make_port(self) -> Any:
        if not self.child.port:
            return None
        return system.load(self.child.port)(self)

    # ---- what the main thread calls ----

    def begin(self) -> None:
        self._thread.start()

    def pong(self) -> Pong:
        """The answer to the heartbeat: the last one that the loop has seen, and whether it waits
        for its disk."""
        return Pong(self.name, self.alive, self.driver.writing)

    def post(self, note: Any) -> None:
        """A note for the loop, which is woken."""
        self._notes.append(note)
        self._ring_bell()

    def stop(self) -> None:
        """At the end of what it is doing; waits up to two seconds for it."""
        self._stopping = True
        self._ring_bell()
        self._thread.join(2)

    def _ring_bell(self) -> None:
        """One that is full, because the loop waits for its disk, has been rung."""
        with contextlib.suppress(BlockingIOError):
            self._ring.send(b"\0")

    # ---- the loop ----

    def _run(self) -> None:
        try:
            self.driver.resume()
            self._turn()
            while not self._stopping:
                self._once()
        except BaseException as error:
            cause = str(error) if isinstance(error, StoreError) else letters.readable(error)
            trace = "".join(traceback.format_tb(error.__traceback__)[-4:])
            self.log(f"ends itself: {cause}\n{trace}")
            self.witness.ends(cause, disk=causes.refused(error))
            os._exit(1)
        self.driver.write()
        self.witness.ends()
        if self.driver.store is not None:
            self.driver.store.close()

    def _once(self) -> None:
        for key, mask in self.selector.select(self._patience()):
            key.data(mask)
        while self._notes:
            self._note(self._notes.popleft())
        self.driver.tick()
        self._turn()

    def _turn(self) -> None:
        """Everything that was heard: one batch, then one frame for each target."""
        while self._fed or self.driver.busy:
            while self._fed:
                self.driver.hear_port(self._fed.popleft())
            self.driver.flush()
        self.hub.flush()
        if self._port is not None:
            self._port.flush()

    def _patience(self) -> float | None:
        if self._fed:
            return 0.0  # a port had something to say when it was flushed
        waits = []
        wake, lazy = self.driver.due(), self.hub.due()
        if wake is not None:
            waits.append(wake - self._clock.now())
        if lazy is not None:
            waits.append(lazy - time.monotonic())
        return max(0.0, min(*waits, MAX_WAIT_SECONDS)) if waits else None

    def _rung(self, _mask: int) -> None:
        self._bell.recv(4096)

    def _note(self, note: Any) -> None:
        if isinstance(note, Ping):
            self.alive = note.number
            note = note.directory
        if isinstance(note, Directory):
            self.directory = note
            for entry in note.entries:
                # the later one in the tree dials: so every pair has one stream
                if self.system.order[entry.name] < self.system.order[self.name]:
                    self.hub.dial(entry.name, entry.path, entry.generation)

    # ---- the driver's host ----

    def out(self, to: str, sequence: int, data: bytes) -> None:
        self.hub.out(to, sequence, data)

    def acknowledge(self, to: str, sequence: int) -> None:
        self.hub.acknowledge(to, sequence)

    def port(self, item: Any) -> None:
        if isinstance(item, Log):
            (self.warn if item.text.startswith(ALARM) else self.log)(item.text)
            return
        assert self._port is not None, f"{self.name} has no port"
        self._port.do(item)

    def feed(self, item: Any) -> None:
        """What a port has to say to the machine."""
        self._fed.append(item)

    def moment(self) -> Moment:
        if not self._dice:
            self._dice = os.urandom(4096)  # one call to the kernel for many moments
        entropy, self._dice = self._dice[:32], self._dice[32:]
        return Moment(unix_seconds=self._clock.now(), entropy=entropy)

    def warn(self, text: str) -> None:
        """To the log, and to whoever started the system."""
        self.log(text)
        warn(self.system.title, text)

    def log(self, text: str) -> None:
        self._logbook.write(text)


def _unusable(name: str, error: OSError) -> str:
    """A file of the node that cannot be opened or made, and what to do."""
    place = error.filename or "a file"
    text = f"the actor {name} cannot use {place} ({error.strerror or error})"
    return f"{text}: give the folder to the node's user, or make room, and start again"


def _hook(name: str, folder: str) -> Any:
    """DARUMA_HOOK=<module:function>: what tests want to happen around each durable commit."""
    place = os.environ.get("DARUMA_HOOK")
    return system.load(place)(name, folder) if place else None
