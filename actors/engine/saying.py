"""What an effect becomes when its step is taken over: bytes for each receiver, or an order to the
port. A mistake in it is met here, by the one who made it, and not by a receiver later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from actors.engine.system import System
from protocol.errors import Refusal
from protocol.machine import (
    DEFECT,
    DEFECT_TEXT,
    UNFIT,
    Answer,
    Ask,
    Deliver,
    Do,
    Effect,
    Log,
    Tell,
    Wake,
    asker,
)
from storage.errors import StoreError

Ready = tuple[Effect, str, bytes]  # the effect, to whom, and what
Log_ = Callable[[str], None]  # a line for the operator


class Saying:
    """Of the actor `name`."""

    def __init__(self, system: System, name: str) -> None:
        self.system, self.name = system, name
        self._child, self._durable = system.child, system.child(name).durable
        self._has_port = bool(system.child(name).port)

    def ready(self, effect: Effect, log: Log_) -> list[Ready]:
        """One for each receiver. Raises `TypeError` for what cannot be said or done."""
        if isinstance(effect, (Tell, Deliver)):
            return self._said(effect, log)
        if isinstance(effect, Wake):
            if not isinstance(effect.unix_seconds, (int, float)):
                raise TypeError("a time to wake at is a number")
        elif isinstance(effect, Do) and not (self._has_port or isinstance(effect.item, Log)):
            raise TypeError(f"{self.name} has no port")
        return [(effect, "", b"")]

    def _said(self, effect: Tell | Deliver, log: Log_) -> list[Ready]:
        self.system.check(effect.to, effect.item)
        if isinstance(effect, Deliver) and not (self._durable and self._child(effect.to).durable):
            who = effect.to if self._durable else self.name
            raise TypeError(f"{who} keeps nothing, and could not count what is delivered: tell it")
        if isinstance(effect.item, Ask) and asker(effect.item.id) != self.name:
            raise TypeError(f"a question of {self.name} is to begin with its name and a slash")
        data = self._written(effect.item, log)
        names = self.system.receivers(effect.to, effect.item)
        return [(effect, name, data) for name in names]

    def _written(self, item: Any, log: Log_) -> bytes:
        """An answer that nobody could read costs its question, and not whatever led to it now."""
        try:
            return self.system.written(item)
        except TypeError as error:
            if not isinstance(item, Answer):
                raise
            log(f"the answer to {item.id} met a defect: {error}")
            return self.system.written(Answer(id=item.id, code=DEFECT, text=DEFECT_TEXT))


def refusal(ask: Ask, error: Exception) -> tuple[str, int, str]:
    """What an exception makes of a question -> a line for the log, or none, and code and text of
    the answer. What a machine declines is no defect, nor are parameters that do not have the types
    they should."""
    if isinstance(error, Refusal):
        return "", error.code, str(error)
    if isinstance(error, StoreError):
        return str(error), -1, str(error)
    if isinstance(error, msgspec.ValidationError):
        line = f"the question {ask.method} does not fit: {error}"
        return line, UNFIT, f"{ask.method}: {error}"
    line = f"the question {ask.method} met a defect: {type(error).__name__}: {error}"
    return line, DEFECT, DEFECT_TEXT
