"""The router: the graph in memory for path finding, fed by the gossiper.

Owns: its copy of the graph and what payments taught it, written now and then. Hears: gossiper
(`News`, `UpToDate`), peers (`FindRoutes`, with what our channels can take), payments (`Learned`),
the API. Tells: gossiper (`Since`), payments (`RoutesFound`).
The copy on disk may be older than the gossiper's: at every start the gossiper is asked for what has
changed since, so that it need not be written with every update.
"""

from __future__ import annotations

import math
from typing import assert_never

from protocol import machine as contract
from protocol.errors import Refusal
from protocol.gossip.messages import (
    Change,
    ChannelGone,
    ChannelIs,
    News,
    NodeIs,
    PolicyIs,
    Since,
    UpToDate,
)
from protocol.machine import Ask, Moment, Step
from protocol.router import pages, paths
from protocol.router.graph import Graph, NoRoute, RouteRequest, excluded
from protocol.router.liquidity import remembered
from protocol.router.messages import FindRoutes, Hop, Learned, Route
from protocol.router.rows import (
    GATHERED,
    GRAPH,
    HEARD,
    KEEPS,
    KNOWLEDGE,
    KNOWN,
    KNOWN_NOW,
    LIQUIDITY,
    SAVE_AT,
    TEACH_AT,
    WAITING,
    Known,
    Waiting,
)
from protocol.scid import scid_text

SAVE_SECONDS, FIRST_SAVE_SECONDS, TEACH_SECONDS = 600.0, 5.0, 30.0
APPLY_AT = 5_000
LAYERS = {"auto.localchans", "auto.sourcefree", "auto.no_mpp_support"}
ROUTE_NOT_FOUND = 205

Heard = News | UpToDate | FindRoutes | Learned | Ask


class Machine(contract.Machine):
    """`node_id` (33 bytes) is where routes begin."""

    name = "router"
    hears = Heard
    keeps = KEEPS

    def __init__(self, node_id: bytes) -> None:
        self.node_id = node_id

    def resume(self, step: Step, name: str | None, at: Moment) -> None:
        if name is None:
            known = KNOWN.get(step)
            GRAPH.put(step, pages.load(step, known.pages if known is not None else 0))
            KNOWLEDGE.put(step, remembered(LIQUIDITY.get(step)))
        elif name == "gossiper":
            known = KNOWN.get(step) or Known(epoch=bytes(8), serial=0, pages=0)
            step.tell("gossiper", Since(epoch=known.epoch, serial=known.serial))

    def wake(self, step: Step, at: Moment) -> None:
        due = SAVE_AT.get(step)
        if due is not None and at.unix_seconds >= due:
            before = KNOWN.get(step)
            count = pages.save(step, self._apply(step), before.pages if before is not None else 0)
            KNOWN.put(step, KNOWN_NOW.need(step).but(pages=count))
            SAVE_AT.drop(step)
        taught = TEACH_AT.get(step)
        if taught is not None and at.unix_seconds >= taught:
            LIQUIDITY.put(step, KNOWLEDGE.need(step).rows())
            TEACH_AT.drop(step)

    def step(self, step: Step, sender: str, item: Heard, at: Moment) -> None:
        match item:
            case News():
                self._news(step, item)
                known = KNOWN_NOW.get(step)
                if known is not None and item.serial:
                    KNOWN_NOW.put(step, known.but(serial=item.serial))
                    self._save_later(step, at, SAVE_SECONDS)
            case UpToDate():
                self._up_to_date(step, item, at)
            case FindRoutes():
                graph, learnt = self._apply(step), KNOWLEDGE.need(step)
                step.tell(
                    "payments", paths.find(graph, self.node_id, item, learnt, at.unix_seconds)
                )
            case Learned():
                self._learn(step, item, at)
            case Ask():
                self._ask(step, item, at)
            case _:
                assert_never(item)

    # ---- the graph ----

    def _news(self, step: Step, item: News) -> None:
        number = (HEARD.get(step) or 0) + 1
        HEARD.put(step, number)
        WAITING.put(step, Waiting(changes=item.changes), number)
        gathered = (GATHERED.get(step) or 0) + len(item.changes)
        GATHERED.put(step, gathered)
        if gathered >= APPLY_AT:
            self._apply(step)

    def _apply(self, step: Step) -> Graph:
        """A new graph with all that was heard: the old one stays as it is."""
        graph = GRAPH.need(step)
        waiting = WAITING.below(step).items()
        if waiting:
            graph = graph.copy()
            for key, row in waiting:
                WAITING.drop(step, *key)
                for change in row.changes:
                    _change(graph, change)
            GATHERED.put(step, 0)
            GRAPH.put(step, graph)
        return graph

    def _up_to_date(self, step: Step, item: UpToDate, at: Moment) -> None:
        """What the gossiper no longer has is gone here too."""
        graph = self._apply(step).copy()
        alive = {item.scids[at : at + 8] for at in range(0, len(item.scids), 8)}
        for scid in graph.scids() - alive:
            graph.remove_channel(scid)
        graph.barred = frozenset(item.barred)
        GRAPH.put(step, graph)
        saved = KNOWN.get(step)
        KNOWN_NOW.put(step, Known(epoch=item.epoch, serial=item.serial, pages=0))
        if saved is None or (saved.epoch, saved.serial) != (item.epoch, item.serial):
            self._save_later(step, at, FIRST_SAVE_SECONDS)

    def _save_later(self, step: Step, at: Moment, seconds: float) -> None:
        due = at.unix_seconds + seconds
        known = SAVE_AT.get(step)
        if known is None or known > due:
            SAVE_AT.put(step, due)
            step.wake(due)

    def _learn(self, step: Step, item: Learned, at: Moment) -> None:
        """Written after a while, with what follows it: best effort."""
        KNOWLEDGE.put(step, KNOWLEDGE.need(step).learn(item, at.unix_seconds))
        if TEACH_AT.get(step) is None:
            TEACH_AT.put(step, at.unix_seconds + TEACH_SECONDS)
            step.wake(at.unix_seconds + TEACH_SECONDS)

    # ---- questions ----

    def _ask(self, step: Step, ask: Ask, at: Moment) -> None:
        try:
            match ask.method:
                case "getroutes":
                    step.answer(ask.id, self._getroutes(step, ask, at))
                case "getroute":
                    step.answer(ask.id, self._getroute(step, ask))
                case _:
                    step.unknown(ask)
        except NoRoute as error:
            text = f"Could not find a route: {error}"
            step.refuse(ask.id, ROUTE_NOT_FOUND, text)

    def _getroutes(self, step: Step, ask: Ask, at: Moment) -> dict[str, object]:
        """From any node: its public channels are taken to be as full as they may be."""
        params, graph = ask.params, self._apply(step)
        unknown = set(params.get("layers", ())) - LAYERS
        if unknown:
            raise Refusal(f"layers: {min(unknown)[:40]!r} is not known", code=-32602)
        one = "auto.no_mpp_support" in params.get("layers", ())
        source = bytes.fromhex(params["source"])
        wanted = FindRoutes(
            payment=b"",
            number=0,
            target=bytes.fromhex(params["destination"]),
            amount_msat=params["amount_msat"],
            most_fee_msat=params["maxfee_msat"],
            final_cltv=params["final_cltv"],
            most_delay=params.get("maxdelay", 2016),
            most_parts=1 if one else min(params.get("maxparts", 100), 100),
            capacities=graph.capacities(source),
        )
        found = paths.find(graph, source, wanted, KNOWLEDGE.need(step), at.unix_seconds)
        if not found.routes:
            raise NoRoute(found.reason)
        chance = math.prod(route.probability for route in found.routes)
        free = "auto.sourcefree" in params.get("layers", ())
        rows = [_route_row(graph, route, params["final_cltv"], free) for route in found.routes]
        return {"probability_ppm": int(chance * 1_000_000), "routes": rows}

    def _getroute(self, step: Step, ask: Ask) -> list[dict[str, object]]:
        params = ask.params
        try:
            exclude, nodes = excluded(params.get("exclude") or [])
        except ValueError as error:
            raise Refusal(f"exclude: {error}", code=-32602) from None
        source = params.get("fromid")
        request = RouteRequest(
            source=bytes.fromhex(source) if source else self.node_id,
            target=bytes.fromhex(params["id"]),
            amount_msat=params["amount_msat"],
            final_cltv=params.get("cltv", 9),
            riskfactor=params["riskfactor"],
            max_hops=params.get("maxhops", 20),
            exclude=exclude,
            without=nodes,
        )
        return [
            {
                "id": hop.node_id.hex(),
                "channel": scid_text(hop.scid),
                "direction": hop.direction,
                "amount_msat": hop.amount_msat,
                "delay": hop.delay,
                "style": "tlv",
            }
            for hop in self._apply(step).route(request)
        ]


