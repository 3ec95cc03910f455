"""Nodes, links, wires, disks and the clock of a simulated world, and how it moves."""

from __future__ import annotations

import hashlib
import random
from collections import deque
from dataclasses import replace
from typing import Any

from actors import vocabulary
from actors.driver import Driver, Switches
from actors.shards import group_of, receivers
from actors.testkit import fork, ports
from actors.testkit.chain import SimChain
from actors.testkit.node import Host, Killed, Node
from actors.testkit.wires import Wires
from protocol.crypto.hashes import sha256
from protocol.machine import Ask, Log, Moment
from protocol.peer import items as peer
from protocol.wallet import items as wallet
from protocol.wallet.rows import Position, WalletTx
from storage.errors import WriteFailed
from storage.memory import MemoryStore

START = 1_700_000_000.0


Link = tuple[str, str, str]


class World(Wires):
    """All nodes of a story. `seed` None delivers in order of posting; a number shuffles links.

    `monitors`: how many share the channels of a node.
    """

    def __init__(
        self, *, seed: int | None = None, switches: Switches | None = None, monitors: int = 1
    ) -> None:
        self.monitors = monitors
        self.nodes: dict[str, Node] = {}
        self.chain = SimChain()
        self.now = START
        self.switches = switches or Switches()
        self._before_the_first = replace(self.switches, resume=True, announce_restarts=True)
        self.random = random.Random(seed) if seed is not None else None
        self.links: dict[Link, deque[tuple[int, tuple[str, int, bytes]]]] = {}
        self.ports: dict[tuple[str, str], deque[tuple[int, Any]]] = {}
        self.wires: dict[tuple[str, str], deque[tuple[int, bytes]]] = {}
        self.crash: tuple[str, str, int, str, str] | None = None
        self.commits: dict[tuple[str, str], int] = {}
        self.trace: list[tuple[str, ...]] = []
        self.tracing = False
        self.crashes = 0
        self._ticket = 0
        self._dice = 0
        self._heard = b""

    # ---- nodes ----

    def node(self, name: str, *, coins: int = 2) -> Node:
        """A running node that owns some confirmed coins of 50 bitcoin."""
        node = Node(self, name)
        self.nodes[name] = node
        for index in range(coins):
            self.chain.mine(1, node.purse.script(150 + index))
        raws = self.chain.blocks[-coins:] if coins else []
        self._give(node, raws)
        for role in node.roles:
            self.start(node, role)
        for role in node.roles:
            self._announce(node, role)
        self.settle()
        return node

    def _give(self, node: Node, blocks: list[bytes]) -> None:
        """The coins are there before the first start."""
        store = MemoryStore(node.disks["wallet"])
        registry = vocabulary.SCHEMAS["wallet"]
        changes: dict[bytes, bytes | None] = {}
        height = self.chain.height - len(blocks)
        for block in blocks:
            height += 1
            found = node.purse.handle(wallet.Examine(height=height, raw=block))[0]
            for raw in found.ours:
                row = WalletTx(raw=raw, height=height, block=found.hash, time=found.time)
                key = f"wtx/{sha256(raw).hex()}"
                changes[b"r/" + key.encode()] = registry.encode(key, row)
        tip = Position(height=height, hash=self.chain.hash(height), external=-1, internal=-1)
        changes[b"r/position"] = registry.encode("position", tip)
        store.commit(changes)

    def start(self, node: Node, role: str) -> None:
        """A new incarnation from the disk."""
        host = Host(self, node, role)
        store = MemoryStore(node.disks[role]) if role in node.disks else None
        driver = Driver(
            node.machine(role),
            store,
            vocabulary.SCHEMAS[group_of(role)],
            host,
            switches=self.switches if self.crashes else self._before_the_first,
            on_commit=host.on_commit,
            groups={"monitors": node.monitors},
        )
        node.drivers[role] = driver
        if role == "peers":
            node.listening = False
        driver.start()
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
        """What the API does: open questions are asked again after a restart."""
        for where, ask in list(node.asked.values()):
            if where == group_of(role):
                self.post((node.name, "api", role), ("item", 0, vocabulary.encode(ask)))

    # ---- what happens ----

    def post(self, link: Link, frame: tuple[str, int, bytes]) -> None:
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
        """A question of the API; the answer will be in `node.answers`."""
        if number is None:
            node.questions[method] = node.questions.get(method, 0) + 1
            number = f"{method}:{node.questions[method]}"
        ask = Ask(id=number, method=method, params=params)
        node.asked[ask.id] = (role, ask)
        for name in receivers({"monitors": node.monitors}, role, ask):
            self.post((node.name, "api", name), ("item", 0, vocabulary.encode(ask)))
        return ask.id

    def answered(self, node: Node, role: str, item: Any) -> None:
        node.answer(item)

    def at_port(self, node: Node, role: str, item: Any) -> None:
        """An order to a port: done at once, its answers wait for delivery."""
        if isinstance(item, Log):
            return
        if role == "peers":
            self._wire_order(node, item)
            return
        answers = (
            node.purse.handle(item) if role == "wallet" else ports.chain_port(self.chain, item)
        )
        for answer in answers:
            self.hear_port(node, role, answer)

    # ---- moving ----

    def _choices(self) -> list[tuple[int, str, Any]]:
        """The heads of all queues: (ticket, kind, key)."""
        heads: list[tuple[int, str, Any]]
        heads = [(q[0][0], "link", key) for key, q in self.links.items() if q]
        heads += [(q[0][0], "port", key) for key, q in self.ports.items() if q]
        return heads + [(q[0][0], "wire", key) for key, q in self.wires.items() if q]

    def step(self) -> bool:
        """Deliver one message; False when nothing is under way and all is written."""
        choices = self._choices()
        if not choices:
            return self._write_what_waits()
        _, kind, key = self.random.choice(sorted(choices)) if self.random else min(choices)
        if self.tracing:
            self.trace.append(("deliver", kind, *key))
        if kind == "wire":
            self._deliver_wire(key)
        elif kind == "port":
            _, item = self.ports[key].popleft()
            self._hearing(type(item).__name__.encode())
            node = self.nodes[key[0]]
            self._guarded(node, key[1], lambda driver: driver.hear_port(item))
        else:
            self._deliver_link(key)
        return True

    def _write_what_waits(self) -> bool:
        """Nobody has said anything for a while: batches that waited for company are written."""
        found = False
        for node in self.nodes.values():
            for role, driver in list(node.drivers.items()):
                if driver.write_by is not None:
                    found = True
                    self.now = max(self.now, driver.write_by)
                    self._guarded(node, role, lambda driver: driver.tick())
        return found

    def _hearing(self, data: bytes) -> None:
        self._heard, self._dice = data, 0

    def _deliver_wire(self, key: tuple[str, str]) -> None:
        _, data = self.wires[key].popleft()
        self._hearing(data)
        sender, receiver = self.nodes[key[0]], self.nodes[key[1]]
        heard = peer.Received(node_id=sender.id, message=data)
        self._guarded(receiver, "peers", lambda driver: driver.hear_port(heard))

    def _deliver_link(self, key: Link) -> None:
        _, (kind, number, data) = self.links[key].popleft()
        self._hearing(data)
        name, sender, receiver = key
        if kind == "ack":
            work = lambda driver: driver.acknowledged(sender, number)  # noqa: E731
        else:
            item = vocabulary.decode_item(data)
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
        """The clock goes on, timers fire, and what follows is delivered."""
        self.tick(seconds)
        self.settle()

    def tick(self, seconds: float = 0.25) -> None:
        """The clock goes on and timers fire; nothing is delivered yet."""
        self.now += seconds
        for node in self.nodes.values():
            for role in list(node.drivers):
                self._guarded(node, role, lambda driver: driver.tick())

    def mine(self, count: int = 1) -> None:
        """Blocks, which all nodes then see."""
        self.settle()
        self.chain.mine(count)
        self.advance()

    # ---- kills ----

    def committed(self, node: str, role: str, when: str) -> None:
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

        What the victim had said and nobody has read yet is `heard` by the living, or lost.
        """
        self.crashes += 1
        self._switch()
        victims = node.roles if role == "*" else (role,)
        if heard:
            self._last_words(node, victims)
        for name in victims:
            self._drop(node, name)
        for name in victims:
            if name not in node.drivers:
                self.start(node, name)
        for name in victims:
            self._announce(node, name)

    def _last_words(self, node: Node, victims: tuple[str, ...]) -> None:
        """Bytes that were written before the death reach whoever lives."""
        drivers = {role: node.drivers.pop(role) for role in victims if role in node.drivers}
        for key in [key for key in self.links if key[0] == node.name and key[1] in victims]:
            while self.links.get(key) and key[2] in node.drivers:
                self._deliver_link(key)
        if "peers" in victims:
            for wire in [wire for wire in self.wires if wire[0] == node.name]:
                while self.wires.get(wire):
                    self._deliver_wire(wire)
        node.drivers.update(drivers)

    def stop(self, node: Node, role: str) -> None:
        """It is gone until `start_again`."""
        self._drop(node, role)

    def start_again(self, node: Node, role: str) -> None:
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
        if role == "peers":
            node.listening = False
            for other in self.nodes.values():
                self._cut_wire(node, other, tell_first=False)
        if role == "wallet":
            node.purse = ports.SimWallet(node.purse.seed)

    # ---- copies ----

    def copy(self) -> World:
        """The same world once more; both go on independently."""
        return fork.world(self)
