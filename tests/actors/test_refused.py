"""What a machine may not say, keep, order or be called is met where it is written down."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.engine import door
from actors.engine.door import DOOR, Asked, Left
from actors.engine.keeps import Keeps
from actors.engine.port import CannotStart
from actors.engine.system import Child, System
from actors.testkit import hooks
from actors.testkit.bench import Bench
from actors.testkit.explore import Story, branches
from actors.testkit.sentences import Refused, ask
from actors.testkit.world import World
from protocol.errors import Refusal
from protocol.machine import Abandoned, Answer, Ask, Machine, Moment, Step, Tell, Wake
from protocol.segment import Segment
from protocol.values import Value


class Sum(Value, frozen=True, kw_only=True):
    amount_sat: int


class Tick(Value, frozen=True, kw_only=True):
    number: int


SUMS = Segment("sum", Sum)
NOTES = Segment("note", Sum)


class Clerk(Machine):
    """Carries out a question by its name."""

    hears = Ask | Sum
    reports = Tick
    keeps = (SUMS,)
    wrong: Any = "7"

    def __init__(self, name: str) -> None:
        self.name = name

    def step(self, step: Step, sender: str, item: Any, at: Moment) -> None:
        if isinstance(item, Tick):
            step.answer("door/1", {"late": {1 << 70}})
            SUMS.put(step, Sum(amount_sat=item.number), "of the port")
            return
        SUMS.put(step, Sum(amount_sat=1), "before")
        match item.method:
            case "row":
                SUMS.put(step, Sum(amount_sat=self.wrong), "x")
            case "told":
                step.deliver("clerk", Sum(amount_sat=self.wrong))
            case "deliver":
                step.deliver("other", Sum(amount_sat=1))
            case "huge":
                step.deliver("clerk", Sum(amount_sat=1 << 64))
            case "nowhere":
                NOTES.put(step, Sum(amount_sat=1), "x")
            case "wake":
                step.effects.append(Wake(unix_seconds=self.wrong))
            case "to whom":
                step.effects.append(Tell(to="clark", item=Sum(amount_sat=1)))
            case "order":
                step.do(Sum(amount_sat=1))
            case "declined":
                raise Refusal("not today", code=205)
            case "params":
                msgspec.convert(item.params, Tick)
            case "late":
                pass  # a row that nobody waits for
            case "answer":
                step.answer(item.id, object())
            case "well":
                step.answer(item.id, "well")

    def abandoned(self, step: Step, question: str, at: Moment) -> None:
        SUMS.put(step, Sum(amount_sat=0), question)


class Forgetful(Clerk):
    keeps = ()


class Delivering(Machine):
    hears = Ask

    def __init__(self, name: str) -> None:
        self.name = name

    def step(self, step: Step, sender: str, item: Ask, at: Moment) -> None:
        step.deliver("clerk", Sum(amount_sat=1))


OFFICE = System([Child("clerk", Clerk), Child("other", Forgetful), DOOR])
PORTED = System([Child("clerk", Clerk, port="nowhere:Port"), DOOR])


@pytest.mark.parametrize(
    "method", ["row", "told", "deliver", "huge", "nowhere", "wake", "to whom", "order"]
)
def test_a_step_that_does_what_may_not_be_is_undone_where_it_was_done(method: str) -> None:
    bench = Bench(OFFICE, "clerk")

    refused = bench.ask(method)

    assert refused is not None and refused.code == -32603
    assert not bench.rows("sum") and not bench.delivered
    assert f"the question {method} met a defect: TypeError" in bench.log[0]
    well = bench.ask("well")
    assert well is not None and well.result == "well" and bench.row("sum/before")


def test_who_keeps_nothing_delivers_nothing() -> None:
    """It would count from 1 again in its next life, and its receiver would wait for 2."""
    bench = Bench(System([Child("clerk", Clerk), Child("other", Delivering), DOOR]), "other")

    refused = bench.ask("deliver")

    assert refused is not None and refused.code == -32603 and not bench.delivered
    assert "other keeps nothing" in bench.log[0]


def test_what_a_machine_declines_is_no_defect() -> None:
    """Its step is undone all the same."""
    bench = Bench(OFFICE, "clerk")

    declined, unfit = bench.ask("declined"), bench.ask("params", number="x")

    assert declined is not None and (declined.code, declined.text) == (205, "not today")
    assert unfit is not None and unfit.code == -32602
    assert unfit.text == "params: Expected `int`, got `str` - at `$.number`"
    assert not bench.rows("sum")
    assert bench.log == ["the question params does not fit: " + unfit.text[len("params: ") :]]


def test_the_kit_shows_what_a_defect_was() -> None:
    world = World(OFFICE)
    node = world.node("office")

    with pytest.raises(Refused, match="clerk: the question row met a defect: TypeError: nobody"):
        ask(node, "clerk", "row")


def test_a_batch_that_waits_for_company_is_a_crash_point_when_it_is_written() -> None:
    def say(world: World) -> None:
        world.ask(world.nodes["office"], "clerk", "late", number="1")
        world.settle()

    story = Story(lambda: World(OFFICE).with_node("office"), [say], lambda world: None)

    what = [point.what for point, _, _ in branches(story)]

    late = [("commit", "office", "clerk", "1", when) for when in ("before", "after")]
    assert [one[:5] for one in what if one[0] == "commit"] == [x for x in late for _ in range(2)]


def test_what_is_nested_without_end_is_met_where_it_is_said() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)  # as it is outside of tests
    try:
        with pytest.raises(TypeError, match="nobody could read this Ask"):
            OFFICE.written(Ask(id="door/1", method="x", params={"deep": deep}))
    finally:
        sys.setrecursionlimit(limit)


def test_a_program_that_asks_where_nothing_runs_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "START_SECONDS", 0.0)

    with pytest.raises(TimeoutError, match=f"no system runs in {tmp_path}: start it"):
        door.ask(str(tmp_path), "clerk", "well")


def test_an_answer_that_nobody_could_read_costs_its_question_alone() -> None:
    bench = Bench(OFFICE, "clerk")

    refused = bench.ask("answer")

    assert refused is not None and refused.code == -32603 and bench.row("sum/before")


def test_nor_does_one_that_is_given_later_end_anybody() -> None:
    bench = Bench(PORTED, "clerk")
    bench.ask("later")

    bench.report(Tick(number=3))

    assert bench.answers["door/1"].code == -32603
    assert "the answer to door/1 met a defect" in bench.log[0]
    assert bench.row("sum/of the port") == Sum(amount_sat=3)


def test_a_port_reports_what_its_machine_lists() -> None:
    bench = Bench(PORTED, "clerk")

    with pytest.raises(TypeError, match="the port of clerk may not report a Sum"):
        bench.report(Sum(amount_sat=1))


def test_a_client_that_leaves_takes_its_questions_along() -> None:
    """The door forgets them and says so; every machine that hears questions is told by a hook."""
    entry = Bench(OFFICE, "door")
    asked = Asked(client=1, id=1, to="clerk", method="later", params={})
    entry.report(asked)
    entry.report(Asked(client=2, id=1, to="clerk", method="later", params={}))
    (first, second) = entry.take(Ask)

    entry.report(Left(client=1))
    assert entry.told == [("clerk", Abandoned(id=first.id))]
    assert list(entry.rows("~open")) == [f"~open/{second.id}"]

    clerk = Bench(OFFICE, "clerk")
    clerk.hear("door", Abandoned(id=first.id))
    assert clerk.row(f"sum/{first.id}") == Sum(amount_sat=0)


def test_a_machine_that_lists_no_segment_keeps_no_row() -> None:
    bench = Bench(OFFICE, "other")

    refused = bench.ask("well")

    assert refused is not None and refused.code == -32603
    assert "Segment('sum') is not kept by this machine: list it in `keeps`" in bench.log[0]


def test_a_message_is_as_long_as_a_link_can_carry_or_an_error() -> None:
    with pytest.raises(TypeError, match="nobody could read this Answer"):
        OFFICE.written(Answer(id="door/1", text=7))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a/b", "port", "two-1", "", "Big", "1st"])
def test_a_name_that_would_be_taken_for_something_else_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no actor can be called"):
        System([Child(name, Clerk)])


def test_each_actor_and_each_segment_of_a_machine_has_a_name_of_its_own() -> None:
    with pytest.raises(ValueError, match="a name of its own"):
        System([Child("clerk", Clerk), Child("clerk", Forgetful)])
    with pytest.raises(ValueError, match="two segments of one machine are called 'sum'"):
        Keeps([SUMS, Segment("sum", Tick)])


def test_parts_of_a_key_are_of_three_types() -> None:
    with pytest.raises(TypeError, match="of type str, int or bytes"):
        Segment("sum", Sum, by=(float,))  # type: ignore[type-var]


def test_the_kit_knows_who_is_there_and_what_is_kept() -> None:
    world = World(System([Child("clerk", Clerk), DOOR])).with_node("home")
    home = world.nodes["home"]

    with pytest.raises(TypeError, match="nobody is called 'cellar'"):
        ask(home, "cellar", "row")
    with pytest.raises(KeyError, match="nobody is called 'cellar' on home"):
        world.kill(home, "cellar")
    with pytest.raises(KeyError, match="clerk keeps no segment 'smu'"):
        home.row("clerk", "smu/x")
    with pytest.raises(KeyError, match="clerk keeps no segment 'smu'"):
        home.rows("clerk", "smu")
    with pytest.raises(TypeError, match="nobody is called 'cellar', who could have a port"):
        World(System([Child("clerk", Clerk), DOOR]), ports={"cellar": lambda node, order: []})


def test_a_declaration_that_could_not_run_is_refused_at_once() -> None:
    class Loose(msgspec.Struct):
        number: int

    class Hears(Clerk):
        hears = Ask | Loose

    with pytest.raises(TypeError, match="Loose is no message: those are `Value`s"):
        System([Child("clerk", Hears), DOOR])
    with pytest.raises(ValueError, match="the port of clerk is named module:Class, not 'x'"):
        System([Child("clerk", Clerk, port="x"), DOOR])


@pytest.mark.parametrize("where", ["", "clerk", "clerk:x:after", "clerk:3:later", "clerk:3"])
def test_a_crash_that_would_never_come_is_refused(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setenv("DARUMA_CRASH", where)
    with pytest.raises(CannotStart, match="should be actor:number:before or :after"):
        hooks.crash("clerk", "/nowhere")
