"""The wires between the nodes of a simulated world: dialled, cut, and in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, assert_never

from actors.testkit.node.node import Node
from actors.testkit.world import Head, Key, World
from protocol.peer import port as peer


class Wires(World):
    """The part of a world that is between its nodes."""

    nodes: dict[str, Node]
    wires: dict[tuple[str, str], deque[tuple[int, bytes]]]

    def heads(self) -> list[Head]:
        """Messages between nodes too."""
        found = super().heads()
        return found + [(q[0][0], "wire", key) for key, q in self.wires.items() if q]

    def receiver(self, kind: str, key: Key) -> tuple[str, str]:
        return (key[1], "peers") if kind == "wire" else super().receiver(kind, key)

    def disturbances(self, kind: str, key: Key) -> Iterator[tuple[Key, Callable[[Any], None]]]:
        """The connection breaks before or after a message."""
        if kind == "wire":
            for when in ("before", "after"):
                yield ("cut", *key, when), partial(_cut, key=key, when=when)

    def _deliver(self, kind: str, key: Any) -> None:
        if kind == "wire":
            self._deliver_wire(key)
        else:
            super()._deliver(kind, key)

    def _deliver_wire(self, key: tuple[str, str]) -> None:
        _, data = self.wires[key].popleft()
        self._hearing(data)
        sender, receiver = self.nodes[key[0]], self.nodes[key[1]]
        heard = peer.Received(node_id=sender.id, message=data)
        self._guarded(receiver, "peers", lambda driver: driver.hear_port(heard))

    def _last_words(self, node: Any, victims: tuple[str, ...]) -> None:
        super()._last_words(node, victims)
        if "peers" in victims:
            for wire in [wire for wire in self.wires if wire[0] == node.name]:
                while self.wires.get(wire):
                    self._deliver_wire(wire)

    def _wire_order(self, node: Node, item: peer.Order) -> None:
        match item:
            case peer.Listen():
                node.listening = True
            case peer.Dial():
                self._dial(node, item)
            case peer.Write():
                other = self._by_id(item.node_id)
                if other is not None and (node.name, other.name) in self.wires:
                    self._ticket += 1
                    self.wires[node.name, other.name].append((self._ticket, item.message))
            case peer.WhenDrained():
                self.hear_port(node, "peers", peer.Drained(node_id=item.node_id))
            case peer.Hangup():
                other = self._by_id(item.node_id)
                if other is not None:
                    self._cut_wire(node, other, tell_first=False)
            case peer.Pause():
                pass  # a wire of the kit holds any number of messages
            case _:
                assert_never(item)

    def _by_id(self, node_id: bytes) -> Node | None:
        return next((node for node in self.nodes.values() if node.id == node_id), None)

    def _dial(self, node: Node, item: peer.Dial) -> None:
        other = self._by_id(item.node_id)
        if other is None or not other.listening or "peers" not in other.drivers:
            self.hear_port(node, "peers", peer.Disconnected(node_id=item.node_id, reason="refused"))
            return
        if (node.name, other.name) in self.wires:
            self._cut_wire(node, other)
        self.wires[node.name, other.name] = deque()
        self.wires[other.name, node.name] = deque()
        for one, two, inbound in ((node, other, False), (other, node, True)):
            news = peer.Connected(node_id=two.id, inbound=inbound, host=two.name, port=9735)
            self.hear_port(one, "peers", news)

    def _cut_wire(self, one: Node, two: Node, *, tell_first: bool = True) -> None:
        if self.wires.pop((one.name, two.name), None) is None:
            return
        self.wires.pop((two.name, one.name), None)
        gone = "the connection broke"
        if tell_first:
            self.hear_port(one, "peers", peer.Disconnected(node_id=two.id, reason=gone))
        self.hear_port(two, "peers", peer.Disconnected(node_id=one.id, reason=gone))

    def cut(self, one: Node, two: Node) -> None:
        """The connection breaks; what is on its way is lost."""
        self._cut_wire(one, two)


def _cut(world: Wires, key: Key, when: str) -> None:
    if when == "after":
        world.step()
    world.cut(world.nodes[key[0]], world.nodes[key[1]])


def on_wire(world: Wires, sender: str, receiver: str, kind: int) -> bool:
    """Whether a message of this BOLT type is on its way."""
    queue = world.wires.get((sender, receiver), ())
    return any(int.from_bytes(data[:2], "big") == kind for _, data in queue)
