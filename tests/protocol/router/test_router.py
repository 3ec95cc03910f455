"""Path finding: the example of BOLT 7, and what a path must not use."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.gossip.announce import Policy
from protocol.router.graph import Graph, NoRoute, RouteRequest, excluded
from tests.kit.vectors import load

EXAMPLE = load("bolt07-routing-example")
NODES = {name: bytes([2]) + name.encode() * 32 for name in "ABCD"}
NAMES = {node: name for name, node in NODES.items()}


def _scid(channel: str) -> bytes:
    return channel.encode().rjust(8, b"\0")


def _graph() -> Graph:
    """The diamond of the example: A-B-C and A-D-C."""
    graph = Graph()
    for channel in EXAMPLE["channels"]:
        ends = sorted(channel.split("-"))
        scid = _scid("-".join(ends))
        graph.add_channel(scid, (NODES[ends[0]], NODES[ends[1]]), 10_000_000)
        for direction, name in enumerate(ends):
            fees = EXAMPLE["nodes"][name]
            graph.set_policy(
                scid,
                direction,
                Policy(
                    cltv_expiry_delta=fees["cltv_expiry_delta"],
                    htlc_minimum_msat=1,
                    htlc_maximum_msat=10**10,
                    fee_base_msat=fees["fee_base_msat"],
                    fee_proportional_millionths=fees["fee_ppm"],
                ),
            )
    return graph


@pytest.mark.parametrize("route", EXAMPLE["routes"], ids=lambda route: route["path"])
def test_the_example_of_bolt_7(route: dict[str, Any]) -> None:
    names = route["path"].split("->")
    # each of its paths is the only one when the others are shut
    others = {"A->B->C": ["A-D"], "A->D->C": ["A-B"]}.get(route["path"], [])
    request = RouteRequest(
        source=NODES[names[0]],
        target=NODES[names[-1]],
        amount_msat=EXAMPLE["amount_msat"],
        final_cltv=EXAMPLE["min_final_cltv_expiry_delta"] + EXAMPLE["shadow_cltv"],
        exclude=frozenset((_scid(name), way) for name in others for way in (0, 1)),
    )

    hops = _graph().route(request)

    assert names[1:] == [NAMES[hop.node_id] for hop in hops]
    expected = [(hop["amount_msat"], hop["cltv_delta_from_height"]) for hop in route["hops"]]
    assert expected == [(hop.amount_msat, hop.delay) for hop in hops]


def _ask(**changes: Any) -> RouteRequest:
    return RouteRequest(source=NODES["A"], target=NODES["C"], amount_msat=10**6)._replace(**changes)


def test_the_cheaper_way_is_taken_and_a_disabled_one_is_not() -> None:
    graph = _graph()
    assert [NAMES[hop.node_id] for hop in graph.route(_ask())] == ["B", "C"]

    policy = Policy(
        cltv_expiry_delta=1, htlc_minimum_msat=1, htlc_maximum_msat=10**10, fee_base_msat=0,
        fee_proportional_millionths=0, disabled=True,
    )  # fmt: skip
    graph.set_policy(_scid("B-C"), 0, policy)

    assert [NAMES[hop.node_id] for hop in graph.route(_ask())] == ["D", "C"]


def test_the_cheapest_of_parallel_channels_is_used() -> None:
    graph = _graph()
    graph.add_channel(b"parallel", (NODES["B"], NODES["C"]), 10_000_000)
    free = Policy(
        cltv_expiry_delta=5, htlc_minimum_msat=1, htlc_maximum_msat=10**10, fee_base_msat=0,
        fee_proportional_millionths=0,
    )  # fmt: skip
    graph.set_policy(b"parallel", 0, free)

    hops = graph.route(_ask())

    assert [hop.scid for hop in hops] == [_scid("A-B"), b"parallel"]
    assert [hop.amount_msat for hop in hops] == [10**6, 10**6]
    assert [hop.delay for hop in hops] == [14, 9]


def test_an_amount_that_grows_above_a_limit_goes_another_way() -> None:
    """At constant amount A-B fits; with B's fee on top it does not."""
    graph = _graph()
    amount = 10**6
    tight = Policy(
        cltv_expiry_delta=10, htlc_minimum_msat=1, htlc_maximum_msat=amount, fee_base_msat=100,
        fee_proportional_millionths=1000,
    )  # fmt: skip
    graph.set_policy(_scid("A-B"), 0, tight)

    hops = graph.route(_ask(amount_msat=amount))

    assert [NAMES[hop.node_id] for hop in hops] == ["D", "C"]


def test_a_removed_channel_leaves_its_place_to_another() -> None:
    graph = _graph()
    graph.route(_ask())
    graph.remove_channel(_scid("B-C"))
    graph.remove_channel(_scid("C-D"))
    with pytest.raises(NoRoute, match="no path with enough capacity"):
        graph.route(_ask())

    graph.add_channel(b"new____1", (NODES["C"], NODES["D"]), 10_000_000)
    free = Policy(
        cltv_expiry_delta=5, htlc_minimum_msat=1, htlc_maximum_msat=10**10, fee_base_msat=0,
        fee_proportional_millionths=0,
    )  # fmt: skip
    graph.set_policy(b"new____1", 1, free)

    assert [hop.scid for hop in graph.route(_ask())] == [_scid("A-D"), b"new____1"]
    assert len(graph) == 3


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"target": b"\x03" + bytes(32)}, "has no public channel"),
        ({"target": NODES["A"]}, "ourselves"),
        ({"amount_msat": 10**11}, "no path with enough capacity"),
    ],
)
def test_where_there_is_no_path_the_reason_is_said(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(NoRoute, match=why):
        _graph().route(_ask(**changes))


def test_excluded_words_are_read_as_core_lightning_has_them() -> None:
    scid = (103 << 40 | 2 << 16 | 1).to_bytes(8, "big")

    assert excluded(["103x2x1/1"]) == ({(scid, 1)}, set())
    assert excluded(["103x2x1"]) == ({(scid, 0), (scid, 1)}, set())
    assert excluded(["02" + "ab" * 32]) == (set(), {b"\x02" + b"\xab" * 32})
    with pytest.raises(ValueError, match="neither short_channel_id/direction nor a node id"):
        excluded(["103x2"])
