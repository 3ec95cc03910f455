"""The supervisor: starts the tree in order, restarts what dies, tells everybody new addresses.

Owns nothing: no database, no socket, no thread (a process that forks must not). A leaf that hangs
is killed by pid; one that dies too often ends the supervisor, and the first process decides. Two
budgets say what is too often: deaths that may come from outside are counted within a window; those
of its own are counted in a row, up to a life that was a quiet one. Who ends because his disk
refuses is no death: he is started again, with pauses, until it does not.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import time
from datetime import timedelta
from typing import Any

from thespian.actors import ActorExitRequest, ChildActorExited, WakeupMessage

from actors.engine import processes
from actors.engine.control import (
    AskStatus,
    Boot,
    Directory,
    Life,
    Ping,
    Pong,
    Refused,
    Start,
    Started,
    Status,
)
from actors.engine.groups import group_of
from actors.engine.hardened import SafeActor
from actors.engine.leaf import Leaf
from actors.engine.lives import Pulse, leave_words
from actors.engine.logbook import Logbook, warn
from actors.engine.seat import Seat
from actors.engine.system import System, load
from actors.engine.witness import Death, death_of, hangs

MAX_DISK_PAUSE_SECONDS = 5.0
HEARTBEAT_SECONDS = 1.0
LATER_BEAT = 10
WELL_SECONDS = 5.0  # so long a life has met no refusal of its disk
AWAY_SECONDS = 3.0  # without a turn of our own: much more than a heartbeat


def import_before_the_forks(system: System) -> None:
    """What leaves need, once for all of them. An import opens nothing and starts no thread."""
    importlib.import_module("storage.rocks")
    for child in system.children:
        if child.port:
            importlib.import_module(child.port.partition(":")[0])
    gc.freeze()  # as `start_system` does


def import_for_later_lives(system: System) -> None:
    """What leaves do without at first, ready for whoever is started again."""
    for child in system.children:
        for name in child.later:
            importlib.import_module(name)


class Supervisor(SafeActor):
    """Starts the leaves, starts again those that die or hang, and gives up on what always dies."""

    def __init__(self) -> None:
        super().__init__()
        self.life: Life | None = None
        self.title, self.hung_seconds = "", 0.0
        self.pulse: Pulse | None = None
        self.seats: dict[str, Seat] = {}
        self.fatal = ""
        self.ending = self.was_up = self.told_ready = False
        self.beat = 0
        self.next_beat = 0.0
        self.woken_at = time.monotonic()

    def hear(self, message: Any, sender: Any) -> None:
        match message:
            case Boot():
                self._boot(message)
            case Started():
                self._started(message)
            case Pong():
                self._pong(message)
            case Refused():
                self._refused(message)
            case ChildActorExited():
                self._died(message.childAddress)
            case WakeupMessage():
                self._wake()
            case AskStatus():
                self.send(sender, self._status())
            case ActorExitRequest():
                self.ending = True

    def _boot(self, boot: Boot) -> None:
        life, self.was_up = boot.life, boot.again
        system: System = load(life.system)
        self.life, self.title, self.hung_seconds = life, system.title, system.hung_seconds
        self.pulse = Pulse(os.path.join(life.folder, "run", "supervisor.pulse"))
        self.seats = {name: Seat(name, system.child(name)) for name in system.names}
        import_before_the_forks(system)
        self._start_next()
        self._sleep(HEARTBEAT_SECONDS)

    def _sleep(self, seconds: float) -> None:
        self.wakeupAfter(timedelta(seconds=seconds))

    # ---- births ----

    def _start_next(self) -> None:
        """The first seat that was never taken; each waits for the one before it, but for none whose
        disk refuses."""
        for seat in self.seats.values():
            if not seat.started and not seat.refusals:
                if seat.address is None and seat.again_at is None:
                    self._start(seat)
                return

    def _start(self, seat: Seat) -> None:
        assert self.life is not None
        seat.again_at = None
        seat.born_at = seat.heard_at = time.monotonic()
        seat.alive = 0
        seat.entry = None
        seat.address = self.createActor(Leaf)
        seat.births += 1
        self.send(seat.address, Start(seat.name, seat.births, self.life))

    def _started(self, entry: Started) -> None:
        seat = self.seats[entry.name]
        if entry.birth != seat.births:
            return  # of one that is buried
        seat.entry = entry
        if seat.died_at is not None:
            away_ms = (time.monotonic() - seat.died_at) * 1000
            life = f"generation {entry.generation}, restart {seat.restarts}"
            self._log(f"{entry.name} is back after {away_ms:.0f} ms ({life}, pid {entry.pid})")
            seat.died_at = None
        seat.started = True
        seat.heard_at = time.monotonic()
        self._start_next()
        self.was_up = self.was_up or all(seat.started for seat in self.seats.values())
        self._publish()

    def _refused(self, message: Refused) -> None:
        """At the first start it is for the operator to mend; later the others go on meanwhile."""
        seat = self.seats[message.name]
        if message.birth != seat.births:
            return
        if not (message.passing and self.was_up):
            self._give_up(message.reason)
            return
        seat.refused = message.reason
        processes.kill(message.pid, os.getpid())
        self.send(self.myAddress, ChildActorExited(seat.address))

    def _publish(self) -> None:
        """Everybody learns of everybody; a higher generation means a new link."""
        directory = self._directory()
        for seat in self.seats.values():
            if seat.entry is not None and seat.address is not None:
                self.send(seat.address, directory)

    def _directory(self) -> Directory:
        seats = self.seats.values()
        entries = tuple(seat.entry for seat in seats if seat.entry and seat.address)
        return Directory(entries, self._tree())

    # ---- deaths ----

    def _died(self, address: Any) -> None:
        """Reported twice sometimes: only the one who sits there counts. Of two that die at once one
        may not be reported at all: so the others are looked at too."""
        for seat in self.seats.values():
            if seat.address is not None and seat.address == address:
                self._bury(seat)
        self._look_for_dead()

    def _look_for_dead(self) -> None:
        """Told as the library would have: it has its own list, and waits for all at the end."""
        for seat in self.seats.values():
            if seat.address is None or seat.entry is None:
                continue
            if not processes.lives(seat.entry.pid):
                self.send(self.myAddress, ChildActorExited(seat.address))

    def _bury(self, seat: Seat) -> None:
        seat.address = None
        if self.ending:
            return
        now = time.monotonic()
        seat.died_at = now if seat.died_at is None else seat.died_at
        death = self._death(seat)
        if death.disk and self.was_up:
            self._wait_for_disk(seat, death.words)
            return
        name, pid = seat.name, seat.entry.pid if seat.entry is not None else "unknown"
        self._log(f"{name} (pid {pid}) died: {death.words}")
        seat.count(death, now)
        if self.fatal:
            return
        if seat.worn_out:
            self._give_up(f"the actor {name} dies again and again: see its log")
            return
        if seat.started:
            seat.restarts += 1
        self._again(seat, seat.pause_seconds(now))

    def _again(self, seat: Seat, pause_seconds: float) -> None:
        if pause_seconds:
            seat.again_at = time.monotonic() + pause_seconds
            self._sleep(pause_seconds)
        else:
            self._start(seat)

    def _death(self, seat: Seat) -> Death:
        if seat.refused:
            refused, seat.refused = seat.refused, ""
            return Death(refused, disk=True)
        assert self.life is not None
        death = death_of(os.path.join(self.life.folder, "run"), seat.name)
        if seat.hung:
            words = f"it hung for {self.hung_seconds:.0f} s and was killed"
            return death._replace(words=words, own=True, disk=False)
        return death

    def _wait_for_disk(self, seat: Seat, reason: str) -> None:
        """It is not to blame. Said when it begins, and now and then: the log may have had no room
        for it either."""
        if seat.refusals % 10 == 0:
            reason = reason.replace(" and start again", "").replace(", start again", "")
            text = f"{seat.name} waits for its disk, and goes on by itself: {reason}"
            self._log(text)
            warn(self.title, text)
        seat.refusals += 1
        if seat.started:
            seat.restarts += 1
        self._again(seat, min(0.02 * 2 ** min(seat.refusals, 8), MAX_DISK_PAUSE_SECONDS))
        self._start_next()

    def _log(self, text: str) -> None:
        if self.life is not None:
            Logbook(self.life.folder, "supervisor").write(text)

    def _give_up(self, reason: str) -> None:
        """The first process reads why, and decides what follows."""
        self._log(f"gives up: {reason}")
        self.fatal = self.fatal or reason
        if self.told_ready:  # nobody asks for our status any more
            assert self.pulse is not None
            leave_words(self.pulse.page, reason)
            os._exit(1)

    # ---- heartbeat ----

    def _wake(self) -> None:
        if self.pulse is not None:
            self.pulse.beat()
        self._look_for_dead()
        now = time.monotonic()
        if now - self.woken_at > AWAY_SECONDS:
            self._was_away(now)
        self.woken_at = now
        for seat in self.seats.values():
            if seat.again_at is not None and seat.again_at <= now + 0.001:
                self._start(seat)
            elif seat.address is not None and now - seat.heard_at > self.hung_seconds:
                self._end_hung(seat)
        if now >= self.next_beat:
            self.next_beat = now + HEARTBEAT_SECONDS * 0.9
            self.beat += 1
            if self.beat == LATER_BEAT and self.life is not None:
                import_for_later_lives(load(self.life.system))
            directory = self._directory()
            for seat in self.seats.values():
                if seat.entry is not None and seat.address is not None:
                    self.send(seat.address, Ping(self.beat, directory))
            self._sleep(HEARTBEAT_SECONDS)

    def _was_away(self, now: float) -> None:
        """We were stopped, or had no turn for long: what they have said meanwhile is still unread,
        and they may have been stopped too."""
        for seat in self.seats.values():
            seat.heard_at = now

    def _end_hung(self, seat: Seat) -> None:
        seat.heard_at = time.monotonic()
        if seat.entry is None:
            if not self._has_unknown_child():  # it died before it could say who it is
                self.send(self.myAddress, ChildActorExited(seat.address))
            return  # or it is still reading its snapshot
        if not processes.lives(seat.entry.pid):
            return  # about to be buried
        if processes.waits_for_disk(seat.entry.pid):
            self._waits(seat, "for its disk, which takes no write")
        elif processes.is_stopped(seat.entry.pid):
            self._waits(seat, "to be continued: somebody has stopped it (SIGSTOP, a debugger)")
        else:
            seat.hung = True
            assert self.life is not None
            with contextlib.suppress(OSError):
                hangs(os.path.join(self.life.folder, "run"), seat.name)
            with contextlib.suppress(ProcessLookupError):
                os.kill(seat.entry.pid, signal.SIGKILL)

    def _has_unknown_child(self) -> bool:
        """Whether somebody is being born."""
        known = {seat.entry.pid for seat in self.seats.values() if seat.entry is not None}
        children = [pid for pid, parent in processes.everyone() if parent == os.getpid()]
        return any(pid not in known and processes.lives(pid) for pid in children)

    def _pong(self, pong: Pong) -> None:
        """Only progress of the leaf's own loop is life."""
        seat = self.seats[pong.name]
        now = time.monotonic()
        if pong.alive > seat.alive or pong.alive >= self.beat - 1:
            if seat.waits:
                self._log(f"{seat.name} goes on")
            seat.heard_at, seat.waits = now, ""
            if now - seat.born_at > WELL_SECONDS:
                seat.refusals = 0
        elif pong.writing and now - seat.heard_at > self.hung_seconds / 2:
            seat.heard_at = now
            self._waits(seat, "for its disk, which takes no write")
        seat.alive = pong.alive

    def _waits(self, seat: Seat, for_what: str) -> None:
        """This ends nothing: it goes on when it can."""
        if not seat.waits:
            self._log(f"{seat.name} waits {for_what}")
        seat.waits = for_what

    # ---- the tree, to be shown ----

    def _status(self) -> Status:
        ready = bool(self.seats) and all(
            seat.refusals or seat.entry and seat.address for seat in self.seats.values()
        )
        self.told_ready = self.told_ready or ready
        return Status(ready, os.getpid(), self.fatal, self._tree())

    def _tree(self) -> tuple[dict[str, Any], ...]:
        rows = []
        for seat in self.seats.values():
            if seat.entry is not None and seat.address is not None:
                rows.append(
                    {
                        "name": seat.name,
                        "role": group_of(seat.name),
                        "parent": "supervisor",
                        "pid": seat.entry.pid,
                        "generation": seat.entry.generation,
                        "restarts": seat.restarts,
                        "started": round(time.time() - (time.monotonic() - seat.born_at), 3),
                    }
                )
        return tuple(rows)
