"""Prepared folders and running nodes, made once for each worker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.scenario import Run, prepare


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """Two nodes that know a chain, and how many satoshi alice has."""
    folder = Path("/tmp") / f"daruma-tests-{os.getpid()}-{tmp_path_factory.getbasetemp().name}"
    folder.mkdir()
    coins = prepare(folder / "d")
    return folder / "d", coins


@pytest.fixture
def run(prepared: tuple[Path, int]) -> Iterator[Run]:
    """A history of its own; afterwards nothing may be left behind."""
    folder, coins = prepared
    history = Run(folder, coins)
    try:
        yield history
    finally:
        history.stop()
