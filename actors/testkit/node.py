"""One simulated node: its secrets, disks and drivers, and the world as each driver sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors import vocabulary
from actors.driver import Driver
from actors.roles import make_machine
from actors.shards import keeper, members
from actors.testkit import ports
from actors.tree import tree
from protocol.crypto.hashes import sha256
from protocol.crypto.keys import node_id
from protocol.machine import Answer, Ask, Moment
from protocol.opening import Policy
from storage.memory import Disk

if TYPE_CHECKING:
    from actors.testkit.world import World

# the questions of the API are put by the story itself
ROLES = tuple(child.name for child in tree(1) if child.name != "api")


class Killed(Exception):
    """A kill at a durable write or a message of this actor."""

    def __init__(self, node: str, actor: str, *, heard: bool) -> None:
        super().__init__(f"{node}/{actor}")
        self.node, self.actor, self.heard = node, actor, heard


class Host:
    """The world, as one driver sees it."""

    def __init__(self, world: World, node: Node, name: str) -> None:
        self.world, self.node, self.name = world, node, name

    def out(self, to: str, sequence: int, item: Any) -> None:
        if to == "api":
            self.world.answered(self.node, self.name, item)
            return
        data = vocabulary.encode(item)
        self.world.post((self.node.name, self.name, to), ("item", sequence, data))

    def acknowledge(self, to: str, sequence: int) -> None:
        self.world.post((self.node.name, self.name, to), ("ack", sequence, b""))

    def port(self, item: Any) -> None:
        self.world.at_port(self.node, self.name, item)

    def moment(self) -> Moment:
        return self.world.moment(self.node.name, self.name)

    def on_commit(self, when: str) -> None:
        self.world.committed(self.node.name, self.name, when)


class Node:
    """One node: its secrets, its disks, and the drivers that are alive."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.seed = sha256(b"seed of " + name.encode())
        self.id = node_id(self.seed)
        children = [child for child in tree(world.monitors) if child.name != "api"]
        self.roles = tuple(child.name for child in children)
        self.monitors = members("monitors", world.monitors)
        self.disks = {child.name: Disk() for child in children if child.durable}
        self.drivers: dict[str, Driver] = {}
        self.purse = ports.SimWallet(self.seed)
        self.policy = Policy(minimum_depth=3)
        self.listening = False
        self.answers: dict[str, Answer] = {}
        self.asked: dict[str, tuple[str, Ask]] = {}
        self.questions: dict[str, int] = {}

    def machine(self, role: str) -> Any:
        count = len(self.monitors)
        return make_machine(role, "regtest", self.seed, policy=self.policy, monitors=count)

    def answer(self, item: Any) -> None:
        if isinstance(item, Answer):
            self.answers[item.id] = item
            self.asked.pop(item.id, None)

    def keeper(self, cid: str) -> str:
        """Which monitor has this channel."""
        return keeper(self.monitors, bytes.fromhex(cid))

    def row(self, role: str, key: str) -> Any:
        """A row of an actor, or of any of its group."""
        tables = [self.drivers[name].rows for name in self._members(role)]
        return next((row for rows in tables if (row := rows.read(key)) is not None), None)

    def rows(self, role: str, segment: str) -> dict[str, Any]:
        tables = [self.drivers[name].rows for name in self._members(role)]
        return {key: row for rows in tables for key, row in rows.shown(segment).items()}

    def _members(self, role: str) -> tuple[str, ...]:
        members = self.monitors if role == "monitors" else (role,)
        return tuple(name for name in members if name in self.drivers)
