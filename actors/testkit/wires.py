"""The wires between the nodes of a simulated world: dialled, cut, and in order."""

from __future__ import annotations

from collections import deque
from typing import Any

from actors.testkit.node import Node
from protocol.peer import items as peer


class Wires:
    """The part of a `World` that is between its nodes."""

    nodes: dict[str, Node]
    wires: dict[tuple[str, str], deque[tuple[int, bytes]]]
    ports: dict[tuple[str, str], deque[tuple[int, Any]]]
    _ticket: int

    def hear_port(self, node: Node, role: str, item: Any) -> None:
        self._ticket += 1
        self.ports.setdefault((node.name, role), deque()).append((self._ticket, item))

    def _wire_order(self, node: Node, item: Any) -> None:
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
