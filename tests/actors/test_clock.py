"""Time for a loop: it follows the system's clock forwards, and never back."""

from __future__ import annotations

from actors.engine.clock import Clock


class Hands:
    def __init__(self) -> None:
        self.wall, self.steady = 1000.0, 5.0

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


def test_R9_a_clock_that_is_set_back_goes_on() -> None:
    hands = Hands()
    clock = Clock(lambda: hands.wall, lambda: hands.steady)
    hands.pass_(10)
    assert clock.now() == 1010

    hands.wall -= 3600
    hands.pass_(2)

    assert clock.now() == 1012


def test_R9_a_clock_that_is_set_forward_is_followed() -> None:
    hands = Hands()
    clock = Clock(lambda: hands.wall, lambda: hands.steady)

    hands.wall += 3600

    assert clock.now() == 4600
