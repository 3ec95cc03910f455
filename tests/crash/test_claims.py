"""Claims over several channels, and relayed payments: every crash point, every subset of disks."""

from __future__ import annotations

import pytest

from actors.testkit.explore import explore
from actors.testkit.node import subsets
from actors.testkit.node.stories import diamond
from tests.conftest import Covered

ROLES = ["payments", "monitors-1", "monitors-2", "monitors-3"]


@pytest.mark.parametrize("share", range(2))
def test_every_crash_point_of_a_claim_over_two_channels_survives(
    share: int, covered: Covered
) -> None:
    report = explore(diamond.claim(2), share=share, shares=2)

    assert report.failures == []
    covered("crash points: a claim over two channels", report.points)
    assert report.points > 50


@pytest.mark.parametrize("share", range(2))
def test_every_crash_point_of_a_claim_over_three_channels_survives(
    share: int, covered: Covered
) -> None:
    report = explore(diamond.claim(3), share=share, shares=2)

    assert report.failures == []
    covered("crash points: a claim over three channels", report.points)
    assert report.points > 70


@pytest.mark.parametrize("share", range(2))
def test_every_crash_point_of_a_relayed_payment_survives(share: int, covered: Covered) -> None:
    report = explore(diamond.line(), share=share, shares=2)

    assert report.failures == []
    covered("crash points: a relayed payment", report.points)
    assert report.points > 50


@pytest.mark.parametrize("share", range(2))
def test_every_crash_point_of_two_relayed_parts_survives(share: int, covered: Covered) -> None:
    report = explore(diamond.diamond(), share=share, shares=2)

    assert report.failures == []
    covered("crash points: two relayed parts", report.points)
    assert report.points > 60


def test_every_combination_of_disks_of_a_claim_over_two_channels(covered: Covered) -> None:
    """Possible ones end with all parts claimed; what somebody has put back is refused."""
    report = subsets.every(diamond.claim(2), "bob", ROLES)

    assert report.failures == []
    covered("combinations of disks: two channels", report.possible + report.refused)
    assert report.possible == report.survived > 20
    assert report.refused > 100


@pytest.mark.parametrize("share", range(2))
def test_combinations_of_disks_of_a_claim_over_three_channels(share: int, covered: Covered) -> None:
    """A part of them; all: python -m actors.testkit.node.subsets 3."""
    report = subsets.every(diamond.claim(3), "bob", ROLES, share=share, shares=8)

    assert report.failures == []
    covered("combinations of disks: three channels, a part", report.possible + report.refused)
    assert report.possible == report.survived > 0
