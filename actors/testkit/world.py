"""Nodes, links, disks and the clock of a simulated world, and how it moves.

A node is one instance of a `System`: its actors on simulated disks, with the production's drivers.
The questions that a program would put are put by the story, in the name of one actor (`asker`).
"""

from __future__ import annotations

import copy
import hashlib
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Self

from actors.engine.driver import Driver
from actors.engine.groups import group_of
from actors.engine.host import Switches
from actors.engine.system import System
from actors.testkit import fork
from actors.testkit.site import Host, Killed, Node
from protocol.machine import Ask, Log, Moment
from storage.errors import WriteFailed
from storage.memory import MemoryStore

START = 1_700_000_000.0

Link = tuple[str, str, str]
Key = tuple[str, ...]
Head = tuple[int, str, Key]  # ticket, kind, key of a queue
Port = Callable[[Node, Any], list[Any]]
Look = Callable[[Any, Head | None], Callable[[], None]]


class World:
    """`seed` None delivers in order of posting; a number shuffles links. Time begins at `START`
    (2023-11-14 22:13:20 UTC), and goes on when it is told to.

    `ports`: by the name of an actor (or its group), what its port does with an order; what it gives
    back is heard by the actor. `settings` is what the machines are made with.
    """

    def __init__(
        self,
        system: System,
        *,
        seed: int | None = None,
        switches: Switches | None = None,
        asker: str = "door",
        ports: Mapping[str, Port] | None = None,
        settings: Any = None,
    ) -> None:
        self.system, self.asker, self.settings = system, asker, settings
        self.nodes: dict[str, Any] = {}
        self.now = START
        self.switches = switches or Switches()
        self._before_the_first = replace(self.switches, resume=True, announce_restarts=True)
        self.random = random.Random(seed) if seed is not None else None
        self.links: dict[Link, deque[tuple[int, tuple[str, int, bytes]]]] = {}
        self.ports: dict[tuple[str, str], deque[tuple[int, Any]]] = {}
        self.crash: tuple[str, str, int, str, str] | None = None
        self.commits: dict[tuple[str, str], int] = {}
        self.trace: list[tuple[str, ...]] = []
        self.tracing = False
        self.crashes = 0
        self.deliveries = 0
        # what a machine may raise: its actor dies of it and is started again, as in production
        self.deadly: tuple[type[Exception], ...] = ()
        # called before each delivery (with its queue), each wake and each late write (with None);
        # what it gives back, after it
        self.look: Look | None = None
        self._simulated = dict(ports or {})
        if unknown := sorted(set(self._simulated) - set(system.hears)):
            raise TypeError(f"nobody is called {unknown[0]!r}, who could have a port")
        self._ticket = 0
        self._dice = 0
        self._heard = b""

    # ---- nodes ----

    def node(self, name: str) -> Any:
        """A running node of this name."""
        node = self._new_node(name)
        self.nodes[name] = node
        for role in node.roles:
            self.start(node, role)
        for role in node.roles:
            self._announce(node, role)
        self.settle()
        return node

    def with_node(self, name: str) -> Self:
        """This world, with a running node of this name."""
        self.node(name)
        return self

    def _new_node(self, name: str) -> Node:
        return Node(self, name)

    def start(self, node: Node, role: str) -> None:
        """A new incarnation from the disk."""
        host = Host(self, node, role)
        store = MemoryStore(node.disks[role]) if role in node.disks else None
        driver = Driver(
            node.machine(role),
            store,
            self.system,
            host,
            switches=self.switches if self.crashes else self._before_the_first,
            on_commit=host.on_commit,
        )
        node.drivers[role] = driver
        node.starting(role)
        try:
            driver.start()
        except self.deadly:
            self.start(node, role)
            return
        self._flush(node, role)

    def _announce(self, node: Node, role: str) -> None:
        """Restarted(role): everybody hears of the new incarnation, and it of everybody."""
        if not self.switches.announce_restarts and self.crashes:
            return
        for other in node.roles:
            if other != role and other in node.drivers and role in node.drivers:
                self._guarded(node, other, lambda d: d.linked(role))
                self._guarded(node, role, lambda d, o=other: d.linked(o))
        self._ask_again(node, role)

    def _ask_again(self, node: Node, role: str) -> None:
        """What an asker does: open questions are asked again after a restart."""
        for where, ask in list(node.asked.values()):
            if where == group_of(role):
                self.post((node.name, self.asker, role), ("item", 0, self.system.encode(ask)))

    # ---- what happens ----

    def post(self, link: Link, frame: tuple[str, int, bytes]) -> None:
        """A frame on its way over a link."""
        self._ticket += 1
        self.links.setdefault(link, deque()).append((self._ticket, frame))

    def moment(self, node: str, role: str) -> Moment:
        """Dice that fall by what is being heard, so that histories that meet again are equal."""
        self._dice += 1
        entropy = hashlib.sha256(f"{node} {role} {self._dice} ".encode() + self._heard).digest()
        return Moment(unix_seconds=self.now, entropy=entropy)

    def ask(
        self, node: Node, role: str, method: str, number: str | None = None, **params: Any
    ) -> str:
        """A question; the answer will be in `node.answers` under the number that is given back.
        Raises `TypeError` when nobody is called `role`, or it hears no questions."""
        if number is None:
            node.questions[method] = node.questions.get(method, 0) + 1
            number = f"{method}:{node.questions[method]}"
        ask = Ask(id=f"{self.asker}/{number}", method=method, params=params)
        self.system.check(role, ask)
        node.asked[number] = (role, ask)
        for name in self.system.receivers(role, ask):
            self.post((node.name, self.asker, name), ("item", 0, self.system.encode(ask)))
        return number

    def answered(self, node: Node, role: str, item: Any) -> None:
        """Something was said to the asker."""
        node.answer(item)

    def at_port(self, node: Node, role: str, item: Any) -> None:
        """An order to a port: done at once, its answers wait for delivery."""
        if isinstance(item, Log):
            node.said(role, item.text)
            return
        port = self._simulated.get(group_of(role))
        assert port is not None, f"{role} has no port here: World(ports={{...}}) gives it one"
        for answer in port(node, item):
            self.hear_port(node, role, answer)

    def hear_port(self, node: Node, role: str, item: Any) -> None:
        """A port's report, delivered after what already waits."""
        self._ticket += 1
        self.ports.setdefault((node.name, role), deque()).append((self._ticket, item))

    # ---- moving ----

    def heads(self) -> list[Head]:
        """The heads of all queues: (ticket, kind, key)."""
        found: list[Head] = [(q[0][0], "link", key) for key, q in self.links.items() if q]
        return found + [(q[0][0], "port", key) for key, q in self.ports.items() if q]

    def receiver(self, kind: str, key: Key) -> tuple[str, str]:
        """Node and actor that hear the head of this queue."""
        return key[0], key[-1]

    def disturbances(self, kind: str, key: Key) -> Iterator[tuple[Key, Callable[[Any], None]]]:
        """What else than a death may happen where this is about to be delivered."""
        yield from ()

    def step(self) -> bool:
        """Deliver one message, or write what waited for company; False when nothing is under way
        and all is written."""
        choices = self.heads()
        if not choices and not self._unwritten():
            return False
        if choices:
            dice = copy.copy(self.random)  # whoever looks sees a world that has not drawn yet
            head = dice.choice(sorted(choices)) if dice else min(choices)
            self._looked_at(head, lambda: self._next(choices))
        else:
            self._looked_at(None, self._write_what_waits)
        return True

    def _next(self, choices: list[Head]) -> None:
        head = self.random.choice(sorted(choices)) if self.random else min(choices)
        self._deliver(*head[1:])

    def _looked_at(self, head: Head | None, work: Callable[[], None]) -> None:
        """Something happens, and whoever looks may see it before and after."""
        self.deliveries += 1
        after = self.look(self, head) if self.look is not None else None
        work()
        if after is not None:
            after()

    def _deliver(self, kind: str, key: Any) -> None:
        if self.tracing:
            self.trace.append(("deliver", kind, *key))
        if kind == "port":
            _, item = self.ports[key].popleft()
            self._hearing(type(item).__name__.encode())
            self._guarded(self.nodes[key[0]], key[1], lambda driver: driver.hear_port(item))
        else:
            self._deliver_link(key)

    def _unwritten(self) -> bool:
        return any(
            driver.write_by is not None
            for node in self.nodes.values()
            for driver in node.drivers.values()
        )

    def _write_what_waits(self) -> None:
        """Nobody has said anything for a while: batches that waited for company are written."""
        for node in self.nodes.values():
            for role, driver in list(node.drivers.items()):
                if driver.write_by is not None:
                    self.now = max(self.now, driver.write_by)
                    self._guarded(node, role, lambda driver: driver.tick())

    def _hearing(self, data: bytes) -> None:
        self._heard, self._dice = data, 0

    def _deliver_link(self, key: Link) -> None:
        queue = self.links[key]
        _, (kind, number, data) = queue.popleft()
        if not queue:
            del self.links[key]
        self._hearing(data)
        name, sender, receiver = key
        if kind == "ack":
            work = lambda driver: driver.acknowledged(sender, number)  # noqa: E731
        else:
            item = self.system.decode(data)
            work = lambda driver: driver.hear(sender, number, item)  # noqa: E731
        self._guarded(self.nodes[name], receiver, work)

    def _guarded(self, node: Node, role: str, work: Any) -> None:
        """Some work of an actor, then its flush; a kill inside it happens here."""
        driver = node.drivers.get(role)
        if driver is None:
            return
        try:
            work(driver)
            while driver.busy:
                driver.flush()
        except Killed as killed:
            self._die(killed)
        except self.deadly:
            self.kill(node, role)
        except WriteFailed:
            # the actor ends, and nothing follows from the write; the operator makes some space
            node.disks[role].fail_at = None
            self.kill(node, role)

    def _flush(self, node: Node, role: str) -> None:
        try:
            node.drivers[role].flush()
        except Killed as killed:
            self._die(killed)

    def settle(self, limit: int = 20_000) -> None:
        """Until nothing is under way."""
        for _ in range(limit):
            if not self.step():
                return
        raise AssertionError("the world does not come to rest")

    def advance(self, seconds: float = 0.25) -> None:
        """The clock goes on in one jump, timers fire, and what follows is delivered."""
        self.tick(seconds)
        self.settle()

    def tick(self, seconds: float = 0.25) -> None:
        """The clock goes on and timers fire; nothing is delivered yet."""
        self.now += seconds
        for node in self.nodes.values():
            for role, driver in list(node.drivers.items()):
                work = partial(self._guarded, node, role, lambda driver: driver.tick())
                due = driver.due()
                if due is not None and due <= self.now:
                    self._looked_at(None, work)
                else:
                    work()

    # ---- kills ----

    def committed(self, node: str, role: str, when: str) -> None:
        """A commit is done: counted, and perhaps the last thing that its actor does."""
        if when == "before":
            self.commits[node, role] = self.commits.get((node, role), 0) + 1
        number = self.commits[node, role]
        if self.tracing:
            self.trace.append(("commit", node, role, when))
        if self.crash is not None and self.crash[:4] == (node, role, number, when):
            victim = self.crash[4]
            self.crash = None
            # what it had said is on its way: before the write all of it is heard, after it none
            raise Killed(node, role if victim == "actor" else "*", heard=when == "before")

    def _die(self, killed: Killed) -> None:
        self.kill(self.nodes[killed.node], killed.actor, heard=killed.heard)

    def kill(self, node: Node, role: str = "*", *, heard: bool = False) -> None:
        """SIGKILL and restart: of one actor, or of the whole node ("*").

        What the victim had said and nobody has read yet is `heard` by the living, or lost. Raises
        `KeyError` when nobody is called `role`.
        """
        if role not in ("*", *node.roles):
            raise KeyError(f"nobody is called {role!r} on {node.name}")
        self.crashes += 1
        self._switch()
        victims = node.roles if role == "*" else (role,)
        if heard:
            drivers = {role: node.drivers.pop(role) for role in victims if role in node.drivers}
            self._last_words(node, victims)
            node.drivers.update(drivers)
        for name in victims:
            self._drop(node, name)
        for name in victims:
            if name not in node.drivers:
                self.start(node, name)
        for name in victims:
            self._announce(node, name)

    def _last_words(self, node: Node, victims: tuple[str, ...]) -> None:
        """Bytes that were written before the death reach whoever lives."""
        for key in [key for key in self.links if key[0] == node.name and key[1] in victims]:
            while self.links.get(key) and key[2] in node.drivers:
                self._deliver_link(key)

    def stop(self, node: Node, role: str) -> None:
        """It is gone until `start_again`."""
        self._drop(node, role)

    def start_again(self, node: Node, role: str) -> None:
        """After `stop`: it comes back from its disk, and the others hear of it."""
        self.start(node, role)
        self._announce(node, role)

    def _switch(self) -> None:
        """From the first crash on the rules that a crash is about are off, if they are to be."""
        for node in self.nodes.values():
            for driver in node.drivers.values():
                driver.switches = self.switches

    def _drop(self, node: Node, role: str) -> None:
        """The process is gone, and with it all that was on its way to and from it."""
        node.drivers.pop(role, None)
        for key in list(self.links):
            if key[0] == node.name and role in key[1:]:
                del self.links[key]
        self.ports.pop((node.name, role), None)

    # ---- copies, and what a world is ----

    def copy(self) -> Self:
        """The same world once more; both go on independently."""
        twin: Self = fork.world(self)
        return twin

    def branched(self, twin: Self) -> None:
        """What a copy shares no longer with us, beyond nodes and queues."""

    def at_rest(self) -> list[Any]:
        """What else than rows and outboxes says how a world at rest goes on, without times."""
        return []
