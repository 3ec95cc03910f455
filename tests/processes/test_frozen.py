"""Every stored format that was ever frozen is opened, and goes on where it was."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.processes import frozen
from tests.processes.scenario import CAPACITY_SAT, Run

ARCHIVES = sorted(frozen.FOLDER.glob("*.tar.xz"))


def test_there_is_one() -> None:
    assert ARCHIVES


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.name)
def test_a_folder_of_an_earlier_release_is_opened(archive: Path, tmp_path: Path) -> None:
    """Channels, coins, payments, an invoice that waits, an opening under way: nothing is lost."""
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path / "d", filter="data")
    run = Run(tmp_path / "d", 0)
    try:
        run.start()
        (paid,) = run.alice.client.call("listpays")["pays"]
        assert paid["status"] == "complete"
        run.until(lambda: sorted(_states(run)) == STATES, "what was open is, what was not is not")
        assert [_ours(run, node) for node in ("alice", "bob")] == [970_000_000, 30_000_000]

        run.alice.client.connect(f"{run.bob.id}@127.0.0.1:{run.bob.port}")
        run.until(lambda: run.chain.rpc("getrawmempool"), "its transaction is sent again")
        run.chain.mine(6)
        run.until(lambda: _states(run) == ["CHANNELD_NORMAL"] * 4, "the second one is open too")
        waits = run.bob.client.call("listinvoices", {"label": frozen.WAITING})["invoices"]
        assert [row["status"] for row in waits] == ["unpaid"]
        run.alice.client.call("pay", {"bolt11": waits[0]["bolt11"]}, timeout=70)
        run.pay(run.bob, run.alice, 1_000_000, "after it")
    finally:
        run.stop()


STATES = ["CHANNELD_AWAITING_LOCKIN"] * 2 + ["CHANNELD_NORMAL"] * 2


def _states(run: Run) -> list[str]:
    return [row["state"] for node in run.nodes.values() for row in node.channels()]


def _ours(run: Run, name: str) -> int:
    """Of the first channel, in millisatoshi."""
    rows = run.nodes[name].channels()
    first = [row for row in rows if row["total_msat"] == CAPACITY_SAT * 1000]
    return int(first[0]["to_us_msat"])
