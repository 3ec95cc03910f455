"""Routes for payments: over our channels, in parts, over hints, with what was learned."""

from __future__ import annotations

from typing import Any

from protocol.gossip.announce import Policy, direction
from protocol.invoice import RouteHop
from protocol.router import paths
from protocol.router.graph import Graph
from protocol.router.liquidity import REMEMBER_SECONDS, Knowledge, remembered
from protocol.router.messages import Capacity, FindRoutes, Learned, Limit, RoutesFound

US, B, C, D, E = (bytes([2]) + bytes([n]) * 32 for n in range(1, 6))
SAT = 1000
CAPACITY_SAT = 100_000


def _scid(one: bytes, two: bytes) -> bytes:
    return bytes([0, 0, 1, 0, 0, min(one[1], two[1]), 0, max(one[1], two[1])])


def _graph(*pairs: tuple[bytes, bytes], fee: int = 1_000, ppm: int = 100) -> Graph:
    graph = Graph()
    for one, two in pairs:
        graph.add_channel(_scid(one, two), (min(one, two), max(one, two)), CAPACITY_SAT)
        for way in (0, 1):
            policy = Policy(
                cltv_expiry_delta=40,
                htlc_minimum_msat=1,
                htlc_maximum_msat=CAPACITY_SAT * SAT,
                fee_base_msat=fee,
                fee_proportional_millionths=ppm,
            )
            graph.set_policy(_scid(one, two), way, policy)
    return graph


def _capacity(peer: bytes, msat: int, *, ready: bool = True) -> Capacity:
    return Capacity(
        channel_id=peer[1:] , scid=bytes(7) + peer[1:2], peer=peer, spendable_msat=msat,
        minimum_msat=1, ready=ready,
    )  # fmt: skip


def _find(
    graph: Graph, amount: int, *capacities: Capacity, now: float = 0.0, **more: Any
) -> RoutesFound:
    known = more.pop("known", Knowledge())
    question = FindRoutes(
        **{
            "payment": "p", "number": 1, "target": D, "amount_msat": amount,
            "most_fee_msat": 100_000, "final_cltv": 18, "most_delay": 2016, "most_parts": 10,
            "capacities": capacities,
        }
        | more
    )  # fmt: skip
    return paths.find(graph, US, question, known, now)


DIAMOND = _graph((B, D), (C, D))


def test_a_payment_goes_over_one_of_our_channels_with_exact_fees() -> None:
    found = _find(DIAMOND, 10_000 * SAT, _capacity(B, 50_000 * SAT))

    (route,) = found.routes
    assert [hop.node_id for hop in route.hops] == [B, D]
    assert [hop.amount_msat for hop in route.hops] == [10_002 * SAT, 10_000 * SAT]
    assert [hop.delay for hop in route.hops] == [58, 18]
    assert route.channel_id == B[1:]


def test_what_one_channel_cannot_send_goes_in_parts() -> None:
    capacities = _capacity(B, 40_000 * SAT), _capacity(C, 40_000 * SAT)

    found = _find(DIAMOND, 60_000 * SAT, *capacities)

    assert sum(route.amount_msat for route in found.routes) == 60_000 * SAT
    assert {route.channel_id for route in found.routes} == {B[1:], C[1:]}
    for capacity in capacities:
        sent = sum(r.sent_msat for r in found.routes if r.channel_id == capacity.channel_id)
        assert sent <= capacity.spendable_msat
    assert not _find(DIAMOND, 60_000 * SAT, *capacities, most_parts=1).routes


def test_parts_do_not_use_the_same_liquidity_twice() -> None:
    """Both of our channels lead to one channel of 100,000 sat."""
    graph = _graph((B, E), (C, E), (E, D))

    found = _find(graph, 120_000 * SAT, _capacity(B, 90_000 * SAT), _capacity(C, 90_000 * SAT))

    assert found.routes == () and found.reason


def test_too_little_money_is_said_and_hopeless_only_if_it_stays_so() -> None:
    away = _find(DIAMOND, 60_000 * SAT, _capacity(B, 90_000 * SAT, ready=False))
    never = _find(DIAMOND, 60_000 * SAT, _capacity(B, 9_000 * SAT))

    assert "can send 0 msat now" in away.reason and not away.hopeless
    assert never.hopeless and never.code == 205


