"""A world of Lightning nodes: with a chain, wallets, and wires between them."""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from typing import Any, Self

from actors.engine.host import Switches
from actors.engine.system import System
from actors.testkit import fork
from actors.testkit.node import ports
from actors.testkit.node.chain import SimChain
from actors.testkit.node.node import Node
from actors.testkit.node.wires import Wires
from actors.testkit.world import START, Link
from actors.tree import NODE
from protocol.crypto.hashes import sha256
from protocol.machine import Log
from protocol.wallet import port
from protocol.wallet.rows import Position, WalletTx
from storage.memory import MemoryStore

__all__ = ["START", "Link", "World"]


@lru_cache
def _system(monitors: int) -> System:
    return NODE.sized(monitors=monitors)


class World(Wires):
    """All nodes of a story. `monitors`: how many share the channels of a node."""

    def __init__(
        self, *, seed: int | None = None, switches: Switches | None = None, monitors: int = 1
    ) -> None:
        super().__init__(_system(monitors), seed=seed, switches=switches, asker="api")
        self.chain = SimChain()
        self.wires: dict[tuple[str, str], deque[tuple[int, bytes]]] = {}

    # ---- nodes ----

    def node(self, name: str, *, coins: int = 2) -> Node:
        """A running node that owns some confirmed coins of 50 bitcoin."""
        self._coins = coins
        node: Node = super().node(name)
        return node

    def _new_node(self, name: str) -> Node:
        node = Node(self, name)
        for index in range(self._coins):
            self.chain.mine(1, node.purse.script(150 + index))
        self._give(node, self.chain.blocks[-self._coins :] if self._coins else [])
        return node

    def _give(self, node: Node, blocks: list[bytes]) -> None:
        """The coins are there before the first start."""
        store = MemoryStore(node.disks["wallet"])
        keeps = self.system.keeps["wallet"]
        changes: dict[bytes, bytes | None] = {}
        height = self.chain.height - len(blocks)
        for block in blocks:
            height += 1
            found = node.purse.handle(port.Examine(height=height, raw=block))[0]
            for raw in found.ours:
                row = WalletTx(raw=raw, height=height, block=found.hash, time=found.time)
                key = f"wtx/{sha256(raw).hex()}"
                changes[b"r/" + key.encode()] = keeps.encode(key, row)
        tip = Position(height=height, hash=self.chain.hash(height), external=-1, internal=-1)
        changes[b"r/position"] = keeps.encode("position", tip)
        store.commit(changes)

    def at_port(self, node: Any, role: str, item: Any) -> None:
        """As in the kit; what `peers` orders goes to the wires."""
        if isinstance(item, Log):
            node.said(role, item.text)
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

    def mine(self, count: int = 1) -> None:
        """Blocks, which all nodes then see."""
        self.settle()
        self.chain.mine(count)
        self.advance()

    def _drop(self, node: Any, role: str) -> None:
        super()._drop(node, role)
        if role == "peers":
            node.listening = False
            for other in self.nodes.values():
                self._cut_wire(node, other, tell_first=False)
        if role == "wallet":
            node.purse = ports.SimWallet(node.purse.seed)

    def branched(self, twin: Self) -> None:
        """The chain and the wires are its own."""
        twin.chain = fork.shallow(self.chain)
        twin.wires = fork.queues(self.wires)

    def at_rest(self) -> list[Any]:
        """The chain, and who is connected."""
        lives = [
            [key, live]
            for node in self.nodes.values()
            for key, live in sorted(node.rows("peers", "~live").items())
        ]
        return [self.chain.height, sorted(self.chain.mempool), *lives]
