"""One simulated node: its disks and drivers, and the world as each driver sees it."""

from __future__ import annotations

from typing import Any

from actors.engine.driver import Driver
from actors.engine.groups import group_of
from actors.engine.system import System
from actors.engine.table import Table
from protocol.machine import Answer, Ask, Moment
from storage.memory import Disk

LOG_LINES = 20


class Killed(Exception):
    """A kill at a durable write or a message of this actor."""

    def __init__(self, node: str, actor: str, *, heard: bool) -> None:
        super().__init__(f"{node}/{actor}")
        self.node, self.actor, self.heard = node, actor, heard


class Host:
    """The world, as one driver sees it."""

    def __init__(self, world: Any, node: Node, name: str) -> None:
        self.world, self.node, self.name = world, node, name

    def out(self, to: str, sequence: int, data: bytes) -> None:
        if to == self.world.asker:
            self.world.answered(self.node, self.name, self.world.system.decode(data))
            return
        self.world.post((self.node.name, self.name, to), ("item", sequence, data))

    def acknowledge(self, to: str, sequence: int) -> None:
        self.world.post((self.node.name, self.name, to), ("ack", sequence, b""))

    def port(self, item: Any) -> None:
        self.world.at_port(self.node, self.name, item)

    def moment(self) -> Moment:
        moment: Moment = self.world.moment(self.node.name, self.name)
        return moment

    def on_commit(self, when: str) -> None:
        self.world.committed(self.node.name, self.name, when)


class Node:
    """One node: its disks, and the drivers that are alive."""

    def __init__(self, world: Any, name: str) -> None:
        self.world, self.name = world, name
        self.system: System = world.system
        self.roles = tuple(one for one in self.system.names if one != world.asker)
        durable = [role for role in self.roles if self.system.child(role).durable]
        self.disks = {role: Disk() for role in durable}
        self.drivers: dict[str, Driver] = {}
        self.answers: dict[str, Answer] = {}
        self.asked: dict[str, tuple[str, Ask]] = {}
        self.questions: dict[str, int] = {}
        self.log: list[str] = []  # the last lines that its actors wrote for the operator
        self.defects: list[str] = []  # all lines of defects that ended nobody

    @property
    def settings(self) -> Any:
        return self.world.settings

    def machine(self, role: str) -> Any:
        return self.system.machine(role, self.settings)

    def starting(self, role: str) -> None:
        """A new incarnation is about to run."""

    def branched(self, twin: Any) -> None:
        """What a copy shares no longer with us, beyond disks and drivers."""

    def said(self, role: str, text: str) -> None:
        """An actor writes a line to the log."""
        self.log = [*self.log[1 - LOG_LINES :], f"{role}: {text}"]
        if " met a defect" in text:
            self.defects = [*self.defects, f"{role}: {text}"]

    def answer(self, item: Any) -> None:
        """An actor has answered: the question is open no longer."""
        if isinstance(item, Answer):
            number = item.id.partition("/")[2]
            self.answers[number] = item
            self.asked.pop(number, None)

    def row(self, role: str, key: str) -> Any:
        """A row of an actor, or of any of its group, by the text of its key: "segment/key".
        Raises `KeyError` for a segment that it does not keep."""
        tables = self._tables(role, key.partition("/")[0])
        return next((row for rows in tables if (row := rows.read(key)) is not None), None)

    def rows(self, role: str, segment: str) -> dict[str, Any]:
        """Of one segment of an actor, by the text of their keys. Raises `KeyError` for one that it
        does not keep."""
        tables = self._tables(role, segment)
        return {key: row for rows in tables for key, row in rows.shown(segment).items()}

    def _tables(self, role: str, segment: str) -> list[Table]:
        if role not in (*self.roles, *map(group_of, self.roles)):
            raise KeyError(f"nobody is called {role!r} on {self.name}")
        keeps = self.system.keeps[group_of(role)]
        if not segment.startswith("~") and segment not in keeps:
            raise KeyError(f"{role} keeps no segment {segment!r}")
        return [self.drivers[name].rows for name in self._members(role)]

    def _members(self, role: str) -> tuple[str, ...]:
        names = self.system.members(role) if role == group_of(role) else (role,)
        return tuple(name for name in names if name in self.drivers)