def _into(graph: Graph, hop: Hop) -> tuple[int, int]:
    """What the node at the start of a hop gets, in msat and blocks: with its own fee and delta."""
    edge = graph.edge(hop.scid, hop.direction)
    terms = graph.terms(edge) if edge is not None else {"base": 0, "ppm": 0, "delta": 0}
    fee = terms["base"] + hop.amount_msat * terms["ppm"] // 1_000_000
    return hop.amount_msat + fee, hop.delay + terms["delta"]


def _route_row(graph: Graph, route: Route, final_cltv: int, free: bool) -> dict[str, object]:
    """As Core Lightning's: amount and delay are those at the start of each hop; `free`: at the
    first one nothing is added."""
    starts = [_into(graph, hop) for hop in route.hops]
    if free:
        starts[0] = route.hops[0].amount_msat, route.hops[0].delay
    return {
        "probability_ppm": int(route.probability * 1_000_000),
        "amount_msat": route.amount_msat,
        "final_cltv": final_cltv,
        "path": [
            {
                "short_channel_id_dir": f"{scid_text(hop.scid)}/{hop.direction}",
                "next_node_id": hop.node_id.hex(),
                "amount_msat": amount,
                "delay": delay,
            }
            for hop, (amount, delay) in zip(route.hops, starts, strict=True)
        ],
    }


def _change(graph: Graph, change: Change) -> None:
    match change:
        case ChannelIs():
            graph.add_channel(
                change.scid, (change.ends[:33], change.ends[33:]), change.capacity_sat
            )
        case PolicyIs():
            if change.scid in graph:
                graph.set_policy(change.scid, change.direction, change.policy)
        case ChannelGone():
            graph.remove_channel(change.scid)
        case NodeIs():
            others = graph.barred - {change.node_id}
            graph.barred = others | {change.node_id} if change.barred else others
        case _:
            assert_never(change)
