"""What a world at rest is, without its counters and the times themselves: two that are equal go on
alike.

Of a time it matters whether it has come; of an actor, whether it is going to wake by itself. What
it holds in memory alone counts as what is on its disk does.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import msgspec

from actors.engine.groups import group_of
from actors.engine.system import System
from actors.testkit.world import START, World

_YEAR = 366 * 86_400

Times = list[float]


def _timeless(value: Any, times: Times) -> Any:
    if isinstance(value, float | int) and START - _YEAR < value < START + _YEAR:
        times.append(value)
        return 0
    if isinstance(value, dict):
        return {str(key): _timeless(one, times) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_timeless(one, times) for one in value]
    return value


@lru_cache(maxsize=100_000)
def _row(system: System, role: str, key: str, data: bytes) -> tuple[bytes, Times]:
    value = system.keeps[group_of(role)].decode(key, data)
    plain, times = _plain(value)
    return role.encode() + key.encode() + plain, times


def _plain(value: Any) -> tuple[bytes, Times]:
    times: Times = []
    plain = msgspec.to_builtins(value, builtin_types=(bytes,), enc_hook=_is_there)
    return msgspec.msgpack.encode(_timeless(plain, times)), times


def _is_there(value: Any) -> str:
    """Of what has no fields, in memory only: a graph, a queue."""
    return type(value).__name__


def fingerprint(world: World) -> bytes:
    """Of a world at rest."""
    digest = hashlib.sha256()

    def add(plain: bytes, times: Times) -> None:
        digest.update(plain)
        digest.update(bytes(time > world.now for time in times))

    for name, node in world.nodes.items():
        digest.update(name.encode())
        for role, disk in node.disks.items():
            for key, data in sorted(disk.data.items()):
                if key[:2] == b"r/":
                    add(*_row(world.system, role, key[2:].decode(), data))
        for role, driver in sorted(node.drivers.items()):
            digest.update(f"{role} {driver.wakes.first is not None}".encode())
            for place, row in driver.rows.in_memory():
                add(place.encode(), [])
                add(*_plain(row))
        waiting = sorted(node.asked)
        digest.update(repr((waiting, {r: len(o) for r, o in _outboxes(node)})).encode())
    for more in world.at_rest():
        add(*_plain(more))
    return digest.digest()


def _outboxes(node: Any) -> list[tuple[str, list[Any]]]:
    return [
        (role, [item for items in driver.outbox.waiting.values() for item in items])
        for role, driver in node.drivers.items()
    ]
