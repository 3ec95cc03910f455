"""`python -m tests.bench.payments`: payments a second, latency, recovery, memory.

Reports the median of several runs, and asserts nothing. Both nodes on this machine, one private
channel, fsync on, invoices made before. Closed loop: so many in flight, each followed by the next.
Open loop: steady arrivals, latency from the planned start.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from actors.tree import NODE
from tests.processes import scenario
from tests.processes.scenario import Run, prepare

ACTORS = NODE.names


class Caller:
    """A kept connection to a node's socket."""

    def __init__(self, path: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.buffer = b""

    def __call__(self, method: str, **params: Any) -> Any:
        self.sock.sendall(json.dumps({"id": 1, "method": method, "params": params}).encode())
        while b"\n\n" not in self.buffer:
            self.buffer += self.sock.recv(1 << 16)
        reply, _, self.buffer = self.buffer.partition(b"\n\n")
        answer = json.loads(reply)
        if "error" in answer:
            raise RuntimeError(answer["error"]["message"])
        return answer["result"]


def percentile(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def invoices(payee: str, count: int, series: str) -> list[str]:
    call = Caller(payee)
    return [
        call("invoice", amount_msat=1_000_000, label=f"{series} {n}", description="b")["bolt11"]
        for n in range(count)
    ]


def closed(run: Run, width: int, count: int, series: str) -> dict[str, float]:
    payee, payer = run.bob.client.path, run.alice.client.path
    before = _cpu_ms(run)
    found = closed_load(payee, payer, width, count, series, lambda: _commits(run))
    return found | {"cpu ms a payment": round((_cpu_ms(run) - before) / count, 3)}


def _cpu_ms(run: Run) -> float:
    """Processor time of all processes of both nodes so far; invoices are counted with payments."""
    ticks = 0
    for node in run.nodes.values():
        for row in node.tree():
            stat = Path(f"/proc/{row['pid']}/stat").read_text().rpartition(")")[2].split()
            ticks += int(stat[11]) + int(stat[12])
    return ticks * 1000 / os.sysconf("SC_CLK_TCK")


def closed_load(
    payee: str, payer: str, width: int, count: int, series: str, commits_of: Callable[[], int]
) -> dict[str, float]:
    """`width` payments at once until `count` are done; `payee` and `payer` are sockets."""
    waiting = invoices(payee, count, series)
    latencies: list[float] = []
    guard = threading.Lock()

    def work() -> None:
        call = Caller(payer)
        while True:
            with guard:
                if not waiting:
                    return
                bolt11 = waiting.pop()
            began = time.perf_counter()
            call("pay", bolt11=bolt11)
            with guard:
                latencies.append(time.perf_counter() - began)

    commits = commits_of()
    began = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(width)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    return {
        "per second": round(count / took, 1),
        "p50 ms": round(percentile(latencies, 0.5) * 1000, 1),
        "p99 ms": round(percentile(latencies, 0.99) * 1000, 1),
        "commits a payment": round((commits_of() - commits) / count, 2),
    }


def steady(run: Run, rate: float, seconds: float, series: str) -> dict[str, float]:
    count = int(rate * seconds)
    bolts = invoices(run.bob.client.path, count, series)
    latencies: list[float] = []
    start = time.perf_counter() + 0.2
    callers = threading.local()

    def pay(number: int) -> None:
        planned = start + number / rate
        time.sleep(max(0.0, planned - time.perf_counter()))
        if not hasattr(callers, "call"):
            callers.call = Caller(run.alice.client.path)
        callers.call("pay", bolt11=bolts[number])
        latencies.append(time.perf_counter() - planned)

    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(64) as pool:
        list(pool.map(pay, range(count)))
    return {
        "offered": rate,
        "p50 ms": round(percentile(latencies, 0.5) * 1000, 1),
        "p99 ms": round(percentile(latencies, 0.99) * 1000, 1),
    }


def _commits(run: Any) -> int:
    return sum(row["commits"] for node in run.nodes.values() for row in node.tree())


def recovery(run: Run) -> dict[str, list[float]]:
    """Milliseconds from SIGKILL until the next incarnation is in the tree and answers.

    Twice each, for from the third death in a minute on the supervisor waits on purpose.
    """
    found: dict[str, list[float]] = {}
    for name in ACTORS:
        found[name] = [run.alice.kill_actor(name) * 1000 for _ in range(2)]
        run.until(run.alice.usable, "usable again")
    return found


def memory(run: Run) -> dict[str, Any]:
    rows = run.alice.tree()
    pss = 0
    for row in rows:
        for line in Path(f"/proc/{row['pid']}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                pss += int(line.split()[1])
    return {"processes": len(rows), "pss MB": round(pss / 1024)}


def fsync_ms(folder: Path) -> float:
    took = []
    with open(folder / "probe", "wb") as file:
        for _ in range(200):
            file.write(bytes(4096))
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - began) * 1000)
    return round(statistics.median(took), 3)


def one_run(prepared: Path, coins: int, count: int) -> dict[str, Any]:
    """All figures of two nodes that start anew."""
    report: dict[str, Any] = {}
    run = Run(prepared, coins)
    try:
        run.start()
        began = time.perf_counter()
        run.open()
        report["opening"] = {"s": round(time.perf_counter() - began, 3)}
        closed(run, 1, 50, "warm")
        for width in (1, 10, 100):
            report[f"{width} in flight"] = closed(run, width, count, f"w{width}")
        for rate in (100, 200):
            report[f"steady {rate}/s"] = steady(run, rate, 4, f"steady {rate}")
        report["memory"] = memory(run)
        report["recovery"] = recovery(run)
    finally:
        run.stop()
    return report


def summary(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each figure the median, and the range; of recoveries all samples together."""
    found: dict[str, Any] = {}
    for load in reports[0]:
        if load == "recovery":
            continue
        found[load] = {
            figure: _spread([report[load][figure] for report in reports])
            for figure in reports[0][load]
        }
    found["recovery ms"] = {}
    for name in ACTORS:
        took = [round(ms) for report in reports for ms in report["recovery"][name]]
        found["recovery ms"][name] = _spread(took)
    return found


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):g} ({min(values):g} to {max(values):g})"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=400, help="payments for each closed load")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    scenario.CAPACITY_SAT = 16_000_000
    with tempfile.TemporaryDirectory(dir="/tmp") as temporary:
        coins = prepare(Path(temporary) / "d")
        probe = fsync_ms(Path(temporary))
        reports = [
            one_run(Path(temporary) / "d", coins, options.count) for _ in range(options.runs)
        ]
    print(json.dumps({"fdatasync ms": probe, **summary(reports)}, indent=1))


if __name__ == "__main__":
    main()
