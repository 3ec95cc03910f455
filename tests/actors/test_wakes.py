"""When an actor wants to be called."""

from __future__ import annotations

import random

from actors.engine.wakes import Wakes


def test_each_time_is_due_once_and_the_earliest_is_at_hand() -> None:
    wakes = Wakes()
    assert wakes.first is None
    assert not wakes.take(1e12)
    times = [float(number % 40) for number in range(100)]
    random.Random(7).shuffle(times)
    for when in times:
        wakes.add(when)

    assert wakes.first == 0
    assert wakes.take(10.0)
    assert not wakes.take(10.5)
    wakes.add(3.0)
    assert wakes.first == 3
    assert wakes.take(38)
    assert wakes.first == 39
    assert wakes.take(39)
    assert wakes.first is None
