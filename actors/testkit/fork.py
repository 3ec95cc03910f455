"""The same world once more: what may change is copied, what is frozen is shared.

A search for crash points copies a world at every delivery, so that this is where its time goes.
Containers are copied one level deep, for what they hold is frozen; what is nested is named here,
and in `branched` of whoever adds to a world or a node.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any

from actors.engine.cold import Cold
from actors.engine.driver import Driver
from actors.testkit.site import Node

_CONTAINERS = frozenset({dict, list, set, deque, bytearray})


def shallow(thing: Any) -> Any:
    """A twin whose attributes are the same, but for containers of its own."""
    twin = object.__new__(type(thing))
    fields = twin.__dict__
    for name, value in thing.__dict__.items():
        fields[name] = value.copy() if type(value) in _CONTAINERS else value
    return twin


def queues(old: dict[Any, deque[Any]]) -> dict[Any, deque[Any]]:
    return {key: queue.copy() for key, queue in old.items()}


def world(old: Any) -> Any:
    """Of a `World` or of one that adds to it."""
    twin = shallow(old)
    twin.links, twin.ports = queues(old.links), queues(old.ports)
    if old.random is not None:
        twin.random = random.Random()
        twin.random.setstate(old.random.getstate())
    old.branched(twin)
    twin.nodes = {name: _node(node, twin) for name, node in old.nodes.items()}
    return twin


def _node(old: Node, of: Any) -> Node:
    twin: Node = shallow(old)
    twin.world = of
    old.branched(twin)
    twin.disks = {role: shallow(disk) for role, disk in old.disks.items()}
    twin.drivers = {role: _driver(driver, twin) for role, driver in old.drivers.items()}
    return twin


def _driver(old: Driver, node: Node) -> Driver:
    twin: Driver = shallow(old)
    host = shallow(old.host)
    host.world, host.node = node.world, node
    twin.host, twin.on_commit = host, host.on_commit
    twin.outbox = old.outbox.fork()
    twin.wakes = shallow(old.wakes)
    twin.letters = shallow(old.letters)
    if old.store is not None:
        store: Any = shallow(old.store)
        store.disk = node.disks[old.name]
        twin.store = twin.letters.store = store
    twin.rows = old.rows.fork(Cold(twin.store, twin.keeps))
    return twin
