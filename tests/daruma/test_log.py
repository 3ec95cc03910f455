"""The log: one event a line, in UTC, whatever is in the text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from actors.engine.logbook import MAX_LINE, Logbook, line
from daruma.config import load
from daruma.show import Show

STAMP = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def test_the_time_is_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")

    assert line("chain", "text", 0.25) == b"1970-01-01T00:00:00.250Z chain text\n"


@pytest.mark.parametrize(
    "text",
    ["two\nlines", "a\r\n2026-01-01T00:00:00.000Z payments paid", "\x1b[2J", "\u202e", "x" * 99_999,
     "\ud800", "\0"],
)  # fmt: skip
def test_a_text_stays_on_its_line(text: str) -> None:
    written = line("peers", text, 1.0)

    assert re.fullmatch(STAMP + rb" peers [ -~]*\n", written)
    assert len(written) < MAX_LINE + 60


@pytest.mark.parametrize("keep", [False, True])
def test_lines_are_appended(tmp_path: Path, keep: bool) -> None:
    book = Logbook(str(tmp_path), "node", keep=keep)
    book.write("one")
    book.write("two")

    lines = (tmp_path / "log").read_text().splitlines()
    assert [text.split(" ", 1)[1] for text in lines] == ["node one", "node two"]
    assert (tmp_path / "log").stat().st_mode & 0o077 == 0


def test_a_log_that_cannot_be_written_ends_nobody(tmp_path: Path) -> None:
    Logbook(str(tmp_path / "nowhere"), "node").write("text")


def test_a_log_that_nobody_could_read_is_found_before_the_start(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()

    with pytest.raises(IsADirectoryError):
        Logbook(str(tmp_path), "node").check()


def test_settings_are_told_without_passwords(tmp_path: Path) -> None:
    given = {
        "lightning-dir": str(tmp_path), "alias": "alice", "bitcoin-rpcuser": "me",
        "bitcoin-rpcpassword": "secret", "bitcoin-rpcport": "1",
    }  # fmt: skip

    told = load(given, {}).told

    assert "network=regtest (default)" in told and "alias='alice' (command line)" in told
    assert "chain=127.0.0.1:1" in told
    assert "secret" not in told and "me'" not in told


def test_a_demonstration_says_each_check_once() -> None:
    show = Show(quiet=True)
    show.check("a thing", 1, 1)

    with pytest.raises(AssertionError, match="twice"):
        show.check("a thing", 1, 1)
