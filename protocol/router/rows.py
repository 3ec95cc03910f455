"""What the router keeps."""

from __future__ import annotations

from protocol.gossip.messages import Change
from protocol.router.graph import Graph
from protocol.router.liquidity import Knowledge, Learnt
from protocol.segment import Segment
from protocol.values import Value


class Known(Value, frozen=True, kw_only=True, tag="known"):
    """How much of the gossiper's graph the pages hold (see `gossip.messages.Since`)."""

    epoch: bytes
    serial: int
    pages: int


class Page(Value, frozen=True, kw_only=True, tag="page"):
    """Some thousand channels as arrays, little-endian.

    scids 8 bytes each; ends 66 each; columns in the order of `graph.COLUMNS`, two int64 a channel.
    """

    scids: bytes
    ends: bytes
    columns: bytes


class Waiting(Value, frozen=True, kw_only=True):
    """Changes that no search has needed yet."""

    changes: tuple[Change, ...]


KNOWN = Segment("known", Known, by=())
PAGES = Segment("page", Page, by=(int,), cold=True)
LIQUIDITY = Segment("liquidity", Learnt, by=())

KEEPS = (KNOWN, PAGES, LIQUIDITY)

GRAPH = Segment("~graph", Graph, by=())
KNOWLEDGE = Segment("~knowledge", Knowledge, by=())
KNOWN_NOW = Segment("~known", Known, by=())  # what the graph in memory holds
WAITING = Segment("~waiting", Waiting, by=(int,))  # in the order in which they were heard
HEARD = Segment("~heard", int, by=())
GATHERED = Segment("~gathered", int, by=())  # changes that wait
SAVE_AT = Segment("~save_at", float, by=())
TEACH_AT = Segment("~teach_at", float, by=())
