"""What payments have taught us: which amounts passed a channel, and which did not.

Knowledge grows old: after an hour it is worth nothing, and in between so much less.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from protocol.router.graph import Graph
from protocol.router.messages import Learned, Limit
from protocol.values import Value

REMEMBER_SECONDS = 3_600.0
MAX_KNOWN = 10_000

Bounds = tuple[Any, Any]


class Learnt(Value, frozen=True, kw_only=True, tag="learnt"):
    """What was learned, newest last: what can pass and what cannot, and when."""

    known: tuple[tuple[Limit, bool, float], ...]


class _Edge(NamedTuple):
    """Largest amount seen to pass, smallest seen to fail, and when."""

    low_msat: int = 0
    low_at: float = 0.0
    high_msat: int | None = None
    high_at: float = 0.0


class Knowledge(Value, frozen=True, kw_only=True):
    """By (short channel id, direction); never changed in place."""

    edges: dict[tuple[bytes, int], _Edge] = {}

    def learn(self, item: Learned, now: float) -> Knowledge:
        """What a part has shown: edges that carried it, and one that did not."""
        edges = dict(self.edges)
        for limit in item.passed:
            _learn(edges, limit, True, now)
        for limit in item.failed:
            _learn(edges, limit, False, now)
        while len(edges) > MAX_KNOWN:
            del edges[next(iter(edges))]
        return self.but(edges=edges)

    def bounds(self, graph: Graph, now: float) -> Bounds:
        """Two arrays in the order of the graph's edges: what passes, and what does not any more."""
        order = graph.ordered()
        high = graph.columns()["capacity"].astype(float)
        low = np.zeros(len(high))
        for (scid, way), known in self.edges.items():
            edge, back = graph.edge(scid, way), graph.edge(scid, 1 - way)
            if edge is None or back is None:
                continue
            at, other = int(order.position[edge]), int(order.position[back])
            whole = high[at]
            worth = max(0.0, 1.0 - (now - known.low_at) / REMEMBER_SECONDS)
            low[at] = max(low[at], known.low_msat * worth)
            if known.high_msat is not None:
                worth = max(0.0, 1.0 - (now - known.high_at) / REMEMBER_SECONDS)
                ceiling = known.high_msat + (whole - known.high_msat) * (1.0 - worth)
                high[at] = max(min(high[at], ceiling), 0.0)
                # what one side lacks the other has
                low[other] = max(low[other], (whole - known.high_msat) * worth * 0.9)
        return np.minimum(low, high), high

    def rows(self) -> Learnt:
        """As it is kept."""
        known: list[tuple[Limit, bool, float]] = []
        for (scid, way), edge in self.edges.items():
            limit = Limit(scid=scid, direction=way, amount_msat=edge.low_msat)
            if edge.low_msat:
                known.append((limit, True, edge.low_at))
            if edge.high_msat is not None:
                known.append((limit.but(amount_msat=edge.high_msat), False, edge.high_at))
        return Learnt(known=tuple(known))


def remembered(row: Learnt | None) -> Knowledge:
    """From what was kept."""
    edges: dict[tuple[bytes, int], _Edge] = {}
    for limit, passed, at in row.known if row is not None else ():
        _learn(edges, limit, passed, at)
    return Knowledge(edges=edges)


def _learn(edges: dict[tuple[bytes, int], _Edge], limit: Limit, passed: bool, now: float) -> None:
    key = limit.scid, limit.direction
    known = edges.pop(key, _Edge())  # at the end again: the newest is forgotten last
    amount = limit.amount_msat
    if passed:
        high = (
            None if known.high_msat is not None and known.high_msat <= amount else known.high_msat
        )
        edges[key] = known._replace(low_msat=amount, low_at=now, high_msat=high)
    else:
        low = min(known.low_msat, max(0, amount - 1))
        edges[key] = known._replace(low_msat=low, high_msat=amount, high_at=now)
