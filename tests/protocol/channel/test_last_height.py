"""A wish has an end: an HTLC is not offered when its last height has passed."""

from __future__ import annotations

import pytest

from protocol.channel.messages import OVER
from tests.kit.pair import HEIGHT, Pair


@pytest.mark.parametrize("online", [True, False])
def test_a_wish_whose_last_height_has_passed_is_refused(online: bool) -> None:
    pair = Pair()
    pair.ready()
    if not online:
        pair.cut()
    pair.alice.height = HEIGHT + 1

    origin = pair.offer(pair.alice, 1_000_000)
    pair.run()

    assert pair.alice.refused == {origin: OVER}
    assert not pair.alice.live.adds
    assert not pair.alice.channel.htlcs and not pair.bob.channel.htlcs


def test_at_its_last_height_it_is_carried_out() -> None:
    pair = Pair()
    pair.ready()

    origin = pair.offer(pair.alice, 1_000_000)
    pair.run()

    assert [htlc.origin for htlc in pair.alice.channel.htlcs.values()] == [origin]
    assert not pair.alice.refused


def test_while_the_height_is_not_known_a_wish_waits() -> None:
    """After a start, until chain has said where it is."""
    pair = Pair()
    pair.ready()
    pair.alice.height = None

    origin = pair.offer(pair.alice, 1_000_000)
    pair.run()
    assert not pair.alice.channel.htlcs and not pair.alice.refused

    pair.alice.height = HEIGHT
    pair.alice.turn()
    pair.run()
    assert [htlc.origin for htlc in pair.alice.channel.htlcs.values()] == [origin]


def test_what_was_offered_in_time_stays_offered() -> None:
    pair = Pair()
    pair.ready()
    pair.offer(pair.alice, 1_000_000)
    pair.run()

    pair.alice.height = HEIGHT + 500
    pair.alice.turn()
    pair.run()

    assert len(pair.alice.channel.htlcs) == 1
    assert not pair.alice.refused
