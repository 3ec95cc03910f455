"""A child's place in the tree: how often is too often."""

from __future__ import annotations

from actors.engine.seat import BACKOFF_SECONDS, HANG_COUNTS, Seat
from actors.engine.system import Child
from actors.engine.witness import WITHOUT_A_WORD, Death
from protocol.machine import Machine

RESTARTS, WINDOW_SECONDS = 20, 60.0
OWN = Death("ValueError: stumbled", own=True)
KNOWN = OWN._replace(known=True)


class Quiet(Machine):
    """Anybody."""


def _seat() -> Seat:
    return Seat("one", Child("one", Quiet))


def _deaths(death: Death, apart_seconds: float, *, hung: bool = False, most: int = 1000) -> int:
    """Of one life after another until it is too often; -> how many."""
    seat, now = _seat(), 0.0
    for number in range(1, most + 1):
        seat.born_at, now, seat.hung = now, now + apart_seconds, hung
        seat.count(death, now)
        if seat.worn_out:
            return number
    return most


def test_deaths_of_its_own_in_a_row_are_worse_than_those_from_outside() -> None:
    assert _deaths(OWN, 0.1) == RESTARTS // 2 + 1
    assert _deaths(WITHOUT_A_WORD, 0.1) == RESTARTS + 1
    assert _deaths(WITHOUT_A_WORD, WINDOW_SECONDS / RESTARTS, most=100) == 100, "few in a window"
    assert _deaths(OWN, WINDOW_SECONDS / 2) == RESTARTS // 2 + 1, "no life was a quiet one"
    assert _deaths(OWN, WINDOW_SECONDS, most=100) == 100, "each one was"
    assert _deaths(OWN, 10.0, hung=True) == RESTARTS // HANG_COUNTS + 1


def test_one_that_finds_out_what_ends_it_gets_somewhere_but_not_for_ever() -> None:
    """Each message costs three deaths; so many may be put aside in a row as deaths are normal."""
    seat, now, messages = _seat(), 0.0, 0
    while not seat.worn_out:
        for death in (OWN, OWN, KNOWN):
            seat.born_at, now = now, now + 0.1
            seat.count(death, now)
        messages += 1
        assert messages <= RESTARTS + 1
    assert messages == RESTARTS + 1

    seat.born_at, now = now, now + WINDOW_SECONDS
    seat.count(KNOWN, now)
    assert not seat.worn_out, "it lived for long"


def test_messages_that_hang_are_put_aside_too() -> None:
    """That is known at the next birth: the death after it tells."""
    seat, now, hangs = _seat(), 0.0, 0
    for message in range(RESTARTS // HANG_COUNTS):
        for number in range(3):
            seat.born_at, now, seat.hung = now, now + 12.0, True
            seat.count(KNOWN if message and not number else OWN, now)
            hangs += 1
            assert not seat.worn_out, f"after {hangs} hangs"


def test_the_pauses_grow_with_the_deaths_of_late() -> None:
    seat, pauses = _seat(), []
    for number in range(len(BACKOFF_SECONDS) + 3):
        seat.count(WITHOUT_A_WORD, number / 10)
        pauses.append(seat.pause_seconds(number / 10))

    assert pauses == [*BACKOFF_SECONDS, *[BACKOFF_SECONDS[-1]] * 3]

    seat.count(WITHOUT_A_WORD, 100.0)
    assert seat.pause_seconds(100.0) == 0, "the others were long ago"
