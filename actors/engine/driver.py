"""The durable actor: load, resume, then (step, save, act) for ever. The only place that saves.

One flush = everything that was heard since the last one: one synced batch with the changed rows,
the outbox entries and the inbox marks; only then the effects. A crash falls between flushes.
A batch that has nothing to say waits a little for the next one: nobody can know of it yet, and its
senders, who were not answered, would say it all again.

Every sender numbers what it delivers to a receiver (`outbox.py`). The receiver keeps the highest
number that it has on disk, drops what it has seen, and acknowledges; the sender forgets then. An
acknowledgement of what was never said shows that the sender's store is an old copy.

Whatever a step says is written once, in that step, and read back: what its receiver could not read
is met by the one who said it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from actors.engine import letters, saying
from actors.engine.cold import ROW, Cold
from actors.engine.groups import group_of
from actors.engine.host import Gap, Host, Switches
from actors.engine.letters import Letters
from actors.engine.outbox import OUT, SEQ, Outbox, begins_anew
from actors.engine.saying import Ready, Saying
from actors.engine.system import System
from actors.engine.table import Table
from actors.engine.wakes import Wakes
from actors.engine.witness import Witness
from protocol.machine import (
    DEFECT,
    DEFECT_TEXT,
    Abandoned,
    Again,
    Answer,
    Ask,
    Deliver,
    Do,
    Log,
    Machine,
    Quarantined,
    Step,
    Tell,
    Wake,
    asker,
)
from storage.errors import StoreError
from storage.store import Store

LAZY_SECONDS = 0.02
_IN = b"i/"

Said = tuple[str, int, bytes]  # to whom, its number (0 is volatile), and what


class Driver:
    """Runs one machine. `store` is None for an actor that keeps nothing."""

    def __init__(
        self,
        machine: Machine,
        store: Store | None,
        system: System,
        host: Host,
        *,
        switches: Switches | None = None,
        on_commit: Callable[[str], None] | None = None,
        witness: Witness | None = None,
    ) -> None:
        self.machine = machine
        self.name = machine.name
        self._drains = getattr(type(machine), "drain", None) is not Machine.drain
        self.store = store
        self.system = system
        self.keeps = system.keeps[group_of(machine.name)]
        self.host = host
        self.switches = switches or Switches()
        self.on_commit = on_commit or (lambda when: None)
        self.letters = Letters(system, machine.name, store, witness)
        self.rows = Table(Cold(store, self.keeps), self.keeps.segments)
        self.saying = Saying(system, machine.name)
        self.outbox = Outbox(system, store.remade if store is not None else 0)
        self._marks: dict[str, int] = {}
        self._staged: dict[bytes, bytes | None] = {}
        self.writing = False  # between the beginning and the end of a commit
        self._must_write = False
        self.write_by: float | None = None  # something is unwritten that nobody waits for
        self._now = 0.0
        self._acts: deque[Said | Do] = deque()
        self._lines = 0  # how many of them are for the log
        self._acks: set[str] = set()
        self.wakes = Wakes()
        self._again: deque[Ask] = deque()
        self._heard = False
        self._last: tuple[str, Any] | None = None

    # ---- start ----

    def start(self) -> None:
        """From the disk, and back to work."""
        self.load()
        self.resume()

    def load(self) -> None:
        """Pure: nothing is written or said. Raises `StoreError`."""
        if self.store is not None:
            cold = [ROW + name.encode() + b"/" for name in self.keeps.cold]
            for key, value in self.store.load(cold).items():
                self._load(key, value)

    def resume(self) -> None:
        """What a crash may have swallowed is ordered again."""
        self._now = self.host.moment().unix_seconds
        for line in self.letters.begin(self._now):
            self._log(line)
        if self.switches.resume:
            self._run(self.machine.resume, None)
        for digest in self.letters.to_hear():
            self._hear_again(digest)

    def _load(self, key: bytes, value: bytes) -> None:
        kind, rest = key[:2], key[2:]
        if kind == ROW:
            self.rows.add(*self.keeps.read(rest.decode(), value))
        elif kind in (OUT, SEQ):
            self.outbox.load(key, value)
        elif kind == _IN:
            self._marks[rest.decode()] = int.from_bytes(value, "big")
        elif kind in (letters.SUSPECT, letters.LETTER):
            self.letters.load(key, value)

    # ---- what is heard ----

    def hear(self, sender: str, sequence: int, item: Any) -> None:
        """A message over a link; number 0 is volatile."""
        if sequence and self.switches.inbox_marks:
            seen = self._marks.get(sender, 0)
            if sequence <= seen:
                self._acks.add(sender)
                return
            lost = not seen and self.outbox.first  # we were made anew: it goes on where it was
            if sequence != seen + 1 and not begins_anew(sequence, seen) and not lost:
                raise Gap(f"{sender} said {sequence} after {seen}")
        if sequence:
            self._marks[sender] = sequence
            self._acks.add(sender)
            self._stage(_IN + sender.encode(), sequence.to_bytes(8, "big"))
        self._handle(sender, item)

    def hear_port(self, item: Any) -> None:
        """Raises `TypeError` for what the machine does not list among its `reports`."""
        self.system.check_report(self.name, item)
        self._run(self.machine.step, "port", item)

    def _handle(self, sender: str, item: Any) -> None:
        if isinstance(item, Quarantined):
            self._log(f"{sender} has put aside a message of ours ({item.digest})")
            return
        if isinstance(item, Ask) and item.method in letters.METHODS:
            self._about_letters(item)
            return
        digest = self.letters.watched(sender, item, self._now, self._stage)
        if digest and self.letters.condemned(digest):
            self._put_aside(sender, item, digest)
        else:
            self._hear(sender, item, digest)

    def _hear(self, sender: str, item: Any, digest: str) -> None:
        self._last = (sender, item)
        try:
            if digest:
                self.letters.on_record(digest)
            if isinstance(item, Abandoned):
                self._run(self.machine.abandoned, item.id)
            else:
                self._run(self.machine.step, sender, item)
        except Exception as error:
            if not isinstance(item, Ask):
                self._blame(error)
                raise
            self._defect(item, error)
        else:
            if digest and self.letters.suspects:
                self._drain()  # at once, so that what it leads to is its own
        if digest:
            self.letters.passed(digest, self._stage)

    def _blame(self, error: Exception) -> None:
        """The message heard last; but not for a row that the disk cannot give."""
        if self._last is not None and not isinstance(error, StoreError):
            self.letters.suspect(
                self.letters.digest(*self._last), letters.EXCEPTION, letters.readable(error)
            )

    def _defect(self, ask: Ask, error: Exception) -> None:
        """A question costs itself: its step is undone, for nothing of it was taken over."""
        line, code, text = saying.refusal(ask, error)
        if line:
            self._log(line)
        self._reply(ask, code=code, text=text)

    def _reply(self, ask: Ask, **answer: Any) -> None:
        self._tell(asker(ask.id), Answer(id=ask.id, **answer))

    def _tell(self, to: str, item: Any) -> None:
        self._acts.append((to, 0, self.system.written(item)))

    def linked(self, name: str) -> None:
        """`name` has (re)started: say again what it may have lost."""
        if self._marks.get(name):
            self._acks.add(name)
        for number, data in self.outbox.entries(name):
            self.host.out(name, number, data)
        if self.switches.resume:
            self._run(self.machine.resume, group_of(name))

    def acknowledged(self, name: str, sequence: int) -> None:
        """Everything up to this number is durable at `name`: forgotten with the next write."""
        for key in self.outbox.acknowledged(name, sequence):
            if self.store is not None:
                self._staged[key] = None

    def due(self) -> float | None:
        """When `tick` wants to be called."""
        wake, write_by = self.wakes.first, self.write_by
        if wake is None or write_by is None:
            return write_by if wake is None else wake
        return min(wake, write_by)

    def tick(self) -> None:
        """The time has come, for some of `due`."""
        if self.due() is None:
            return
        now = self._now = self.host.moment().unix_seconds
        if self.wakes.take(now):
            self._run(self.machine.wake)

    def _run(self, work: Callable[..., None], *about: Any) -> None:
        """One method of the machine: about what it is stands between step and moment."""
        step = Step(self.rows)
        moment = self.host.moment()
        self._now = moment.unix_seconds
        work(step, *about, moment)
        self._heard = True
        if step.changed_rows or step.effects:
            self._absorb(step)

    # ---- save, then act ----

    def _stage(self, key: bytes, value: bytes | None) -> None:
        if self.store is not None:
            self._staged[key] = value
            self._must_write = True

    def _absorb(self, step: Step) -> None:
        """All of a step or nothing: what cannot be written is met before anything is taken over."""
        written = self._encoded(step)
        said: list[Ready] = []
        for effect in step.effects:
            said += self.saying.ready(effect, self._log)
        self.rows.apply(step.changed_rows)
        if written and self.store is not None:
            self._staged.update(written)
            self._must_write = True
        for one, to, data in said:
            if isinstance(one, Wake):
                self.wakes.add(one.unix_seconds)
            elif isinstance(one, Again):
                self._again.append(one.ask)
            elif isinstance(one, Deliver):
                self._acts.append((to, self.outbox.add(to, data, self._stage), data))
            elif isinstance(one, Tell):
                self._acts.append((to, 0, data))
            else:
                self._lines += isinstance(one.item, Log)
                self._acts.append(one)

    def _encoded(self, step: Step) -> dict[bytes, bytes | None]:
        staged: dict[bytes, bytes | None] = {}
        for segment, rows in step.changed_rows.items():
            if segment.stored:
                for key, row in rows.items():
                    place, data = self.keeps.written(segment, key, row)
                    staged[ROW + place.encode()] = data
        return staged

    def flush(self) -> None:
        """The end of a batch. Raises what the store raises: the actor then ends."""
        while self._again:
            self._handle(asker(self._again[0].id), self._again.popleft())
        self._drain()
        self._last = None
        self.letters.heard()
        if not self.switches.save_before_send:
            self._act()
        if self._may_wait():
            return
        self.write()
        self._act()
        for sender in self._acks:
            self.host.acknowledge(sender, self._marks.get(sender, 0))
        self._acks.clear()

    def _drain(self) -> None:
        if self._heard and self._drains:
            try:
                self._run(self.machine.drain)
            except Exception as error:
                self._blame(error)
                raise
        self._heard = False

    def settle(self) -> None:
        """Nothing waits for company any more: written, and acted upon."""
        while self.busy:
            self.flush()
        self.write()
        self._act()

    def _may_wait(self) -> bool:
        """There is something to write, and nobody who waits for it; a line of the log can wait."""
        if self._loud or not self._must_write or self.store is None:
            return False
        if self.write_by is None:
            self.write_by = self._now + LAZY_SECONDS
        return self._now < self.write_by

    def write(self) -> None:
        """One synced batch of all that has changed."""
        if self._must_write and self.store is not None:
            self.writing = True
            self.on_commit("before")
            self.store.commit(self._staged)
            self._staged = {}
            self.rows.written()
            self.on_commit("after")
            self.writing = False
        self._must_write = False
        self.write_by = None

    def _act(self) -> None:
        self._lines = 0
        while self._acts:
            act = self._acts.popleft()
            if isinstance(act, Do):
                self.host.port(act.item)
            else:
                self.host.out(*act)

    @property
    def _loud(self) -> bool:
        return len(self._acts) > self._lines

    @property
    def busy(self) -> bool:
        """There is something to flush now."""
        undone = self._must_write or self._acks or self._acts
        waits = self.write_by is not None and self._now < self.write_by
        return bool(self._loud or self._heard or self._again or undone and not waits)

    # ---- messages that keep ending their actor ----

    def _put_aside(self, sender: str, item: Any, digest: str) -> None:
        if isinstance(item, Ask):
            self._reply(item, code=DEFECT, text=DEFECT_TEXT)
        else:
            self._tell(sender, Quarantined(digest=digest))
        told = self.letters.put_aside(digest, sender, item, self._now, self._stage)
        if not told:
            return
        self._log(told)
        try:
            self._run(self.machine.aside, sender, item)
        except Exception as error:
            self._log(f"what follows from that met a defect too: {letters.readable(error)}")

    def _about_letters(self, ask: Ask) -> None:
        if ask.method == "listdeadletters":
            self._reply(ask, result=self.letters.rows())
            return
        digest = str(ask.params.get("id", "")).rpartition("/")[2]
        refused = self.letters.retry(digest, ask)
        if refused:
            self._reply(ask, code=-1, text=refused)
            return
        self._hear_again(digest)
        self._reply(ask, result={})

    def _hear_again(self, digest: str) -> None:
        sender, item = self.letters.item(digest)
        self._hear(sender, item, digest)
        self.letters.delivered(digest, self._stage)
        self._log(f"a dead letter of {sender} was heard ({digest})")

    def _log(self, text: str) -> None:
        self._lines += 1
        self._acts.append(Do(item=Log(text=text)))
