"""The kit sees what an actor holds in memory alone, and writes that a timer causes."""

from __future__ import annotations

from typing import Any

import pytest

from actors import DOOR, Ask, Child, Machine, Moment, Segment, Step, System, Value
from actors.testkit import Story, World, ask_once, explore, explore_twice, until
from actors.testkit.explore import branches

HOUR = 3600


class Due(Value, frozen=True, kw_only=True):
    at: int
    rung: bool = False


DUE = Segment("due", Due, by=())
LOUD = Segment("~loud", bool, by=())


class Forgetful(Machine):
    """An alarm that does not order its wake anew after a restart."""

    hears = Ask
    keeps = (DUE,)

    def __init__(self, name: str) -> None:
        self.name = name

    def step(self, step: Step, sender: str, item: Ask, at: Moment) -> None:
        due = DUE.get(step)
        if due is None:
            due = Due(at=int(at.unix_seconds) + HOUR)
            DUE.put(step, due)
            self.order(step, due)
        step.answer(item.id, "set")

    def order(self, step: Step, due: Due) -> None:
        step.wake(due.at)

    def wake(self, step: Step, at: Moment) -> None:
        due = DUE.need(step)
        if due.at <= at.unix_seconds:
            DUE.put(step, due.but(rung=True))


class Careful(Forgetful):
    def resume(self, step: Step, name: str | None, at: Moment) -> None:
        due = DUE.get(step)
        if name is None and due is not None and not due.rung:
            step.wake(due.at)


class Hoarse(Careful):
    """Wakes, but has forgotten how to ring."""

    def order(self, step: Step, due: Due) -> None:
        LOUD.put(step, True)
        step.wake(due.at)

    def wake(self, step: Step, at: Moment) -> None:
        if LOUD.get(step):
            super().wake(step, at)


def _set(world: World) -> None:
    ask_once(world.nodes["home"], "alarm", "1", "set")


def _wait(world: World) -> None:
    rung = lambda: world.nodes["home"].row("alarm", "due").rung  # noqa: E731
    if not rung():
        world.advance(2 * HOUR)
    until(world, rung, "it rings", 10)


def _check(world: World) -> None:
    assert world.nodes["home"].row("alarm", "due").rung


def _story(machine: type[Machine]) -> Story:
    system = System([Child("alarm", machine), DOOR])
    nothing = lambda world: None  # noqa: E731
    begin = lambda: World(system).with_node("home")  # noqa: E731
    return Story(begin, [_set, nothing, _wait], _check)


@pytest.mark.parametrize("explored", [explore, explore_twice])
@pytest.mark.parametrize("machine", [Forgetful, Hoarse])
def test_what_is_lost_from_memory_between_two_sentences_is_seen(
    explored: Any, machine: type[Machine]
) -> None:
    failed = [name for name, _ in explored(_story(machine)).failures]
    assert [name for name in failed if "commit/home/alarm/1/after" in name]


@pytest.mark.parametrize("explored", [explore, explore_twice])
def test_what_is_ordered_anew_is_not(explored: Any) -> None:
    assert not explored(_story(Careful)).failures


def test_a_write_that_a_timer_causes_is_a_point() -> None:
    """Two writes: the question's, and the one an hour later."""
    points = [point.what for point, _, _ in branches(_story(Careful))]
    assert {what[3] for what in points if what[0] == "commit"} == {"1", "2"}
