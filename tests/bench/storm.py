"""Payments while actors are killed: throughput beside the undisturbed run, and the books.

    python -m tests.bench.storm [--payments N]

A line of four nodes, both ways, ten at a time; and a diamond whose payments need three parts, one
at a time, to and fro. First undisturbed, then with an actor of some node killed by pid every
second. What is lost, doubled or closed fails the run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.processes.network import Killer, Network, storm
from tests.processes.scenario import prepare

LINE = (("alice", "bob"), ("bob", "carol"), ("carol", "dave"))
MIDDLE = ("bob", "carol", "erin")
SMALL_MSAT, LARGE_MSAT = 1_000_000, 3_300_000_000


class Five(Network):
    names = ("alice", "bob", "carol", "dave", "erin")


def line(run: Network, count: int, label: str) -> dict[str, Any]:
    routes = [("alice", "dave"), ("dave", "alice")]
    took = storm(run, routes, count, SMALL_MSAT, label=label)
    return {"payments": count, "per second": round(count / took, 1)}


def diamond(run: Network, count: int, label: str) -> dict[str, Any]:
    """One payment fills three channels, the next one brings it back."""
    began, parts = time.monotonic(), 0
    ends = ("dave", "alice")
    for number in range(count):
        payer, payee = ends[number % 2], ends[1 - number % 2]
        parts += run.pays(payer, payee, LARGE_MSAT, f"{label} {number}")["parts"]
    took = time.monotonic() - began
    return {
        "payments": count,
        "per second": round(count / took, 2),
        "parts a payment": round(parts / count, 2),
    }


def one(kind: str, count: int, *, kills: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        place, kind_of = Path(folder) / "d", Network if kind == "line" else Five
        run = kind_of(place, prepare(place, kind_of.names, kind_of.names))
        try:
            run.start()
            if kind == "line":
                cids = run.link(*LINE, announce=True)
                # a little on the far side of each channel, so that both ways can be paid
                run.pays("alice", "dave", 300_000_000, "first")
            else:
                pairs = [("alice", middle) for middle in MIDDLE] + [
                    (middle, "dave") for middle in MIDDLE
                ]
                cids = run.link(*pairs, announce=True)
                run.pays("alice", "dave", 4_500_000_000, "first")
            run.at_rest(cids)
            sums = sum(run.ours_msat(name) for name in run.names)
            work = line if kind == "line" else diamond
            if not kills:
                report = work(run, count, "calm")
            else:
                with Killer(run, 1.0, seed=7) as killer:
                    report = work(run, count, "storm")
                report["kills"] = killer.kills
            run.at_rest(cids)
            assert sum(run.ours_msat(name) for name in run.names) == sums, "money was lost"
            _books(run)
        finally:
            run.stop()
        return report


def _books(run: Network) -> None:
    """Each payment once: what one paid, the others received and earned."""
    paid = received = earned = 0
    for name in run.names:
        client = run.nodes[name].client
        rows = client.listpays()["pays"]
        assert all(row["status"] == "complete" for row in rows), f"{name} has open payments"
        paid += sum(row["amount_sent_msat"] for row in rows)
        invoices = client.listinvoices()["invoices"]
        received += sum(row.get("amount_received_msat", 0) for row in invoices)
        forwards = client.call("listforwards")["forwards"]
        earned += sum(row["fee_msat"] for row in forwards if row["status"] == "settled")
    assert paid == received + earned, f"{paid} paid, {received} received, {earned} earned"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--payments", type=int, default=1000)
    options = parser.parse_args()
    counts = {"line": options.payments * 9 // 10, "diamond": options.payments // 10}
    report: dict[str, Any] = {}
    for kind, count in counts.items():
        calm, stormy = one(kind, count, kills=False), one(kind, count, kills=True)
        ratio = stormy["per second"] / calm["per second"]
        report[kind] = {"calm": calm, "storm": stormy, "ratio": round(ratio, 2)}
        print(json.dumps({kind: report[kind]}, indent=1), flush=True)


if __name__ == "__main__":
    main()
