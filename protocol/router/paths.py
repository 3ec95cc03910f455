"""Routes for a payment: over our channels as they are now, in one part or in several.

The cost of an edge is its fee, what locked money costs, and a penalty for the chance that it does
not carry the amount: unknown liquidity is taken as uniform between what is known to pass and what
is known not to (Pickhardt and Richter, 2021). The whole amount is tried first; where no path
carries it, or only an unlikely one, parts are halved, and each part takes away capacity of those
before it.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from protocol.gossip.announce import direction
from protocol.invoice import RouteHop
from protocol.router.graph import BLOCKS_PER_YEAR, EdgeOrder, Graph
from protocol.router.liquidity import Bounds, Knowledge
from protocol.router.messages import Capacity, FindRoutes, Hop, Limit, Route, RoutesFound

RISK_PER_CENT = 10.0
PENALTY_BASE_MSAT, PENALTY_PPM = 500.0, 2_000.0
LEAST_PART_MSAT = 5_000
LIKELY = 0.5
ATTEMPTS, MAX_HOPS = 6, 20


class Plan(NamedTuple):
    """Routes that make up the amount, and how likely all of them pass."""

    routes: tuple[Route, ...]
    probability: float

    @property
    def fee_msat(self) -> int:
        """Of all its routes."""
        return sum(route.sent_msat - route.amount_msat for route in self.routes)


class Nothing(Exception):
    """No route. `code` is Core Lightning's; `hopeless`: nor will there be one soon."""

    def __init__(self, text: str, code: int = 205, *, hopeless: bool = False) -> None:
        super().__init__(text)
        self.code, self.hopeless = code, hopeless


def find(graph: Graph, us: bytes, ask: FindRoutes, known: Knowledge, now: float) -> RoutesFound:
    """Pure. The best of a few ways to split the amount."""
    try:
        _check_funds(ask)
        plan = _best(graph, us, ask, known.bounds(graph, now))
    except Nothing as error:
        return RoutesFound(
            payment=ask.payment,
            number=ask.number,
            reason=str(error),
            code=error.code,
            hopeless=error.hopeless,
        )
    return RoutesFound(payment=ask.payment, number=ask.number, routes=plan.routes)


def _check_funds(ask: FindRoutes) -> None:
    ready = sum(capacity.spendable_msat for capacity in ask.capacities if capacity.ready)
    if ready < ask.amount_msat:
        more = sum(capacity.spendable_msat for capacity in ask.capacities)
        text = f"our channels can send {ready} msat now"
        raise Nothing(text, hopeless=more < ask.amount_msat)


