"""A sample of depth 2: crashes in the recovery. All of it: `python -m actors.testkit.deep`."""

from __future__ import annotations

import time

import pytest

from actors.testkit import tale
from actors.testkit.deep import Explorer

EVERY = 230


@pytest.mark.parametrize("share", [0, 1])
def test_a_crash_in_the_recovery_survives(share: int) -> None:
    explorer = Explorer(tale.story(), time.monotonic() + 150)

    explorer.share(share, 2, EVERY)

    assert explorer.report.failures == []
    assert explorer.untried == 0
    assert explorer.report.points > 50
