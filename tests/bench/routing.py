"""`python -m tests.bench.routing TOPOLOGY.csv.gz`: path finding on the public graph.

1,000 random pairs with four amounts each: `getroute`'s cheapest path, and what a payment asks for:
likely routes in one part, and in up to ten. Reports; asserts nothing. The pairs are of nodes that
can pay and be paid: a third of the public nodes have no enabled channel one way or the other.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import random
import statistics
import time
import tracemalloc

from protocol.router import paths
from protocol.router.graph import Graph, NoRoute, RouteRequest
from protocol.router.liquidity import Knowledge
from protocol.router.messages import FindRoutes
from tests.bench.network import policy
from tests.bench.payments import percentile

AMOUNTS_MSAT = (10_000_000, 100_000_000, 1_000_000_000, 10_000_000_000)
PAIRS = 1000


def node(number: int) -> bytes:
    return b"\x02" + number.to_bytes(32, "big")


def load(path: str) -> tuple[Graph, list[int]]:
    """-> the graph, and the nodes with an enabled channel each way."""
    graph = Graph()
    paying, paid = set[int](), set[int]()
    with gzip.open(path, "rt") as file:
        for number, row in enumerate(csv.DictReader(file)):
            one, two = int(row["node1"]), int(row["node2"])
            scid = number.to_bytes(8, "big")
            graph.add_channel(scid, (node(one), node(two)), int(row["capacity_sat"]))
            for which, ends in ((0, (one, two)), (1, (two, one))):
                terms = policy(row, which)
                graph.set_policy(scid, which, terms)
                if not terms.disabled:
                    paying.add(ends[0])
                    paid.add(ends[1])
    return graph, sorted(paying & paid)


def of_payments(graph: Graph, nodes: list[int], pairs: int, parts: int) -> dict[str, object]:
    """Over the payer's own channels, as full as they may be."""
    dice = random.Random(2)
    took: list[float] = []
    split: list[float] = []
    found = 0
    for _ in range(pairs):
        one, two = (node(number) for number in dice.sample(nodes, 2))
        for amount in AMOUNTS_MSAT:
            question = FindRoutes(
                payment=b"", number=0, target=two, amount_msat=amount,
                most_fee_msat=max(5_000, amount // 100), final_cltv=40, most_delay=2016,
                most_parts=parts, capacities=graph.capacities(one),
            )  # fmt: skip
            began = time.perf_counter()
            answer = paths.find(graph, one, question, Knowledge(), 0.0)
            ms = (time.perf_counter() - began) * 1000
            found += bool(answer.routes)
            took.append(ms)
            if len(answer.routes) > 1:
                split.append(ms)
    return {
        "found": f"{found} of {len(took)}",
        "p50 ms": round(statistics.median(took), 2),
        "p99 ms": round(percentile(took, 0.99), 2),
        "split": len(split),
        "split p50 ms": round(statistics.median(split), 2) if split else None,
        "split p99 ms": round(percentile(split, 0.99), 2) if split else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("topology")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    options = parser.parse_args()
    tracemalloc.start()
    graph, nodes = load(options.topology)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    dice = random.Random(1)
    took: list[float] = []
    found = 0
    began = time.perf_counter()
    graph.route(RouteRequest(node(0), node(1), AMOUNTS_MSAT[0]))
    first = time.perf_counter() - began
    for _ in range(options.pairs):
        one, two = dice.sample(nodes, 2)
        for amount in AMOUNTS_MSAT:
            began = time.perf_counter()
            try:
                graph.route(RouteRequest(node(one), node(two), amount))
                found += 1
            except NoRoute:
                pass
            took.append((time.perf_counter() - began) * 1000)
    payments = {parts: of_payments(graph, nodes, options.pairs, parts) for parts in (1, 10)}
    report = {
        "channels": len(graph),
        "nodes that pay and are paid": len(nodes),
        "graph MB": round(held / 1e6, 1),
        "first route ms": round(first * 1000, 1),
        "routes found": f"{found} of {len(took)}",
        "median ms": round(statistics.median(took), 2),
        "p99 ms": round(percentile(took, 0.99), 2),
        "a payment in one part": payments[1],
        "a payment in up to ten parts": payments[10],
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