def _best(graph: Graph, us: bytes, ask: FindRoutes, bounds: Bounds) -> Plan:
    found: Plan | None = None
    failed: Nothing | None = None
    largest = ask.amount_msat
    for _ in range(4 if ask.most_parts > 1 else 1):
        try:
            plan = _Search(graph, us, ask, bounds).plan(largest)
        except Nothing as error:
            failed = failed or error
        else:
            if found is None or plan.probability > found.probability * 1.1:
                found = plan
            if found.probability >= LIKELY:
                break
        largest = -(-largest // 2)
        if largest < LEAST_PART_MSAT:
            break
    if found is None:
        assert failed is not None
        raise failed
    return found


class _Search:
    """One way to split: every part that is found takes capacity from the next."""

    def __init__(self, graph: Graph, us: bytes, ask: FindRoutes, bounds: Bounds) -> None:
        self.graph, self.us, self.ask = graph, us, ask
        self.order: EdgeOrder = graph.ordered()
        self.column = graph.columns()
        self.low, self.high = bounds
        self.used = np.zeros(len(self.order.edges))
        self.caps = self.column["maximum"].astype(float)
        self.rates = self.column["ppm"] / 1_000_000
        self.closed = self._closed()
        self.hinted: dict[tuple[bytes, int], int] = {}  # what is known of the hints' channels
        self.capacities = {
            capacity.channel_id: capacity for capacity in ask.capacities if capacity.ready
        }
        for limit in ask.flying:
            self._occupy(limit.scid, limit.direction, limit.amount_msat)
        for limit in ask.limits:
            self._cap(limit)

    def _closed(self) -> Any:
        closed = self.column["enabled"] != 1
        banned = {*self.ask.without, *self.graph.barred, self.us} - {self.ask.target}
        for number in (self.graph.node(node) for node in banned):
            if number is not None:
                closed |= self.order.froms == number
        return closed

    def _position(self, scid: bytes, way: int) -> int | None:
        edge = self.graph.edge(scid, way)
        return None if edge is None else int(self.order.position[edge])

    def _occupy(self, scid: bytes, way: int, amount_msat: int) -> None:
        at = self._position(scid, way)
        if at is not None:
            self.used[at] += amount_msat

    def _cap(self, limit: Limit) -> None:
        at, way = self._position(limit.scid, limit.direction), (limit.scid, limit.direction)
        self.hinted[way] = min(self.hinted.get(way, limit.amount_msat), limit.amount_msat)
        if at is not None:
            self.caps[at] = min(self.caps[at], limit.amount_msat)
        for cid, capacity in self.capacities.items():
            if capacity.scid == limit.scid and direction(self.us, capacity.peer) == limit.direction:
                least = min(capacity.spendable_msat, limit.amount_msat)
                self.capacities[cid] = capacity.but(spendable_msat=least)

    # ---- parts ----

    def plan(self, largest_msat: int) -> Plan:
        left, fee_left = self.ask.amount_msat, self.ask.most_fee_msat
        size, likely = largest_msat, 1.0
        least = max(LEAST_PART_MSAT, self.ask.amount_msat // (2 * self.ask.most_parts))
        routes: list[Route] = []
        while left:
            last = len(routes) == self.ask.most_parts - 1
            size = left if last else min(size, left)
            share = fee_left if last else max(fee_left * size // left, min(fee_left, 1_000))
            try:
                route = self._part(size, share)
            except Nothing:
                if last or size // 2 < least:
                    raise
                size = -(-size // 2)
                continue
            routes.append(route)
            likely *= route.probability
            left -= size
            fee_left -= route.sent_msat - route.amount_msat
            self._take(route)
        return Plan(tuple(routes), likely)

    def _take(self, route: Route) -> None:
        capacity = self.capacities[route.channel_id]
        left = capacity.spendable_msat - route.sent_msat
        self.capacities[route.channel_id] = capacity.but(spendable_msat=left)
        for hop in route.hops[1:]:
            self._occupy(hop.scid, hop.direction, hop.amount_msat)
            if (hop.scid, hop.direction) in self.hinted:
                self.hinted[hop.scid, hop.direction] -= hop.amount_msat

    def _part(self, amount_msat: int, most_fee_msat: int) -> Route:
        """The best path over one of our channels, to the payee or to a hint's first node."""
        ends: list[tuple[RouteHop, ...]] = [()] if self._is_public() else []
        ends += [hint for hint in self.ask.hints if hint]
        routes: list[Route] = []
        failed = Nothing("the payee has no channel that we know of", hopeless=True)
        for hint in ends or [()]:
            try:
                routes.append(self._to(hint, amount_msat))
            except Nothing as error:
                failed = error
        if not routes:
            raise failed
        route = min(routes, key=lambda r: r.sent_msat - 1_000 * math.log(max(r.probability, 1e-9)))
        if route.sent_msat - amount_msat > most_fee_msat:
            text = f"the cheapest route costs {route.sent_msat - amount_msat} msat"
            raise Nothing(text, 206, hopeless=True)
        return route

    def _is_public(self) -> bool:
        peers = {capacity.peer for capacity in self.capacities.values()}
        return self.graph.node(self.ask.target) is not None or self.ask.target in peers

    def _to(self, hint: tuple[RouteHop, ...], amount_msat: int) -> Route:
        closed = {*self.ask.without, self.us}
        if any(hop.node_id in closed for hop in hint):
            raise Nothing("a node of the hint does not relay")
        tail = _hinted(hint, self.ask.target, amount_msat, self.ask.final_cltv)
        if any(
            hop.amount_msat > self.hinted.get((hop.scid, hop.direction), 1 << 63) for hop in tail
        ):
            raise Nothing("the hinted channel does not carry the amount")
        entry = hint[0].node_id if hint else self.ask.target
        entering, delay = amount_msat, self.ask.final_cltv
        if tail:
            first = hint[0]
            entering = tail[0].amount_msat + _fee(
                first.fee_base_msat, first.fee_proportional_millionths, tail[0].amount_msat
            )
            delay = tail[0].delay + first.cltv_expiry_delta
        weights = self._weights(entering)
        target = self.graph.node(entry)
        for _ in range(ATTEMPTS):
            capacity, edges = self._path(weights, entry, target, entering)
            hops, misfit = self._priced(capacity, edges, entry, entering, delay)
            if misfit is None:
                if len(hops) + len(tail) > MAX_HOPS:
                    raise Nothing("the route has too many hops", hopeless=True)
                if hops[0].delay > self.ask.most_delay:
                    raise Nothing("the route would lock the money for too long", hopeless=True)
                passing = self._chance(edges, hops)
                return Route(
                    channel_id=capacity.channel_id, hops=(*hops, *tail), probability=passing
                )
            weights[misfit] = np.inf
        raise Nothing("no path carries the amount")

    def _weights(self, amount: int) -> Any:
        column = self.column
        fee = column["base"] + amount * self.rates
        risk = RISK_PER_CENT / (100 * BLOCKS_PER_YEAR) * amount
        wanted = amount + self.used
        passing = (self.high - wanted) / np.maximum(self.high - self.low, 1.0)
        doubt = np.log(np.clip(passing, 1e-12, 1.0))
        weights = fee + column["delta"] * risk + 1.0
        weights -= doubt * (PENALTY_BASE_MSAT + amount * (PENALTY_PPM / 1_000_000))
        unfit = self.closed | (column["minimum"] > amount) | (self.caps < amount)
        weights[unfit | (wanted >= self.high) & (wanted > self.low)] = np.inf
        return weights

    def _path(
        self, weights: Any, entry: bytes, target: int | None, amount: int
    ) -> tuple[Capacity, list[int]]:
        """Over which of our channels, and the edges behind it."""
        capacities = [
            capacity
            for capacity in self.capacities.values()
            if capacity.peer not in self.ask.without
        ]
        able = [
            capacity
            for capacity in capacities
            if capacity.minimum_msat <= amount <= capacity.spendable_msat
        ]
        if not able:
            raise Nothing("none of our channels can send that much in one part")
        direct = [capacity for capacity in able if capacity.peer == entry]
        if direct:
            return max(direct, key=lambda capacity: capacity.spendable_msat), []
        if target is None:
            raise Nothing("the payee has no channel that we know of", hopeless=True)
        distance, following = self.order.towards(weights, target)
        places = [(capacity, self.graph.node(capacity.peer)) for capacity in able]
        reach = [(float(distance[at]), capacity, at) for capacity, at in places if at is not None]
        reach = [one for one in reach if math.isfinite(one[0])]
        if not reach:
            raise Nothing("no path with enough capacity is known", hopeless=True)
        _, capacity, at = min(reach, key=lambda one: (one[0], -one[1].spendable_msat))
        return capacity, self.order.edges_along(weights, following, at, target)

    def _priced(
        self, capacity: Capacity, edges: list[int], entry: bytes, amount: int, delay: int
    ) -> tuple[list[Hop], int | None]:
        """Exact amounts from the far end; or the position of an edge that they do not fit."""
        hops: list[Hop] = []
        for edge in reversed(edges):
            terms, at = self.graph.terms(edge), int(self.order.position[edge])
            if not terms["minimum"] <= amount <= self.caps[at]:
                return [], at
            hops.append(self.graph.hop(edge, amount, delay))
            amount += _fee(terms["base"], terms["ppm"], amount)
            delay += terms["delta"]
        if amount > capacity.spendable_msat:
            raise Nothing("our channel cannot send the fees too")
        first = Hop(
            scid=capacity.scid,
            direction=direction(self.us, capacity.peer),
            node_id=capacity.peer,
            amount_msat=amount,
            delay=delay,
        )
        return [first, *reversed(hops)], None

    def _chance(self, edges: list[int], hops: list[Hop]) -> float:
        chance = 1.0
        for edge, hop in zip(edges, hops[1:], strict=True):
            at = int(self.order.position[edge])
            wanted, low, high = hop.amount_msat + self.used[at], self.low[at], self.high[at]
            if wanted > low:
                chance *= max(0.0, float((high - wanted) / (high - low)))
        return chance


def _fee(base: int, ppm: int, amount: int) -> int:
    return base + amount * ppm // 1_000_000


def _hinted(hint: tuple[RouteHop, ...], target: bytes, amount: int, delay: int) -> tuple[Hop, ...]:
    """The private channels at the end: amounts from the payee backwards."""
    hops: list[Hop] = []
    for place in range(len(hint) - 1, -1, -1):
        step = hint[place]
        following = hint[place + 1].node_id if place + 1 < len(hint) else target
        if place + 1 < len(hint):
            after = hint[place + 1]
            amount += _fee(after.fee_base_msat, after.fee_proportional_millionths, amount)
            delay += after.cltv_expiry_delta
        way = direction(step.node_id, following)
        hops.append(
            Hop(
                scid=step.short_channel_id,
                direction=way,
                node_id=following,
                amount_msat=amount,
                delay=delay,
            )
        )
    return tuple(reversed(hops))
