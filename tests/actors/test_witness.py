"""What an actor was hearing when it died, and what that proves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from actors.engine.letters import EXCEPTION, Letters
from actors.engine.witness import (
    SIZE,
    WITHOUT_A_WORD,
    Death,
    Witness,
    death_of,
    hangs,
    page_of,
)
from actors.tree import NODE

DIGEST = "ab" * 16


def _next_life(folder: Path) -> tuple[Letters, Witness]:
    """Of peers, which keeps nothing: its counts are in the page."""
    witness = Witness(str(folder), "peers")
    letters = Letters(NODE, "peers", None, witness)
    letters.begin(0.0)
    return letters, witness


def _lives(folder: Path, *, hung: bool = False) -> int:
    """Each dies while it hears the same, until a life is not to hear it; -> how many did."""
    folder.mkdir()
    letters, witness = _next_life(folder)
    deaths = 0
    while not letters.condemned(DIGEST):
        letters.on_record(DIGEST)
        if hung:
            hangs(str(folder), "peers")
        letters, witness = _next_life(folder)
        deaths += 1
    witness.ends()
    return deaths


def test_a_hang_counts_more_than_a_kill_that_may_be_chance(tmp_path: Path) -> None:
    assert _lives(tmp_path / "hung", hung=True) == 2
    assert _lives(tmp_path / "killed") == 6


def test_what_a_batch_leads_to_is_on_record_too(tmp_path: Path) -> None:
    """The message has passed, but not what follows at the end of its batch."""
    letters, _ = _next_life(tmp_path)
    letters.on_record(DIGEST)
    letters.passed(DIGEST, lambda key, value: None)

    letters, witness = _next_life(tmp_path)
    assert witness.accused == DIGEST

    letters.on_record(DIGEST)
    letters.heard()
    assert _next_life(tmp_path)[1].accused == ""


def test_a_life_that_has_found_out_what_ends_it_tells_so(tmp_path: Path) -> None:
    for exceptions, known in ((1, False), (2, False), (3, True)):
        letters, witness = _next_life(tmp_path)
        letters.suspect(DIGEST, EXCEPTION, "ValueError: stumbled")
        witness.ends("ValueError: stumbled")
        assert death_of(str(tmp_path), "peers").known is known, f"after {exceptions}"

    _, witness = _next_life(tmp_path)
    witness.ends("of something else")
    assert not death_of(str(tmp_path), "peers").known


def test_kills_that_are_not_in_a_row_count_for_nothing(tmp_path: Path) -> None:
    """What is killed again and again is heard in between: it is innocent."""
    for _ in range(10):
        letters, _ = _next_life(tmp_path)
        letters.on_record(DIGEST)
        letters, _ = _next_life(tmp_path)
        assert not letters.condemned(DIGEST)
        letters.on_record(DIGEST)
        letters.passed(DIGEST, lambda key, value: None)


DIES = """
import ctypes, os, sys
from actors.engine.witness import Witness
witness = Witness(sys.argv[1], "one")
witness.trace_crashes()
def falter():
    ctypes.string_at(0)
def give_up():
    os.abort()
def be_killed():
    os.kill(os.getpid(), 9)
globals()[sys.argv[2]]()
"""


@pytest.mark.parametrize(
    ("how", "proof"),
    [
        ("falter", "a crash (Fatal Python error: Segmentation fault, in string_at)"),
        ("give_up", "a crash (Fatal Python error: Aborted, in give_up)"),
        ("be_killed", ""),
    ],
)
def test_a_crash_leaves_a_trace(tmp_path: Path, how: str, proof: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        [sys.executable, "-c", DIES, str(tmp_path), how], env=environment, check=False
    )
    assert ended.returncode < 0

    death = death_of(str(tmp_path), "one")
    assert death == (Death(proof, own=True) if proof else WITHOUT_A_WORD)
    witness = Witness(str(tmp_path), "one")
    assert witness.silent and witness.proof == proof
    witness.trace_crashes()
    assert Witness(str(tmp_path), "one").proof == "", "a life's trace is its own"


@pytest.mark.parametrize("disk", [False, True])
def test_last_words_are_told_once(tmp_path: Path, disk: bool) -> None:
    """And a disk that refuses is nobody's fault."""
    witness = Witness(str(tmp_path), "one")
    witness.ends("ValueError: stumbled", disk=disk)

    words = Death("ValueError: stumbled", own=not disk, disk=disk)
    assert death_of(str(tmp_path), "one") == words
    assert death_of(str(tmp_path), "one") == WITHOUT_A_WORD


def test_what_one_life_said_is_not_told_of_the_next(tmp_path: Path) -> None:
    """Nobody may have been there to hear it: the supervisor died too."""
    Witness(str(tmp_path), "one").ends("the disk is full", disk=True)
    Witness(str(tmp_path), "one")
    assert death_of(str(tmp_path), "one") == WITHOUT_A_WORD

    Witness(str(tmp_path), "one")
    hangs(str(tmp_path), "one")
    assert death_of(str(tmp_path), "one").own
    assert death_of(str(tmp_path), "one") == WITHOUT_A_WORD, "the next one died before it began"


def test_a_page_has_all_its_place_on_disk_from_the_beginning(tmp_path: Path) -> None:
    """A write to a hole of a file would end its process when the disk is full."""
    Witness(str(tmp_path), "one")
    assert os.stat(page_of(str(tmp_path), "one")).st_blocks * 512 >= SIZE
