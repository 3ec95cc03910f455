"""Every stored format that was ever frozen is opened, and goes on where it was."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from daruma.client import Client
from tests.processes import frozen
from tests.processes.network import CAPACITY_SAT

ARCHIVES = sorted(frozen.FOLDER.glob("*.tar.xz"))


def test_there_is_one() -> None:
    assert ARCHIVES


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.name)
def test_a_folder_of_an_earlier_release_is_opened(archive: Path, tmp_path: Path) -> None:
    """Channels, coins, payments, what is on its way, an opening: nothing is lost."""
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path / "d", filter="data")
    run = frozen.Three(tmp_path / "d", 0)
    try:
        run.start()
        alice, bob, carol = (run.nodes[name].client for name in run.names)
        assert _statuses(alice, "listpays", "pays") == ["complete", "pending"]
        assert _statuses(bob, "listforwards", "forwards") == ["offered"]
        opening = [row for row in run.alice.channels() if row["total_msat"] == OPENING_MSAT]
        assert [row["state"] for row in opening] == ["CHANNELD_AWAITING_LOCKIN"]

        for one, two in (("alice", "bob"), ("bob", "carol")):
            run.connect(one, two)  # at other places than when they were stopped
        (held,) = carol.call("listinvoices", {"label": frozen.HELD})["invoices"]
        payment = {"payment_hash": held["payment_hash"]}
        assert carol.call("holdinvoicelookup", payment)["state"] == "accepted"
        run.until(lambda: carol.call("holdinvoicesettle", payment), "carol says yes")
        run.until(lambda: _statuses(alice, "listpays", "pays") == ["complete"] * 2, "paid")
        run.until(lambda: _statuses(bob, "listforwards", "forwards") == ["settled"], "relayed")

        run.until(lambda: run.chain.rpc("getrawmempool"), "its transaction is sent again")
        run.chain.mine(6)
        run.until(lambda: run.is_usable("alice", opening[0]["channel_id"]), "it is open too")
        fee_msat = int(bob.call("listforwards")["forwards"][0]["fee_msat"])
        bobs = CAPACITY_SAT * 1000 + 50_000_000 - 20_000_000 + fee_msat
        run.at_rest()
        assert run.ours_msat("carol") == frozen.HELD_MSAT
        assert run.ours_msat("bob") == bobs

        (waits,) = bob.call("listinvoices", {"label": frozen.WAITING})["invoices"]
        assert waits["status"] == "unpaid"
        alice.call("pay", {"bolt11": waits["bolt11"]}, timeout=70)
        run.pays("bob", "alice", 1_000_000, "after it")
    finally:
        run.stop()


OPENING_MSAT = frozen.OPENING_SAT * 1000


def _statuses(client: Client, method: str, key: str) -> list[str]:
    return sorted(row["status"] for row in client.call(method)[key])
