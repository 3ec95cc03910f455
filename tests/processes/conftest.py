"""Prepared folders and running nodes, made once for each worker."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.scenario import Run, prepare


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
