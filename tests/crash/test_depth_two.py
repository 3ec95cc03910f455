"""A sample of depth 2: crashes in the recovery. All of it: `python -m actors.testkit.node.deep`."""

from __future__ import annotations

import time

import pytest

from actors.testkit.depth_two import Explorer
from actors.testkit.node.stories import tale
from tests.conftest import Covered

EVERY = 188


@pytest.mark.parametrize("share", [0, 1])
def test_a_crash_in_the_recovery_survives(share: int, covered: Covered) -> None:
    explorer = Explorer(tale.story(), time.monotonic() + 150)

    explorer.share(share, 2, EVERY)

    assert explorer.report.failures == []
    covered("crash points: in the recovery, a part", explorer.report.points)
    assert explorer.untried == 0
    assert explorer.report.points > 50
