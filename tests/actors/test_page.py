"""docs/actors.md holds: its bank is run from the page, in the kit and as real processes."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mypy import api

from actors import Refused, ask
from actors.engine.keeps import Keeps

ROOT = Path(__file__).parent.parent.parent
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "actors.md").read_text(), re.DOTALL)
KILLS, ORDERS = 12, 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bank.py").write_text(BLOCKS[0])
    (tmp_path / "test_bank.py").write_text(BLOCKS[1])
    return tmp_path


def _environment(folder: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": f"{folder}:{ROOT}"}


def test_the_bank_is_short() -> None:
    machine = BLOCKS[0][BLOCKS[0].index("class Bank(") : BLOCKS[0].index("BANK =")].strip()

    assert len(machine.splitlines()) <= 50
    assert len(BLOCKS[1].strip().splitlines()) <= 30


def test_the_banks_own_test_passes(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-p", "no:xdist", "test_bank.py"],
        cwd=folder, env=_environment(folder), capture_output=True, text=True, timeout=120,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout
    assert "6 passed" in done.stdout


def test_the_type_checker_knows_the_bank(folder: Path) -> None:
    config = folder / "mypy.ini"
    config.write_text(f"[mypy]\nstrict = True\nmypy_path = {ROOT}\n")
    wrong = BLOCKS[0].replace("            case WasCredited():\n                pass\n", "")
    assert wrong != BLOCKS[0]
    (folder / "wrong.py").write_text(wrong)
    check = ["--config-file", str(config), "--cache-dir", str(folder / "cache")]

    right, _, status = api.run([*check, str(folder / "bank.py")])
    missing, _, _ = api.run([*check, str(folder / "wrong.py")])

    assert status == 0, right
    assert "assert_never" in missing


def _block(words: str) -> str:
    (found,) = [block for block in BLOCKS if words in block]
    return found


def test_the_pages_upgrade_climbs() -> None:
    after = BLOCKS[0].replace("balance: int = 100", "owner: str\n    balance: int = 100")
    old, new = {"__name__": "old"}, {"__name__": "new"}
    exec(BLOCKS[0], old)
    exec(after, new)
    exec(_block("version=2"), new)
    data = Keeps([old["ACCOUNT"]]).encode("account", old["Account"](balance=7))

    row = Keeps([new["ACCOUNT"]]).decode("account", data)

    assert (row.balance, row.owner) == (7, "nobody")


def test_the_pages_port_prints_and_reports(tmp_path: Path) -> None:
    shop: dict[str, Any] = {}
    exec(_block("class Printer"), shop)
    fed: list[Any] = []
    printer = shop["Printer"](SimpleNamespace(folder=str(tmp_path), feed=fed.append))

    printer.do(shop["Print"](id="1", text="two apples"))
    printer.flush()

    assert (tmp_path / "receipts").read_text() == "two apples\n"
    assert fed == [shop["Printed"](id="1")]


@pytest.fixture
def bank(folder: Path) -> Iterator[str]:
    """The bank as processes; -> its folder."""
    home = folder / "home"
    command = [sys.executable, "bank.py", str(home)]
    process = subprocess.Popen(
        command, cwd=folder, env=_environment(folder), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == f"ready {home}\n"
        yield str(home)
    finally:
        pids = [row["pid"] for row in _tree(str(home))]
        process.terminate()
        assert process.wait(30) == 0
        process.stdout.close()
    assert len(pids) == 3 and not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def _tree(home: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = ask(home, "tree", "")
    return rows


def _kill(home: str, dice: random.Random) -> None:
    rows = _tree(home)
    if rows:  # a door that has just been born does not know of the others
        os.kill(dice.choice(rows)["pid"], signal.SIGKILL)


def test_the_bank_lives_through_real_kills(bank: str) -> None:
    dice, asked = random.Random(1), []
    for number in range(ORDERS):
        by, to = ("east", "west") if number % 2 else ("west", "east")
        amount = dice.randrange(1, 5)
        order = {"id": str(number), "to": to, "amount": amount}
        assert ask(bank, by, "transfer", **order) == "sent"
        asked.append((by, order))
        if number % 8 == 0:
            continue  # some are asked in peace
        try:
            _kill(bank, dice)
        except ProcessLookupError:
            continue  # it has just died of the kill before
    expected = {"east": 100, "west": 100}
    for by, order in asked:
        expected[by] -= order["amount"]
        expected[order["to"]] += order["amount"]
        # asked once more, nothing is paid twice
        assert ask(bank, by, "transfer", **order) == "sent"

    assert {name: ask(bank, name, "balance") for name in expected} == expected
    deadline = time.monotonic() + 20
    while sum(row["restarts"] for row in _tree(bank)) < KILLS and time.monotonic() < deadline:
        _kill(bank, dice)
        assert {name: ask(bank, name, "balance") for name in expected} == expected
    assert sum(row["restarts"] for row in _tree(bank)) >= KILLS


def test_what_is_asked_badly_costs_its_question(bank: str) -> None:
    for to, method, params, code in (
        ("north", "balance", {}, -32601),
        ("door", "balance", {}, -32601),
        ("east", "rob", {}, -32601),
        ("east", "balance", {"x": 2**70}, -32602),
        ("east", "transfer", {"id": "1"}, -32602),
        ("east", "transfer", {"id": 7, "to": [], "amount": "x"}, -32602),
        ("east", "transfer", {"id": "1", "to": "west", "amount": 10**6}, 1),
    ):
        with pytest.raises(Refused) as refused:
            ask(bank, to, method, **params)
        assert refused.value.code == code

    assert ask(bank, "east", "balance") == 100
    assert [row["restarts"] for row in _tree(bank)] == [0, 0, 0]
