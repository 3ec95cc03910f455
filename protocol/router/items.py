"""The router's rows."""

from __future__ import annotations

from protocol.values import Value


class Known(Value, frozen=True, kw_only=True):
    """Row "known": how much of the gossiper's graph the pages hold (see `gossip.items.Since`)."""

    epoch: bytes
    serial: int
    pages: int


class Page(Value, frozen=True, kw_only=True):
    """Row "page/<number>": some thousand channels as arrays, little-endian.

    scids 8 bytes each; ends 66 each; columns in the order of `graph.COLUMNS`, two int64 a channel.
    """

    scids: bytes
    ends: bytes
    columns: bytes
