"""The graph of channels as arrays, and the cheapest path through it.

Every channel is two edges, one for each end that may forward. An edge's numbers stand at the same
place in all arrays; a policy is changed in place, and only a new or a vanished channel makes the
order of the edges anew, at the next search. The search runs backwards from the payee (whose amount
is known), at constant amount; the exact amounts are then made along the path found, and an edge
that they do not fit is left out of another search.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from protocol.gossip.announce import Policy
from protocol.router.messages import Capacity, Hop
from protocol.scid import scid_from_text

BLOCKS_PER_YEAR = 52_596
MAX_HOPS, ATTEMPTS = 20, 20
COLUMNS = ("enabled", "minimum", "maximum", "base", "ppm", "delta", "capacity")


class NoRoute(Exception):
    """One sentence: why there is no path."""


class RouteRequest(NamedTuple):
    """`exclude`: (scid, direction) pairs, `without`: nodes that must not be used.

    `final_cltv`: blocks at the end. `riskfactor`: percent a year that a locked amount costs, as
    Core Lightning has it.
    """

    source: bytes
    target: bytes
    amount_msat: int
    final_cltv: int = 9
    riskfactor: float = 10.0
    max_hops: int = MAX_HOPS
    exclude: frozenset[tuple[bytes, int]] = frozenset()
    without: frozenset[bytes] = frozenset()


class Graph:
    """Node ids are 33 bytes, short channel ids 8."""

    def __init__(self) -> None:
        self._nodes: dict[bytes, int] = {}
        self._names: list[bytes] = []
        self._channels: dict[bytes, int] = {}
        self._free: list[int] = []
        self._ends = np.zeros((0, 2), np.int64)
        self._edges = {name: np.zeros(0, np.int64) for name in COLUMNS}
        self._order: EdgeOrder | None = None
        self._columns: dict[str, Any] | None = None
        self._columns_of: EdgeOrder | None = None
        self.barred: frozenset[bytes] = frozenset()  # nodes that nothing may be routed through

    def __deepcopy__(self, _memo: Any) -> Graph:
        return self  # changed only between `copy` and the first use

    def copy(self) -> Graph:
        """To be changed, while others still use this one."""
        twin = Graph()
        twin._nodes, twin._names = dict(self._nodes), list(self._names)
        twin._channels, twin._free = dict(self._channels), list(self._free)
        twin._ends = self._ends.copy()
        twin._edges = {name: column.copy() for name, column in self._edges.items()}
        twin._order = self._order
        twin.barred = self.barred
        return twin

    # ---- what is known ----

    def scids(self) -> set[bytes]:
        return set(self._channels)

    def __len__(self) -> int:
        return len(self._channels)

    def __contains__(self, scid: object) -> bool:
        return scid in self._channels

    def _node(self, node_id: bytes) -> int:
        found = self._nodes.get(node_id)
        if found is None:
            found = self._nodes[node_id] = len(self._names)
            self._names.append(node_id)
        return found

    def add_channel(self, scid: bytes, nodes: tuple[bytes, bytes], capacity_sat: int) -> None:
        """`nodes` in ascending order: the first is direction 0. Without a policy it is not used."""
        if scid in self._channels:
            return
        place = self._free.pop() if self._free else self._grown()
        self._channels[scid] = place
        self._ends[place] = [self._node(node) for node in nodes]
        for which in (0, 1):
            self._edges["enabled"][2 * place + which] = 0
            self._edges["capacity"][2 * place + which] = capacity_sat * 1000
        self._order = None

    def _grown(self) -> int:
        """The first of some new places."""
        count = len(self._ends)
        more = max(1024, count // 2)
        self._ends = np.concatenate([self._ends, np.full((more, 2), -1, np.int64)])
        for name, column in self._edges.items():
            self._edges[name] = np.concatenate([column, np.zeros(2 * more, np.int64)])
        self._free.extend(range(count + more - 1, count, -1))
        return count

    def remove_channel(self, scid: bytes) -> None:
        """Both directions; nothing if it is not known."""
        self._columns = None
        place = self._channels.pop(scid, None)
        if place is not None:
            self._ends[place] = -1
            self._edges["enabled"][2 * place : 2 * place + 2] = 0
            self._free.append(place)
            self._order = None

    def set_policy(self, scid: bytes, direction: int, policy: Policy) -> None:
        """What the end `direction` asks for forwarding over its channel."""
        edge = 2 * self._channels[scid] + direction
        self._columns = None
        columns = self._edges
        columns["enabled"][edge] = not policy.disabled
        columns["minimum"][edge] = min(policy.htlc_minimum_msat, 1 << 62)
        columns["maximum"][edge] = min(policy.htlc_maximum_msat, int(columns["capacity"][edge]))
        columns["base"][edge] = policy.fee_base_msat
        columns["ppm"][edge] = policy.fee_proportional_millionths
        columns["delta"][edge] = policy.cltv_expiry_delta

    # ---- pages (see `pages`) ----

    def places(self) -> list[tuple[bytes, int]]:
        """(short channel id, place) of every channel, in order of the ids."""
        return sorted(self._channels.items())

    def ends_of(self, place: int) -> bytes:
        """The ids of both nodes (66 bytes) of the channel at this place."""
        one, two = (int(number) for number in self._ends[place])
        first, second = self._names[one], self._names[two]
        return first + second

    def columns_of(self, places: list[int]) -> bytes:
        """All columns of these channels, little-endian int64."""
        edges = np.array(places, np.int64)[:, None] * 2 + np.arange(2)
        return bytes(
            np.stack([self._edges[name][edges] for name in COLUMNS]).astype("<i8").tobytes()
        )

    def add_page(self, scids: list[bytes], ends: list[tuple[bytes, bytes]], columns: Any) -> None:
        """New channels at once; `columns`: (column, channel, direction)."""
        places = []
        for scid in scids:
            place = self._free.pop() if self._free else self._grown()
            self._channels[scid] = place
            places.append(place)
        at = np.array(places, np.int64)
        self._ends[at] = [[self._node(one), self._node(two)] for one, two in ends]
        for name, values in zip(COLUMNS, columns, strict=True):
            self._edges[name].reshape(-1, 2)[at] = values
        self._order = None

    # ---- the search ----

    def route(self, request: RouteRequest) -> list[Hop]:
        """The cheapest path. Raises `NoRoute`."""
        if request.source == request.target:
            raise NoRoute("that is ourselves")
        for node in (request.source, request.target):
            if node not in self._nodes:
                raise NoRoute(f"node {node.hex()} has no public channel that we know of")
        order = self.ordered()
        source, target = self._nodes[request.source], self._nodes[request.target]
        weights = self._weights(order, source, request)
        for _ in range(ATTEMPTS):
            edges = order.path(weights, source, target)
            hops, misfit = self._priced(edges, request)
            if misfit is None:
                if len(hops) > request.max_hops:
                    raise NoRoute(f"the cheapest path has {len(hops)} hops")
                return hops
            weights[order.position[misfit]] = np.inf
        raise NoRoute("no path carries the amount")

    def ordered(self) -> EdgeOrder:
        """The edges by node, made anew only after a channel came or went."""
        if self._order is None:
            self._order = EdgeOrder(self._ends, len(self._names))
        return self._order

    def _weights(self, order: EdgeOrder, source: int, request: RouteRequest) -> Any:
        """What each edge costs at this amount, in millisatoshi; what cannot be used is infinite."""
        amount = request.amount_msat
        column = self.columns()
        fee = column["base"] + amount * column["ppm"].astype(float) / 1_000_000
        fee[order.froms == source] = 0  # our own channels cost us nothing
        risk = request.riskfactor / (100 * BLOCKS_PER_YEAR) * amount
        weights = fee + column["delta"] * risk + 1.0  # of equal ones the shorter
        fits = (column["enabled"] == 1) & (column["minimum"] <= amount)
        weights[~(fits & (column["maximum"] >= amount))] = np.inf
        for scid, direction in request.exclude:
            if scid in self._channels:
                weights[order.position[2 * self._channels[scid] + direction]] = np.inf
        for node in request.without | self.barred - {request.target}:
            if node in self._nodes:
                weights[order.froms == self._nodes[node]] = np.inf
        return weights

    def _priced(self, edges: list[int], request: RouteRequest) -> tuple[list[Hop], int | None]:
        """The exact amounts, from the payee backwards; or an edge that they do not fit."""
        amount, delay = request.amount_msat, request.final_cltv
        hops: list[Hop] = []
        for number, edge in reversed(list(enumerate(edges))):
            column = self.terms(edge)
            if not column["minimum"] <= amount <= column["maximum"]:
                return [], edge
            hops.append(self.hop(edge, amount, delay))
            if number:  # the first edge is our own
                amount += column["base"] + amount * column["ppm"] // 1_000_000
                delay += column["delta"]
        return hops[::-1], None

    # ---- one edge ----

    def node(self, node_id: bytes) -> int | None:
        """The number of a node (33 bytes); None if it has no channel."""
        return self._nodes.get(node_id)

    def edge(self, scid: bytes, direction: int) -> int | None:
        """The number of one direction of a channel; None if it is not known."""
        place = self._channels.get(scid)
        return None if place is None else 2 * place + direction

    def terms(self, edge: int) -> dict[str, int]:
        """What an edge demands, by the names of `COLUMNS`."""
        return {name: int(values[edge]) for name, values in self._edges.items()}

    def hop(self, edge: int, amount_msat: int, delay: int) -> Hop:
        """An edge as a hop of a route."""
        place, direction = divmod(edge, 2)
        order = self.ordered()
        if order.scids is None:
            order.scids = {place: scid for scid, place in self._channels.items()}
        return Hop(
            scid=order.scids[place],
            direction=direction,
            node_id=self._names[int(self._ends[place, 1 - direction])],
            amount_msat=amount_msat,
            delay=delay,
        )

    def capacities(self, node_id: bytes) -> tuple[Capacity, ...]:
        """The channels of any node, as full as they may be: what its routes begin with."""
        order, number = self.ordered(), self._nodes.get(node_id)
        edges = order.edges[order.froms == number] if number is not None else ()
        found = []
        for edge in (int(edge) for edge in edges):
            terms = self.terms(edge)
            hop = self.hop(edge, 0, 0)
            found.append(
                Capacity(
                    channel_id=hop.scid,
                    scid=hop.scid,
                    peer=hop.node_id,
                    spendable_msat=terms["maximum"],
                    minimum_msat=terms["minimum"],
                    ready=terms["enabled"] == 1,
                )
            )
        return tuple(found)

    def columns(self) -> dict[str, Any]:
        """All columns in the order of `ordered()`, kept until something changes."""
        order = self.ordered()
        if self._columns is None or self._columns_of is not order:
            self._columns = {name: values[order.edges] for name, values in self._edges.items()}
            self._columns_of = order
        return self._columns


class EdgeOrder:
    """All edges ordered by the node that they lead to, then by the one that they come from."""

    def __init__(self, ends: Any, nodes: int) -> None:
        used = np.flatnonzero(ends[:, 0] >= 0)
        froms = ends[used].reshape(-1)
        tos = ends[used][:, ::-1].reshape(-1)
        edges = np.stack([2 * used, 2 * used + 1], axis=1).reshape(-1)
        keys = tos * nodes + froms
        order = np.argsort(keys, kind="stable")
        self.nodes = nodes
        self.edges, self.froms = edges[order], froms[order]
        self.keys = keys[order]
        self.starts = np.searchsorted(tos[order], np.arange(nodes + 1))
        self.position = np.zeros(2 * len(ends), np.int64)
        self.position[self.edges] = np.arange(len(self.edges))
        self.scids: dict[int, bytes] | None = None

    def towards(self, weights: Any, target: int) -> tuple[Any, Any]:
        """-> what it costs from every node to the target, and to which node each goes next."""
        # it takes as long as all other imports: not before somebody asks for a route
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import dijkstra

        matrix = csr_array((weights, self.froms, self.starts), shape=(self.nodes, self.nodes))
        distance, following = dijkstra(matrix, indices=target, return_predecessors=True)
        return distance, following

    def path(self, weights: Any, source: int, target: int) -> list[int]:
        """The edges from source to target. Raises `NoRoute`."""
        distance, following = self.towards(weights, target)
        if not np.isfinite(distance[source]):
            raise NoRoute("no path with enough capacity is known")
        return self.edges_along(weights, following, source, target)

    def edges_along(self, weights: Any, following: Any, source: int, target: int) -> list[int]:
        """The edges from `source` to `target`, where each node has one that follows."""
        found, at = [], source
        while at != target:
            after = int(following[at])
            found.append(self._cheapest(weights, after * self.nodes + at))
            at = after
        return found

    def _cheapest(self, weights: Any, key: int) -> int:
        """Of the parallel channels between two nodes."""
        first, last = np.searchsorted(self.keys, [key, key + 1])
        return int(self.edges[first + int(np.argmin(weights[first:last]))])


def excluded(
    texts: Iterable[str],
) -> tuple[frozenset[tuple[bytes, int]], frozenset[bytes]]:
    """Core Lightning's "scid/direction" words and node ids. Raises ValueError."""
    ways, nodes = set(), set()
    for text in texts:
        name, _, which = text.partition("/")
        scid = scid_from_text(name)
        if re.fullmatch("0[23][0-9a-f]{64}", text):
            nodes.add(bytes.fromhex(text))
        elif scid is None or which not in ("", "0", "1"):
            raise ValueError(f"{text[:80]!r} is neither short_channel_id/direction nor a node id")
        else:
            ways |= {(scid, int(which))} if which else {(scid, 0), (scid, 1)}
    return frozenset(ways), frozenset(nodes)
