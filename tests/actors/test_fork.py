"""A copied world shares nothing with its original that either of them can change."""

from __future__ import annotations

from typing import Any

import msgspec

from actors.engine.driver import Driver
from actors.engine.table import Table
from actors.testkit.fingerprint import fingerprint
from actors.testkit.node import sentences
from actors.testkit.node.stories import tale
from actors.testkit.node.world import World
from actors.testkit.points import step_until


def _dump(value: Any, seen: dict[int, int] | None = None) -> Any:
    """Everything that is reachable, down to bytes and numbers."""
    seen = {} if seen is None else seen
    if value is None or isinstance(value, bool | int | float | str | bytes | bytearray):
        return value
    if id(value) in seen:
        return ("again", seen[id(value)])
    seen[id(value)] = len(seen)
    name = type(value).__name__
    if isinstance(value, msgspec.Struct):
        return name, [_dump(getattr(value, x), seen) for x in value.__struct_fields__]
    if isinstance(value, dict):
        return name, [(_dump(k, seen), _dump(v, seen)) for k, v in value.items()]
    if isinstance(value, set | frozenset):
        return name, sorted(repr(_dump(one, {})) for one in value)
    if isinstance(value, list | tuple) or hasattr(value, "popleft"):
        return name, [_dump(one, seen) for one in value]
    if hasattr(value, "__dict__") and not callable(value):
        if name in ("Machine", "Keeps", "System", "Segment", "Us", "Graph"):
            return name  # constants, or changed in a copy only; and caches of what follows
        if isinstance(value, Table):  # which twins share what is no difference
            return name, sorted((place, repr(_dump(row, {}))) for place, row in value)
        return name, _dump(vars(value), seen)
    return name


def _independent(world: World, sentences: list[Any]) -> None:
    before = _dump(world)
    twin = world.copy()
    assert _dump(twin) == before
    for say in sentences:
        say(twin)
    for node in list(twin.nodes.values()):
        for role in node.roles:
            twin.kill(node, role)
        twin.kill(node)
    twin.mine(2)
    twin.chain.reorganise(1)
    twin.settle()

    assert _dump(world) == before
    third = world.copy()
    third.settle()
    world.settle()
    assert fingerprint(world) == fingerprint(third) != fingerprint(twin)


def _drivers(world: World) -> list[Driver]:
    return [driver for node in world.nodes.values() for driver in node.drivers.values()]


def _address(world: World) -> None:
    for node in world.nodes.values():
        sentences.ask(node, "wallet", "newaddr")


def test_a_copy_goes_its_own_way() -> None:
    world = tale.begin()
    tale.open_it(world)
    _independent(world, [_address, *tale.SENTENCES[1:3]])


def test_a_copy_with_messages_under_way_goes_its_own_way() -> None:
    world = tale.begin()
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    sentences.connect(alice, bob)
    asked = sentences.to_open(bob, tale.CAPACITY_SAT)
    world.ask(alice, "funding", "fundchannel", **asked)
    step_until(world, lambda w: any(any(d.outbox.waiting.values()) for d in _drivers(w)))
    _independent(world, [tale.open_it, _address])
