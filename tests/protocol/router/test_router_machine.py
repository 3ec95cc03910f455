"""The router: what it hears of the gossiper, what it keeps, and what `getroute` answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from actors.engine.system import System
from actors.engine.table import Table
from actors.testkit.bench import Bench
from actors.tree import NODE
from protocol.gossip.announce import Policy
from protocol.gossip.messages import ChannelGone, ChannelIs, News, NodeIs, PolicyIs, Since, UpToDate
from protocol.machine import Answer, Step
from protocol.router import pages
from protocol.router.graph import Graph
from protocol.router.machine import Machine
from protocol.router.rows import PAGES, Known

NODES = {name: bytes([2]) + name.encode() * 32 for name in "ABCD"}
POLICY = Policy(
    cltv_expiry_delta=10, htlc_minimum_msat=1, htlc_maximum_msat=10**9, fee_base_msat=1000,
    fee_proportional_millionths=0,
)  # fmt: skip
EPOCH = b"12345678"


def _router(name: str, settings: Any, system: System) -> Machine:
    return Machine(NODES["A"])


SYSTEM = System(
    [replace(child, make=_router) if child.name == "router" else child for child in NODE.children]
)


class Router(Bench):
    def __init__(self) -> None:
        super().__init__(SYSTEM, "router", asker="api")

    def route(self, target: str, **params: Any) -> Answer:
        asked = {"id": NODES[target].hex(), "amount_msat": 1000, "riskfactor": 10, **params}
        answer = self.ask("getroute", **asked)
        assert answer is not None
        return answer

    def learn(self, *names: str, serial: int = 1) -> None:
        self.heard(News(serial=serial, changes=tuple(x for name in names for x in _channel(name))))

    def heard(self, item: Any) -> None:
        """From the gossiper."""
        self.hear("gossiper", item)


def _scid(name: str) -> bytes:
    return name.encode().rjust(8, b"\0")


def _channel(name: str) -> list[Any]:
    one, two = sorted(name)
    known = ChannelIs(scid=_scid(name), ends=NODES[one] + NODES[two], capacity_sat=10**6)
    ways = [PolicyIs(scid=_scid(name), direction=way, policy=POLICY) for way in (0, 1)]
    return [known, *ways]


def _path(answer: Answer) -> str:
    return "".join(
        name for hop in answer.result for name in NODES if NODES[name].hex() == hop["id"]
    )


def test_news_are_routed_over_at_once() -> None:
    bench = Router()
    bench.learn("AB", "BC")

    answer = bench.route("C", cltv=20)

    assert _path(answer) == "BC"
    assert [(hop["amount_msat"], hop["delay"]) for hop in answer.result] == [(2000, 30), (1000, 20)]
    assert answer.result[0]["channel"] == "0x0x16706"


def test_a_channel_that_is_gone_is_not_routed_over() -> None:
    bench = Router()
    bench.learn("AB", "BC")
    bench.heard(News(serial=2, changes=(ChannelGone(scid=_scid("BC")),)))

    answer = bench.route("C")

    assert (answer.code, answer.result) == (205, None)


def test_limits_of_a_question_are_heeded() -> None:
    bench = Router()
    bench.learn("AB", "BC", "AD", "DC")
    first = bench.route("C")
    other = {"B": "D", "D": "B"}[_path(first)[0]]

    assert _path(bench.route("C", exclude=[first.result[0]["id"]])) == other + "C"
    assert bench.route("C", maxhops=1).code == 205
    assert bench.route("C", exclude=["nonsense"]).code == -32602
    assert _path(bench.route("A", fromid=NODES["C"].hex())) in ("BA", "DA")


def test_the_graph_outlives_a_kill_and_only_what_is_newer_is_asked_for() -> None:
    bench = Router()
    bench.learn("AB", "BC")
    bench.heard(UpToDate(epoch=EPOCH, serial=7, scids=_scid("AB") + _scid("BC")))
    bench.pass_time(10)

    bench.restart()
    assert _path(bench.route("C")) == "BC"

    bench.linked("gossiper")
    assert bench.take(Since) == [Since(epoch=EPOCH, serial=7)]


def test_what_was_heard_since_is_written_ten_minutes_later_with_its_number() -> None:
    bench = Router()
    bench.heard(UpToDate(epoch=EPOCH, serial=7, scids=b""))
    bench.pass_time(10)
    bench.heard(News(serial=9, changes=tuple(_channel("AB"))))

    bench.pass_time(599)
    assert bench.row("known") == Known(epoch=EPOCH, serial=7, pages=0)
    bench.pass_time(2)
    assert bench.row("known") == Known(epoch=EPOCH, serial=9, pages=1)
    bench.restart()
    assert _path(bench.route("B")) == "B"


def test_what_the_gossiper_does_not_have_is_forgotten() -> None:
    bench = Router()
    bench.learn("AB", "BC")

    bench.heard(UpToDate(epoch=EPOCH, serial=7, scids=_scid("AB")))

    assert _path(bench.route("B")) == "B"
    assert bench.route("C").code == 205


def test_nothing_is_routed_through_a_barred_node_but_to_it() -> None:
    bench = Router()
    bench.learn("AB", "BC", "AD", "DC")
    bench.heard(News(serial=2, changes=(NodeIs(node_id=NODES["B"], barred=True),)))

    assert _path(bench.route("C")) == "DC"
    assert _path(bench.route("B")) == "B"
    bench.heard(UpToDate(epoch=EPOCH, serial=3, scids=b"", barred=()))
    assert bench.row("~graph").barred == frozenset()


def test_pages_hold_everything_and_shrink_with_it(monkeypatch: Any) -> None:
    monkeypatch.setattr(pages, "CHANNELS_A_PAGE", 2)
    graph = Graph()
    names = ["AB", "BC", "CD", "AD", "AC"]
    for number, name in enumerate(names):
        one, two = sorted(name)
        graph.add_channel(_scid(name), (NODES[one], NODES[two]), 1000 + number)
        policy = POLICY.but(fee_base_msat=number, disabled=number == 2)
        graph.set_policy(_scid(name), number % 2, policy)
    step = Step(Table())
    assert pages.save(step, graph, 0) == 3

    loaded = pages.load(step, 3)

    for scid, place in graph.places():
        twin = dict(loaded.places())[scid]
        assert loaded.ends_of(twin) == graph.ends_of(place)
        assert loaded.columns_of([twin]) == graph.columns_of([place])
    for name in names[1:]:
        graph.remove_channel(_scid(name))
    assert pages.save(step, graph, 3) == 1
    assert [PAGES.get(step, number) is None for number in range(3)] == [False, True, True]
    assert pages.load(step, 1).scids() == {_scid("AB")}


def test_a_copied_graph_leaves_the_first_as_it_was() -> None:
    bench = Router()
    bench.learn("AB", "BC")
    assert _path(bench.route("C")) == "BC"
    before = bench.row("~graph")

    bench.heard(News(serial=2, changes=(ChannelGone(scid=_scid("BC")),)))
    assert bench.route("C").code == 205

    assert before.scids() == {_scid("AB"), _scid("BC")}


def test_getroutes_says_what_each_hop_gets_as_core_lightning_does() -> None:
    """The amount and the delay at the start of a hop: with that channel's own fee and delta."""
    bench = Router()
    bench.learn("AB", "BC")
    asked = {
        "source": NODES["A"].hex(), "destination": NODES["C"].hex(), "amount_msat": 1_000_000,
        "maxfee_msat": 100_000, "final_cltv": 18,
    }  # fmt: skip

    def routes(**more: Any) -> Answer:
        answer = bench.ask("getroutes", **{**asked, **more})
        assert answer is not None
        return answer

    paid, free = routes(), routes(layers=["auto.sourcefree"])

    (route,), (cheaper,) = paid.result["routes"], free.result["routes"]
    assert route["amount_msat"] == 1_000_000 and route["final_cltv"] == 18
    first, last = route["path"][0], route["path"][-1]
    assert last["next_node_id"] == NODES["C"].hex()
    assert last["amount_msat"] > 1_000_000 and last["delay"] > 18
    assert first["amount_msat"] > cheaper["path"][0]["amount_msat"] == last["amount_msat"]
    assert routes(layers=["nonsense"]).code == -32602


def test_what_is_new_is_asked_for_after_a_start() -> None:
    bench = Router()
    bench.linked("gossiper")

    (since,) = bench.take(Since)
    assert since.serial == 0
    assert bench.route("B").code == 205
