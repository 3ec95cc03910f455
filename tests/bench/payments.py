"""`python -m tests.bench.payments`: payments a second, latency, recovery, memory.

Reports, and asserts nothing. Both nodes on this machine, one private channel, fsync on, invoices
made before. Closed loop: so many in flight, each followed by the next. Open loop: steady arrivals,
latency from the planned start.
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
from pathlib import Path
from typing import Any

from tests.processes import scenario
from tests.processes.scenario import Run, prepare


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


def invoices(run: Run, count: int, series: str) -> list[str]:
    call = Caller(run.bob.client.path)
    return [
        call("invoice", amount_msat=1_000_000, label=f"{series} {n}", description="b")["bolt11"]
        for n in range(count)
    ]


def closed(run: Run, width: int, count: int, series: str) -> dict[str, float]:
    waiting = invoices(run, count, series)
    latencies: list[float] = []
    guard = threading.Lock()

    def work() -> None:
        call = Caller(run.alice.client.path)
        while True:
            with guard:
                if not waiting:
                    return
                bolt11 = waiting.pop()
            began = time.perf_counter()
            call("pay", bolt11=bolt11)
            with guard:
                latencies.append(time.perf_counter() - began)

    commits = _commits(run)
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
        "commits a payment": round((_commits(run) - commits) / count, 2),
    }


def steady(run: Run, rate: float, seconds: float, series: str) -> dict[str, float]:
    count = int(rate * seconds)
    bolts = invoices(run, count, series)
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


def _commits(run: Run) -> int:
    return sum(row["commits"] for node in run.nodes.values() for row in node.tree())


def recovery(run: Run, times: int) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for name in ("chain", "wallet", "funding", "monitors", "peers", "payments", "api"):
        took = [run.alice.kill_actor(name) * 1000 for _ in range(times)]
        found[name] = {
            "median ms": round(statistics.median(took)), "worst ms": round(max(took))
        }  # fmt: skip
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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=400)
    options = parser.parse_args()
    report: dict[str, Any] = {}
    scenario.CAPACITY_SAT = 16_000_000
    with tempfile.TemporaryDirectory(dir="/tmp") as temporary:
        coins = prepare(Path(temporary) / "d")
        report["fdatasync ms"] = fsync_ms(Path(temporary))
        run = Run(Path(temporary) / "d", coins)
        try:
            run.start()
            began = time.perf_counter()
            run.open()
            report["opening s"] = round(time.perf_counter() - began, 3)
            closed(run, 1, 50, "warm")
            for width in (1, 10, 100):
                report[f"{width} in flight"] = closed(run, width, options.count, f"w{width}")
            report["steady 100/s"] = steady(run, 100, 4, "steady 100")
            report["steady 200/s"] = steady(run, 200, 4, "steady 200")
            report["memory"] = memory(run)
            report["recovery"] = recovery(run, 5)
        finally:
            run.stop()
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
