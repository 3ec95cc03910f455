"""What the type checker finds when a row or a message is misused."""

from __future__ import annotations

import re
from pathlib import Path

from mypy import api

ROOT = Path(__file__).parent.parent.parent

# each line with a comment is wrong, in the way that it names
MISUSED = """
from typing import assert_never

from protocol.machine import Step
from protocol.segment import Segment
from protocol.values import Value

class Coin(Value, frozen=True, kw_only=True):
    amount_sat: int

class Note(Value, frozen=True, kw_only=True):
    text: str

COINS = Segment("coin", Coin, by=(bytes, int))
NEWEST = Segment("newest", Coin, by=())

def rows(step: Step) -> None:
    COINS.put(step, Coin(amount_sat=1), b"", 1)
    COINS.put(step, Note(text=""), b"", 1)  # arg-type
    COINS.put(step, Coin(amount_sat=1), "", 1)  # arg-type
    COINS.put(step, Coin(amount_sat=1), b"")  # call-arg
    NEWEST.put(step, Coin(amount_sat=1), 1)  # call-arg
    COINS.get(step, b"", 1).amount_sat  # union-attr
    COINS.need(step, b"", 1).amount  # attr-defined
    for (name, number), coin in COINS.below(step, b"").items():
        number + coin.amount_sat
        name + 1  # operator

def hear(item: Coin | Note) -> None:
    match item:
        case Coin():
            pass
        case _:
            assert_never(item)  # arg-type
"""


def test_a_row_that_is_misused_and_a_case_that_is_missing_are_found(tmp_path: Path) -> None:
    file = tmp_path / "misused.py"
    file.write_text(MISUSED)
    config = tmp_path / "mypy.ini"
    config.write_text(f"[mypy]\nstrict = True\nmypy_path = {ROOT}\n")
    expected = {
        (number, line.rpartition("# ")[2])
        for number, line in enumerate(MISUSED.splitlines(), 1)
        if "# " in line
    }

    said, errors, _ = api.run(
        [str(file), "--config-file", str(config), "--cache-dir", str(tmp_path / "cache")]
    )

    found = re.findall(r"misused\.py:(\d+): error: .*\[([a-z-]+)\]", said)
    assert {(int(number), code) for number, code in found} == expected, said + errors
