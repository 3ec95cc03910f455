"""What a run has covered is counted, and printed at its end: crash points, combinations, kills."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# hundreds of nodes are started: they share their bytecode, even where it is not to be written
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ.setdefault(
    "PYTHONPYCACHEPREFIX", str(Path(__file__).parent.parent / ".pytest_cache" / "bytecode")
)

LOG_BYTES = 6000

Covered = Callable[[str, int], None]
_covered: Counter[str] = Counter()


@pytest.fixture
def covered(record_property: Callable[[str, object], None]) -> Covered:
    """`covered("crash points of a story", 812)`: numbers of one name are added up."""

    def count(what: str, number: int) -> None:
        record_property(f"covered {what}", number)

    return count


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: Any, call: Any) -> Any:
    """A test that fails shows how the logs of its nodes end, before their folders are gone."""
    report = yield
    if report.when == "call" and report.failed:
        for value in getattr(item, "funcargs", {}).values():
            folder = value if isinstance(value, Path) else getattr(value, "folder", None)
            for log in sorted(folder.glob("*/regtest/log")) if isinstance(folder, Path) else ():
                report.sections.append((str(log), log.read_text()[-LOG_BYTES:]))
    return report


def pytest_runtest_logreport(report: Any) -> None:
    if report.when == "call" and report.passed:
        for name, value in report.user_properties:
            if name.startswith("covered "):
                _covered[name.removeprefix("covered ")] += value


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _covered:
        terminalreporter.section("covered")
        for what, number in sorted(_covered.items()):
            terminalreporter.write_line(f"{number:8,} {what}")
