"""The API as a machine: a request costs at most itself, and is read by one bounded reader."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from actors.engine.system import System
from actors.testkit.bench import Bench
from actors.tree import NODE as NODE_SYSTEM
from protocol.api import machine as api
from protocol.api import params as p
from protocol.api import reading
from protocol.api.commands import BY_NAME
from protocol.api.port import HungUp, Reply, Request
from protocol.errors import Refusal
from protocol.machine import DEFECT, Abandoned, Answer, Ask

NODE = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"


def _api(name: str, settings: Any, system: System) -> api.Machine:
    constants = {"network": "regtest", "node_id": NODE, "alias": "a", "host": "127.0.0.1"}
    return api.Machine(**constants, port=9735, folder="/f", announced=())


def _system(monitors: int) -> System:
    children = NODE_SYSTEM.sized(monitors=monitors).children
    return System([replace(one, make=_api) if one.name == "api" else one for one in children])


class Api(Bench):
    """What clients want comes from the port; it asks the others, who answer when they are told."""

    def __init__(self, monitors: int = 1) -> None:
        super().__init__(_system(monitors), "api")

    @property
    def asked(self) -> list[tuple[str, Ask]]:
        return [(to, item) for to, item in self.told if isinstance(item, Ask)]

    @property
    def abandoned(self) -> list[tuple[str, str]]:
        return [(to, item.id) for to, item in self.told if isinstance(item, Abandoned)]

    @property
    def replies(self) -> list[Reply]:
        return [item for item in self.orders if isinstance(item, Reply)]

    def request(self, method: str, params: Any = (), **more: Any) -> None:
        self.report(Request(connection=1, id=7, method=method, params=params or {}, **more))

    def answer(self, **results: Any) -> None:
        """All open questions, by actor."""
        asked = self.asked
        self.take(Ask)
        for actor, ask in asked:
            self.hear(actor, Answer(id=ask.id, result=results[actor]))


# ---- the reader ---------------------------------------------------------------------------------

UNREADABLE = {
    "a 5000-digit number": '{"id":1,"method":"invoice","params":[' + "1" * 5000 + "]}",
    "a 5000-digit id": '{"id":' + "1" * 5000 + ',"method":"getinfo"}',
    "a number of 65 bits": '{"id":1,"method":"getinfo","params":[18446744073709551616]}',
    "an infinite id": '{"id":1e400,"method":"getinfo"}',
    "NaN": '{"id":NaN,"method":"getinfo"}',
    "an object as id": '{"id":{"a":1},"method":"getinfo"}',
    "a list as id": '{"id":[1],"method":"getinfo"}',
    "a lone surrogate": '{"id":1,"method":"connect","params":["' + NODE + '@\\ud800"]}',
    "a lone surrogate as name": '{"id":1,"method":"connect","params":{"\\ud800":1}}',
    "a lone surrogate as method": '{"id":1,"method":"\\ud800"}',
    "a lone surrogate as id": '{"id":"\\ud800","method":"getinfo"}',
    "deep parameters": '{"id":1,"method":"getinfo","params":' + "[" * 900 + "]" * 900 + "}",
    "no method": '{"id":1}',
    "a list": "[1]",
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_one_sentence(name: str) -> None:
    with pytest.raises((Refusal, reading.Unfit)) as caught:
        reading.request(reading.DECODER.decode(UNREADABLE[name]))

    text = str(caught.value)
    assert text and "\n" not in text
    text.encode()
    if isinstance(caught.value, Refusal):
        assert caught.value.code == -32600


def test_what_can_be_read_is_as_it_was_said() -> None:
    said = {"id": "x", "method": "m", "params": [1 - (1 << 63), (1 << 64) - 1, 1.5, "ü\0", None]}

    assert reading.request(reading.DECODER.decode(json.dumps(said))) == (
        "x",
        "m",
        said["params"],
        None,
    )


# ---- parameters ---------------------------------------------------------------------------------

NUMBERS: list[tuple[str, dict[str, Any], str]] = [
    ("getroutes", {"maxparts": 0}, "maxparts: should be at least 1"),
    ("getroute", {"maxhops": 0}, "maxhops: should be at least 1"),
    ("setchannel", {"feebase": 1 << 32}, "feebase: should be at most"),
    ("setchannel", {"feeppm": 1 << 32}, "feeppm: should be at most"),
    ("setchannel", {"enforcedelay": 0}, "enforcedelay: is not supported"),
    ("invoice", {"expiry": (1 << 63) - 1}, "expiry: should be at most"),
    ("pay", {"retry_for": 1 << 32}, "retry_for: should be at most"),
    ("pay", {"maxdelay": "9" * 5000}, "maxdelay: should be an integer"),
    ("waitanyinvoice", {"timeout": 1 << 40}, "timeout: should be at most"),
    ("listinvoices", {"index": "updated"}, "index: is not supported"),
    ("listpays", {"index": "updated"}, "index: is not supported"),
    ("listforwards", {"index": "updated"}, "index: is not supported"),
    ("listinvoices", {"offer_id": "00"}, "offer_id: is not supported"),
]


@pytest.mark.parametrize(("method", "params", "text"), NUMBERS)
def test_a_number_that_nobody_can_use_is_refused(
    method: str, params: dict[str, Any], text: str
) -> None:
    (name,) = params
    (spec,) = [param for param in BY_NAME[method].params if param.name == name]

    with pytest.raises(Refusal) as caught:
        p.parse([spec], params)

    assert caught.value.code == -32602
    assert str(caught.value).startswith(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("command", BY_NAME)
def test_no_parameter_ends_the_reader(command: str) -> None:
    """Whatever is given for whichever parameter: a value, or one sentence."""
    odd: list[Any] = [0, -1, 1 << 63, (1 << 64) - 1, 1.5, True, [], [[]], {}, {"a": 1}, "", "\0"]
    odd += ["1" * 5000, "²", "1" * 5000 + "x1x1", "a" * 100_000, NODE, f"{NODE}@", f"{NODE}@[::]:²"]
    for param in BY_NAME[command].params:
        for value in odd:
            try:
                param.read(value)
            except (ValueError, Refusal) as error:
                assert "\n" not in str(error)


# ---- the guard ----------------------------------------------------------------------------------


def test_a_defect_in_a_reply_costs_that_request() -> None:
    bench = Api()
    bench.request("getinfo")
    bench.answer(
        monitors=[{}], peers=[], chain={}, payments={}
    )  # rows without what the shape needs
    bench.request("help", {"command": "stop"})

    assert [reply.code for reply in bench.replies] == [DEFECT, None]
    assert "KeyError" in bench.log[0]
    assert not bench.rows("~call")


def test_a_defect_in_a_stage_costs_that_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise RecursionError

    command = BY_NAME["getinfo"]._replace(stages=(fails,))
    monkeypatch.setitem(BY_NAME, "getinfo", command)
    bench = Api()
    bench.request("getinfo")

    assert [reply.code for reply in bench.replies] == [DEFECT]
    assert not bench.rows("~call")


# ---- filter, notifications, fees ----------------------------------------------------------------


def test_lightning_cli_asks_notifications_first_and_reads_a_hundred_bytes() -> None:
    bench = Api()
    bench.request("notifications", {"enable": True})

    (reply,) = bench.replies
    assert reply.result == {}
    assert len(json.dumps({"jsonrpc": "2.0", "id": reply.id, "result": reply.result})) < 100


def test_only_the_wanted_fields_come_back() -> None:
    bench = Api()
    wanted = {"help": [{"command": True}], "nothing": True}
    bench.request("help", {"command": "stop"}, filter=wanted)

    (reply,) = bench.replies
    assert reply.result == {"help": [{"command": "stop"}]}


@pytest.mark.parametrize("wanted", [7, [True], {"help": False}, {"help": [True, True]}, {"a": "b"}])
def test_a_filter_that_is_none_is_refused(wanted: Any) -> None:
    bench = Api()
    bench.request("help", {}, filter=wanted)

    assert [(reply.code, reply.text[:7]) for reply in bench.replies] == [(-32602, "filter:")]


def test_what_relaying_has_brought_in_is_shown() -> None:
    bench = Api()
    bench.request("getinfo")
    paid = {"fees_collected_msat": 1234}
    bench.answer(monitors=[], peers=[], chain={"blockheight": 5}, payments=paid)

    assert bench.replies[0].result["fees_collected_msat"] == 1234


def test_a_client_that_hangs_up_waits_for_nothing_any_more() -> None:
    bench = Api()
    bench.request("waitinvoice", {"label": "x"})
    bench.request("getinfo")
    ((_, waiting), *_) = bench.asked

    bench.report(HungUp(connection=2))
    assert len(bench.rows("~call")) == 2, "another client's"
    bench.report(HungUp(connection=1))

    assert not bench.rows("~call")
    assert ("payments", waiting.id) in bench.abandoned
    assert {actor for actor, _ in bench.abandoned} == {"payments", "monitors", "peers", "chain"}
    bench.answer(payments={}, monitors=[], peers=[], chain={"blockheight": 5})
    assert not bench.replies


def test_what_a_client_has_abandoned_is_asked_of_nobody_after_a_restart() -> None:
    bench = Api()
    bench.request("waitinvoice", {"label": "x"})
    bench.report(HungUp(connection=1))
    bench.take(Ask)

    bench.linked("payments")

    assert not bench.asked


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ({"id": 7, "params": ["\ud800"]}, 7), ({"id": "seven", "params": 1 << 70}, "seven"),
        ({"id": 1 << 70}, None), ({"id": "\ud800"}, None), ({"id": True}, None),
        ({"id": [7]}, None), ([7], None), ({}, None),
    ],
)  # fmt: skip
def test_a_refusal_says_which_request_it_refuses(value: Any, number: Any) -> None:
    assert reading.identity(value) == number


def _letter(actor: str, at: float) -> dict[str, Any]:
    return {"id": f"{actor}/00", "actor": actor, "sender": "peers", "put_aside_at": at}


def test_dead_letters_of_all_actors_are_listed_and_one_is_retried_where_it_lies() -> None:
    bench = Api(monitors=2)
    bench.machine.constants["~actors"] = ("chain", "monitors-1", "monitors-2", "api")
    bench.machine.monitors = 2
    bench.request("listdeadletters")
    asked = dict(bench.asked)
    assert set(asked) == {"chain", "monitors-1", "monitors-2"}
    number = asked["monitors-1"].id
    bench.hear("chain", Answer(id=asked["chain"].id, result=[_letter("chain", 3.0)]))
    for name, at in (("monitors-2", 1.0), ("monitors-1", 2.0)):
        bench.hear(name, Answer(id=number, result=[_letter(name, at)]))

    (reply,) = bench.replies
    rows = reply.result["deadletters"]
    assert [row["actor"] for row in rows] == ["monitors-2", "monitors-1", "chain"]

    bench.take(Ask)
    bench.request("retrydeadletter", {"id": "monitors-2/00"})
    ((actor, ask),) = bench.asked
    assert (actor, ask.method) == ("monitors-2", "retrydeadletter")
    assert ask.params == {"id": "monitors-2/00"}
    # it has died of it once more: the question is asked again, of its next life
    bench.take(Ask)
    bench.linked("monitors")
    assert bench.asked == [("monitors-2", ask)]


@pytest.mark.parametrize("number", ["", "00", "api/00", "nobody/00", "monitors/00"])
def test_what_names_no_dead_letter_is_refused(number: str) -> None:
    bench = Api(monitors=2)
    bench.machine.constants["~actors"] = ("chain", "monitors-1", "monitors-2", "api")
    bench.request("retrydeadletter", {"id": number})

    assert [(reply.code, reply.text) for reply in bench.replies] == [
        (-32602, "id: not one of listdeadletters")
    ]