def test_a_route_that_is_too_dear_is_no_route() -> None:
    found = _find(DIAMOND, 10_000 * SAT, _capacity(B, 50_000 * SAT), most_fee_msat=100)

    assert (found.routes, found.code) == ((), 206)
    assert "costs" in found.reason


def test_a_route_that_locks_the_money_too_long_is_no_route() -> None:
    found = _find(DIAMOND, 10_000 * SAT, _capacity(B, 50_000 * SAT), most_delay=50)

    assert found.routes == () and "too long" in found.reason


def test_the_limits_of_a_payment_are_kept() -> None:
    full = Limit(scid=_scid(B, D), direction=direction(B, D), amount_msat=5_000 * SAT)
    capacities = _capacity(B, 50_000 * SAT), _capacity(C, 50_000 * SAT)

    found = _find(DIAMOND, 10_000 * SAT, *capacities, limits=(full,))

    assert [route.channel_id for route in found.routes] == [C[1:]]
    assert not _find(DIAMOND, 10_000 * SAT, capacities[0], limits=(full,), most_parts=1).routes
    assert not _find(DIAMOND, 10_000 * SAT, capacities[0], without=(B,)).routes


def test_what_is_flying_already_takes_room() -> None:
    """More than the channel's capacity together."""
    flying = Limit(scid=_scid(B, D), direction=direction(B, D), amount_msat=80_000 * SAT)

    found = _find(DIAMOND, 30_000 * SAT, _capacity(B, 90_000 * SAT), flying=(flying,))

    assert not found.routes


HINT = (
    RouteHop(
        node_id=B,
        short_channel_id=b"hinted!!",
        fee_base_msat=7,
        fee_proportional_millionths=1_000,
        cltv_expiry_delta=33,
    ),
)


def test_a_hint_leads_to_who_is_not_in_the_graph() -> None:
    found = _find(Graph(), 1_000 * SAT, _capacity(B, 50_000 * SAT), target=E, hints=(HINT,))

    (route,) = found.routes
    assert [hop.node_id for hop in route.hops] == [B, E]
    assert route.hops[0].amount_msat == 1_000 * SAT + 7 + 1_000
    assert (route.hops[1].scid, route.hops[0].delay) == (b"hinted!!", 18 + 33)


def test_what_a_hinted_channel_did_not_carry_is_not_tried_again() -> None:
    full = Limit(scid=b"hinted!!", direction=direction(B, E), amount_msat=999 * SAT)
    capacities = (_capacity(B, 50_000 * SAT),)

    found = _find(Graph(), 1_000 * SAT, *capacities, target=E, hints=(HINT,), limits=(full,))

    assert not [route for route in found.routes if route.amount_msat > 999 * SAT]


def test_what_failed_is_avoided_for_an_hour() -> None:
    both = _capacity(B, 50_000 * SAT), _capacity(C, 50_000 * SAT)
    full = Limit(scid=_scid(B, D), direction=direction(B, D), amount_msat=10_000 * SAT)
    known = Knowledge().learn(Learned(failed=(full,)), 0.0)

    soon = _find(DIAMOND, 20_000 * SAT, *both, known=known, now=1.0)
    alone = _find(DIAMOND, 20_000 * SAT, both[0], known=known, now=1.0)
    late = _find(DIAMOND, 20_000 * SAT, both[0], known=known, now=REMEMBER_SECONDS + 1)

    assert [route.channel_id for route in soon.routes] == [C[1:]]
    assert not alone.routes
    assert late.routes


def test_what_passed_is_preferred_and_kept_over_restarts() -> None:
    passed = Limit(scid=_scid(C, D), direction=direction(C, D), amount_msat=90_000 * SAT)
    known = Knowledge().learn(Learned(passed=(passed,)), 0.0)
    capacities = _capacity(B, 95_000 * SAT), _capacity(C, 95_000 * SAT)

    again = remembered(known.rows())

    assert again == known
    (route,) = _find(DIAMOND, 80_000 * SAT, *capacities, known=again, most_parts=1).routes
    assert route.channel_id == C[1:] and route.probability == 1.0
