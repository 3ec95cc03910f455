"""The foreign programs: where `tests/interop/install` has put them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.pair import Pair
from tests.kit import nursery


@pytest.fixture(scope="session", autouse=True)
def nodes_are_forked() -> Iterator[None]:
    with nursery.at_work():
        yield


@pytest.fixture(scope="session")
def peers() -> Path:
    """The folder of the foreign programs."""
    named = os.environ.get("DARUMA_INTEROP")
    if not named:
        pytest.fail("run tests/interop/install FOLDER, then set DARUMA_INTEROP=FOLDER")
    return Path(named)


@pytest.fixture
def folder() -> Iterator[Path]:
    # a unix socket's path holds 107 bytes: pytest's own folders are too deep
    with tempfile.TemporaryDirectory(prefix="interop-") as name:
        yield Path(name)


@pytest.fixture
def pair(peers: Path, folder: Path) -> Iterator[Pair]:
    both = Pair(peers, folder)
    try:
        yield both
    finally:
        both.stop()
