"""`python -m tests.bench.gossip TOPOLOGY.csv.gz`: a graph as large as the public one, taken in.

One peer over a real connection sends everything, signed, and each channel's output is looked up on
the embedded chain. Twice: as a peer that answers our queries, and kind by kind (announcements, then
updates, then nodes) for the rates. Then: memory, restart of the two actors, of the node, a route.
Reports; asserts nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import select
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from daruma.client import RpcError as Refused
from daruma.playground import ChainNode, NodeProcess, until
from protocol.crypto import secp
from protocol.scid import scid_text
from protocol.wire import gossip
from tests.bench.network import Gossip, node_secret, prepare
from tests.bench.payments import percentile
from tests.kit.stranger import Stranger

PUSH, QUERIES = frozenset({0, 8, 12, 14, 44}), frozenset({0, 7, 8, 11, 12, 14, 44})


class Source(Stranger):
    """A peer that knows the whole network."""

    def __init__(self, node: NodeProcess, network: Gossip) -> None:
        super().__init__(node, os.urandom(32))
        self.network = network
        self.by_scid = {scid: (raw, updates) for scid, raw, updates in network.channels}
        self.over = threading.Event()

    def push(self, messages: list[bytes]) -> None:
        """As fast as the node reads, answering its pings."""
        for start in range(0, len(messages), 200):
            data = b"".join(self.noise.send(raw) for raw in messages[start : start + 200])
            self.sock.sendall(data)
            while select.select([self.sock], [], [], 0)[0]:
                self._answer_pings()

    def _answer_pings(self) -> None:
        for raw in self.noise.receive(self._bytes()):
            if int.from_bytes(raw[:2], "big") == 18:
                size = int.from_bytes(raw[2:4], "big")
                self.say((19).to_bytes(2, "big") + size.to_bytes(2, "big") + bytes(size))

    def serve(self) -> None:
        """Answer queries until the connection ends."""
        with contextlib.suppress(OSError, ConnectionError):
            while not self.over.is_set():
                raw = self.hear_raw()
                kind = int.from_bytes(raw[:2], "big")
                if kind == gossip.QueryChannelRange.TYPE:
                    self._range(gossip.QueryChannelRange.decode(raw[2:]))
                elif kind == gossip.QueryShortChannelIds.TYPE:
                    self._ids(gossip.QueryShortChannelIds.decode(raw[2:]))
                elif kind == 18:
                    size = int.from_bytes(raw[2:4], "big")
                    self.say((19).to_bytes(2, "big") + size.to_bytes(2, "big") + bytes(size))

    def _range(self, query: gossip.QueryChannelRange) -> None:
        scids = sorted(self.by_scid)
        for start in range(0, len(scids), 8000):
            part = scids[start : start + 8000]
            reply = gossip.ReplyChannelRange(
                chain_hash=query.chain_hash,
                first_blocknum=0,
                number_of_blocks=0xFFFFFFFF,
                sync_complete=int(start + 8000 >= len(scids)),
                encoded_short_ids=gossip.encode_ids(part),
            )
            self.say(reply)

    def _ids(self, query: gossip.QueryShortChannelIds) -> None:
        for scid in gossip.decode_ids(query.encoded_short_ids):
            raw, updates = self.by_scid[scid]
            for message in (raw, *updates):
                self.say(message)
        self.say(gossip.ReplyShortChannelIdsEnd(chain_hash=query.chain_hash, full_information=1))


class Place:
    """A fresh node over a chain that has all the outputs."""

    def __init__(self, network: Path) -> None:
        self.temporary = Path(tempfile.mkdtemp(prefix="gossip-"))
        shutil.copytree(network / "chain", self.temporary / "chain")
        self.chain = ChainNode(self.temporary / "chain")
        self.node = NodeProcess(self.temporary / "node", "node", self.chain)
        self.ready()

    def ready(self) -> None:
        until(lambda: self.node.height() == self.chain.height(), "the node has read the chain")

    def pss_mb(self, name: str) -> float:
        pid = self.node.pid(name)
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def memory(self) -> dict[str, float]:
        return {name: self.pss_mb(name) for name in ("gossiper", "router", "peers", "chain")}

    def believed(self, scids: list[bytes], ways: int) -> bool:
        """Whether the last of these channels has (at least) so many updates."""
        return all(
            len(self.node.client.listchannels(short_channel_id=scid_text(scid))["channels"]) >= ways
            for scid in scids
        )

    def stop(self) -> None:
        self.node.stop()
        self.chain.stop()
        shutil.rmtree(self.temporary, ignore_errors=True)


def _last(network: Gossip) -> list[bytes]:
    return [scid for scid, _, _ in sorted(network.channels)[-3:]]


def whole(network: Gossip, folder: Path) -> dict[str, Any]:
    """Taken in by queries; then restarts."""
    place = Place(folder)
    before = place.memory()
    began = time.perf_counter()
    source = Source(place.node, network)
    source.init(QUERIES)
    server = threading.Thread(target=source.serve, daemon=True)
    server.start()
    until(lambda: place.believed(_last(network), 2), "the last channels are believed", 600)
    took = time.perf_counter() - began
    source.over.set()
    after = place.memory()
    report = {
        "whole graph by queries s": round(took, 1),
        "channels a second": round(len(network.channels) / took),
        "memory before MB": {name: round(size, 1) for name, size in before.items()},
        "memory after MB": {name: round(size, 1) for name, size in after.items()},
        **_restarts(place, network),
        "known": len(place.node.client.listnodes()["nodes"]),
    }
    place.stop()
    return report


def _route(place: Place) -> bool:
    """From the node with the most channels to one of the next hundred."""
    for number in range(1, 100):
        with contextlib.suppress(Refused):
            return bool(_getroute(place, 0, number))
    return False


def _getroute(place: Place, source: int, target: int) -> Any:
    ends = [secp.public_key(node_secret(number)).hex() for number in (source, target)]
    asked = {"amount_msat": 10_000_000, "riskfactor": 10, "fromid": ends[0]}
    return place.node.client.getroute(id=ends[1], **asked)["route"]


def _restarts(place: Place, network: Gossip) -> dict[str, Any]:
    until(lambda: _route(place), "a route")
    until(lambda: _commits(place, "router") > 1, "the router has written its copy")
    took = {}
    for name in ("router", "gossiper"):
        pid = place.node.pid(name)
        began = time.perf_counter()
        os.kill(pid, 9)
        until(lambda: place.node.pid(name) != pid, "it is back")  # noqa: B023
        if name == "router":
            until(lambda: _route(place), "a route")
        else:
            until(lambda: place.believed(_last(network), 2), "the graph")
        took[f"{name} killed, first answer s"] = round(time.perf_counter() - began, 2)
    place.node.stop()
    began = time.perf_counter()
    place.node = NodeProcess(place.temporary / "node", "node", place.chain)
    up = time.perf_counter() - began
    until(lambda: _route(place), "a route")
    took["cold start of the node s"] = round(up, 2)
    took["cold start to first route s"] = round(time.perf_counter() - began, 2)
    took |= _routes(place)
    return took


def _commits(place: Place, name: str) -> int:
    return sum(row["commits"] for row in place.node.tree() if row["name"] == name)


def _routes(place: Place) -> dict[str, Any]:
    dice, took = random.Random(1), []
    for _ in range(200):
        source, target = dice.sample(range(2000), 2)
        began = time.perf_counter()
        with contextlib.suppress(Refused):
            _getroute(place, source, target)
        took.append((time.perf_counter() - began) * 1000)
    return {
        "getroute p50 ms": round(percentile(took, 0.5), 1),
        "getroute p99 ms": round(percentile(took, 0.99), 1),
    }


def kind_by_kind(network: Gossip, folder: Path) -> dict[str, Any]:
    """Announcements, then updates, then nodes: how many a second of each."""
    place = Place(folder)
    source = Source(place.node, network)
    source.init(PUSH)
    ordered = sorted(network.channels)
    phases = {
        "announcements": [raw for _, raw, _ in ordered],
        "updates": [update for _, _, updates in ordered for update in updates],
        "nodes": network.nodes,
    }
    last = ordered[-1][0]
    ends = {
        # an announced channel without updates shows only by its nodes
        "announcements": lambda: place.node.client.listnodes(id=_an_end(ordered[-1][1]))["nodes"],
        "updates": lambda: place.believed([last], 2),
        "nodes": lambda: (
            "alias" in place.node.client.listnodes(id=_id(network.nodes[-1]))["nodes"][0]
        ),
    }
    report = {}
    for name, messages in phases.items():
        began = time.perf_counter()
        source.push(messages)
        until(ends[name], f"the last of the {name}", 600)
        took = time.perf_counter() - began
        report[f"{name} a second"] = round(len(messages) / took)
    source.close()
    place.stop()
    return report


def _an_end(raw: bytes) -> str:
    return gossip.ChannelAnnouncement.decode(raw[2:]).node_id_1.hex()


def _id(raw: bytes) -> str:
    return gossip.NodeAnnouncement.decode(raw[2:]).node_id.hex()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("topology")
    parser.add_argument("--count", type=int, help="only so many channels")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "daruma-net")
    options = parser.parse_args()
    network = prepare(options.folder, options.topology, options.count)
    report = {
        "channels": len(network.channels),
        "nodes": len(network.nodes),
        **kind_by_kind(network, options.folder),
        **whole(network, options.folder),
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
