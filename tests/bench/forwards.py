"""`python -m tests.bench.forwards`: payments that one node relays, alice - bob - carol.

Private channels and a hint; ten and a hundred in flight. Reports; asserts nothing but the books.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.payments import _commits, closed_load
from tests.processes.network import Network
from tests.processes.scenario import prepare

SAT, COUNT, RUNS = 16_000_000, 400, 3


class Three(Network):
    names = ("alice", "bob", "carol")


def one_run(place: Path, coins: int) -> dict[str, Any]:
    run, report = Three(place, coins), {}
    try:
        run.start()
        cids = run.link(("alice", "bob"), ("bob", "carol"), sat=SAT)
        carol, alice = run.nodes["carol"].client.path, run.nodes["alice"].client.path
        closed_load(carol, alice, 1, 30, "warm", lambda: _commits(run))
        for width in (1, 10, 100):
            count = 60 if width == 1 else COUNT
            label = f"w{width}"
            found = closed_load(carol, alice, width, count, label, lambda: _commits(run))
            report[f"{width} in flight"] = found
        run.at_rest(cids)
    finally:
        run.stop()
    return report


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "d"
        coins = prepare(place, Three.names, Three.names)
        reports = [one_run(place, coins) for _ in range(RUNS)]
    shown = {
        load: {
            figure: statistics.median(report[load][figure] for report in reports)
            for figure in reports[0][load]
        }
        for load in reports[0]
    }
    print(json.dumps(shown, indent=1))


if __name__ == "__main__":
    main()
