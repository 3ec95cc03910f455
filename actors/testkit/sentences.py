"""Sentences that every story needs: wait until something is true, ask and wait for the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from actors.engine import door
from actors.testkit.site import Node
from actors.testkit.world import World
from protocol.machine import DEFECT


class Refused(door.Refused):
    """As outside of the kit: an `Answer` with an error, its `code` and `text`; for a defect, with
    what the node's log says of it."""

    def __init__(self, code: int, text: str, log: list[str] | None = None) -> None:
        told = [line for line in log or () if " met a defect" in line]
        super().__init__(code, text)
        self.args = ("\n".join([f"{code}: {text}", *(told if code == DEFECT else ())]),)


def until(world: World, condition: Callable[[], Any], what: str, patience: int = 400) -> Any:
    """Let time pass until it holds: virtual time, so that the wait is no wait. Raises
    `AssertionError` after `patience` times a quarter of a second, with the ends of the logs."""
    for _ in range(patience):
        world.settle()
        found = condition()
        if found:
            return found
        world.advance()
    said = [f"{node.name}: {line}" for node in world.nodes.values() for line in node.log[-5:]]
    raise AssertionError("\n".join([f"it never came true: {what}", *said]))


def ask(node: Node, role: str, method: str, **params: Any) -> Any:
    """Ask and wait for the answer. Raises `Refused`."""
    return answered(node, node.world.ask(node, role, method, **params))


def answered(node: Node, number: str) -> Any:
    """The answer to a question, waited for. Fails with the error that it is."""
    world = node.world
    answer = until(world, lambda: node.answers.get(number), f"{number} is answered")
    if answer.code is not None:
        raise Refused(answer.code, answer.text, node.log)
    return answer.result


def ask_once(node: Node, role: str, number: str, method: str, **params: Any) -> Any:
    """As `ask`, under an id of its own: said again, it is the same question."""
    if number not in node.answers and number not in node.asked:
        node.world.ask(node, role, method, number=number, **params)
    return answered(node, number)
