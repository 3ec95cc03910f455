"""The stream of events: each has an index, and is written with the change that caused it.

Told at least once: who reads keeps the index of the last event it has dealt with, and asks for
those after it (`waitevent`). The last ten thousand are kept; who comes later is told of the gap.
"""

from __future__ import annotations

from typing import Any

from protocol.machine import Ask, Moment, Step
from protocol.payments import waiters
from protocol.payments.rows import COUNTERS, EVENTS, Counters, Event

KEPT = 10_000


def happened(step: Step, at: Moment, kind: str, **about: Any) -> None:
    """Kept for `waitevent`, written to the log, and told to who waits. `about`: plain values."""
    counters = COUNTERS.get(step) or Counters()
    index = counters.events + 1
    COUNTERS.put(step, counters.but(events=index))
    event = Event(index=index, at=int(at.unix_seconds), kind=kind, about=about)
    EVENTS.put(step, event, index)
    step.log(f"{kind} {' '.join(f'{name}={value!r}' for name, value in about.items())}")
    if index > KEPT:
        EVENTS.drop(step, index - KEPT)
    for ask in waiters.take(step, waiters.EVENT):
        waiters.answer(step, ask, shown(event))


def wait(step: Step, ask: Ask, at: Moment) -> None:
    """The first event after `lastevent`, now or when it happens."""
    counters = COUNTERS.get(step) or Counters()
    last, begun = counters.events, counters.first_paid
    wanted = ask.params.get("lastevent", 0) + 1
    first = max(begun, last - KEPT + 1)
    if wanted < first:
        waiters.answer(step, ask, {"index": first - 1, "type": "gap", "first_kept": first})
        return
    event = EVENTS.get(step, wanted)
    if event is not None:
        waiters.answer(step, ask, shown(event))
        return
    timeout = ask.params.get("timeout")
    until = at.unix_seconds + timeout if timeout is not None else None
    waiters.wait(step, waiters.EVENT, b"", ask, until, text="Timed out while waiting for an event")


def shown(event: Event) -> dict[str, Any]:
    """A row of `waitevent`."""
    return {"index": event.index, "time": event.at, "type": event.kind, **event.about}
