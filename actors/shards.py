"""Several like actors share the work: which of them keeps a channel.

A group's members are numbered from 1 ("monitors-1"); a group of one has no number. What is said to
the group goes to the member that keeps the channel that it is about, or, about none, to all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protocol.machine import Ask
from protocol.monitor.items import Guard

Groups = Mapping[str, tuple[str, ...]]


def members(group: str, count: int) -> tuple[str, ...]:
    if count == 1:
        return (group,)
    return tuple(f"{group}-{number}" for number in range(1, count + 1))


def group_of(name: str) -> str:
    return name.partition("-")[0]


def receivers(groups: Groups, to: str, item: Any) -> tuple[str, ...]:
    """Who is meant by `to`: a member, or the group (see above)."""
    names = groups.get(to)
    if names is None:
        return (to,)
    channel = _channel(item)
    return names if channel is None else (keeper(names, channel),)


def keeper(names: tuple[str, ...], channel_id: bytes) -> str:
    """The first bytes of a channel's id (32 bytes) are those of a transaction's: evenly spread."""
    return names[int.from_bytes(channel_id[:4], "big") % len(names)]


def _channel(item: Any) -> bytes | None:
    if isinstance(item, Guard):
        return item.channel.id
    if isinstance(item, Ask):
        channel = item.params.get("channel_id")
        return None if channel is None else bytes.fromhex(channel)
    found: bytes | None = getattr(item, "channel_id", None)
    return found
