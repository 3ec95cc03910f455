"""Prepared folders and running nodes, made once for each worker."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.testkit.hooks import BLOCKING
from tests.kit import nursery
from tests.processes.network import NAMES, Network
from tests.processes.scenario import Run, prepare


@pytest.fixture(scope="session", autouse=True)
def nodes_are_forked() -> Iterator[None]:
    with nursery.at_work():
        yield


@pytest.fixture(scope="session")
def prepared() -> Iterator[tuple[Path, int]]:
    """Two nodes that know a chain, and how many satoshi alice has."""
    # a unix socket's path holds 107 bytes: pytest's own folders are too deep
    with tempfile.TemporaryDirectory(prefix="daruma-") as name:
        folder = Path(name) / "d"
        yield folder, prepare(folder)


@pytest.fixture
def run(prepared: tuple[Path, int]) -> Iterator[Run]:
    """A history of its own; afterwards nothing may be left behind."""
    folder, coins = prepared
    history = Run(folder, coins)
    try:
        yield history
    finally:
        history.stop()


@pytest.fixture(scope="session")
def prepared_four() -> Iterator[tuple[Path, int]]:
    with tempfile.TemporaryDirectory(prefix="four-") as folder:
        place = Path(folder) / "d"
        yield place, prepare(place, NAMES, NAMES)


@pytest.fixture
def four(prepared_four: tuple[Path, int]) -> Iterator[Network]:
    """alice, bob, carol and dave with coins, and disks that can be blocked."""
    network = Network(*prepared_four)
    try:
        network.start({name: BLOCKING for name in NAMES})
        yield network
    finally:
        network.stop()
