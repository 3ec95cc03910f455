"""Find a point of a story by what becomes true there, and crash exactly at it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from actors.testkit.world import World

Condition = Callable[[Any], object]
W = TypeVar("W", bound=World)
PATIENCE = 5_000


def step_until(world: W, condition: Condition) -> W:
    """Deliver message by message until it is true."""
    for _ in range(PATIENCE):
        if condition(world):
            return world
        if not world.step():
            world.tick(0.1)
    raise AssertionError("the point was never reached")


def at_commit(world: W, node: str, role: str, when: str, victim: str, condition: Condition) -> W:
    """A world that has just crashed before or after the commit that made the condition true.

    `victim`: "actor" or "node".
    """
    for _ in range(PATIENCE):
        before = world.copy()
        if not world.step():
            world.tick(0.1)
        if condition(world):
            number = before.commits.get((node, role), 0) + 1
            before.crash = (node, role, number, when, victim)
            for _ in range(50):
                if before.crash is None:
                    return before
                if not before.step():
                    before.tick(0.1)
            raise AssertionError("the condition did not come true by a commit of that actor")
    raise AssertionError("the point was never reached")
