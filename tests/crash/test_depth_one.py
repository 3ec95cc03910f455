"""Every crash point of four stories survives; with a protective rule off, some do not."""

from __future__ import annotations

import dataclasses

import pytest

from actors.engine.host import Switches
from actors.testkit.explore import explore, first_failure
from actors.testkit.node.stories import parts, public, several, tale
from tests.conftest import Covered

SHARES = 2


@pytest.mark.parametrize("share", range(SHARES))
def test_every_crash_point_of_open_pay_close_survives(share: int, covered: Covered) -> None:
    """Kill at every durable write and message, cut at every peer message: the same end."""
    report = explore(tale.story(), share=share, shares=SHARES)

    assert report.failures == []
    covered("crash points: open, pay, close", report.points)
    assert report.points > 50
    assert report.points == report.survived


@pytest.mark.parametrize("share", range(SHARES))
def test_every_crash_point_of_a_payment_in_parts_survives(share: int, covered: Covered) -> None:
    """A part that is said twice counts once."""
    report = explore(parts.story(), share=share, shares=SHARES)

    assert report.failures == []
    covered("crash points: a payment in parts", report.points)
    assert report.points > 50


@pytest.mark.parametrize("share", range(SHARES))
def test_every_crash_point_of_an_announcement_survives(share: int, covered: Covered) -> None:
    """The same edge, both updates and both nodes in both graphs."""
    report = explore(public.story(), share=share, shares=SHARES)

    assert report.failures == []
    covered("crash points: an announcement", report.points)
    assert report.points > 100


@pytest.mark.parametrize("share", range(SHARES))
def test_every_crash_point_of_channels_in_one_transaction_survives(
    share: int, covered: Covered
) -> None:
    """Two channels, one of them used without confirmation: both or none, and never two of them."""
    report = explore(several.story(), share=share, shares=SHARES)

    assert report.failures == []
    covered("crash points: channels in one transaction", report.points)
    assert report.points > 80


@pytest.mark.parametrize("rule", ["save_before_send", "resume", "announce_restarts"])
def test_each_protective_rule_is_needed(rule: str) -> None:
    """Switched off, the same enumeration finds a history that ends wrong. What the fourth one,
    inbox marks, protects is seen where payments are relayed (`test_mutations.py`)."""
    switches = dataclasses.replace(Switches(), **{rule: False})

    report = first_failure(tale.story(switches))

    assert report.failures, f"{rule} protects nothing that this story can show"
