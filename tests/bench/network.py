"""A public network that does not exist, as large as the real one: a chain with its funding outputs,
and the signed gossip of its nodes. Made from the topology in the shared data, kept in a folder.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import heapq
import json
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from protocol.bitcoin import script
from protocol.bitcoin.transaction import Transaction, TxOut
from protocol.channel import proof, scripts
from protocol.channel.proof import Side
from protocol.crypto import secp
from protocol.crypto.hashes import sha256
from protocol.gossip import announce
from protocol.gossip.announce import Policy
from protocol.networks import CHAIN_HASH
from protocol.wire.gossip import NodeAnnouncement

REGTEST = bytes.fromhex(CHAIN_HASH["regtest"])
BLOCKS, PART_SAT = 149, 4_900_000_000


class Channel(NamedTuple):
    """`height` and `vout` place its funding output, in a coinbase."""

    nodes: tuple[int, int]
    capacity_sat: int
    policies: tuple[Policy, Policy]
    height: int
    vout: int

    @property
    def scid(self) -> bytes:
        return (self.height << 40 | self.vout).to_bytes(8, "big")


class Gossip(NamedTuple):
    """All messages, with their type in front; `channels`: announcement and its updates."""

    channels: list[tuple[bytes, bytes, list[bytes]]]
    nodes: list[bytes]


def node_secret(number: int) -> bytes:
    return sha256(b"node %d" % number)


def funding_secret(number: int, which: int) -> bytes:
    return sha256(b"funding %d %d" % (number, which))


def policy(row: dict[str, str], which: int) -> Policy:
    number = {name[:-1]: int(value) for name, value in row.items() if name.endswith(str(which))}
    return Policy(
        cltv_expiry_delta=number["cltv_delta"],
        htlc_minimum_msat=number["htlc_min_msat"],
        htlc_maximum_msat=number["htlc_max_msat"],
        fee_base_msat=number["fee_base_msat"],
        fee_proportional_millionths=number["fee_ppm"],
        disabled=not number["enabled"],
    )


def channels(topology: str, count: int | None = None) -> list[Channel]:
    """In order of the file; each finds a place in the block with the most money left."""
    with gzip.open(topology, "rt") as file:
        return _placed(list(csv.DictReader(file))[:count])


def small(count: int) -> list[Channel]:
    """A ring of so many channels, for tests that need a graph and no topology."""
    terms = {"enabled": 1, "htlc_min_msat": 1, "htlc_max_msat": 10**9, "fee_base_msat": 1000,
             "fee_ppm": 1, "cltv_delta": 40}  # fmt: skip
    both = {f"{name}{which}": str(value) for name, value in terms.items() for which in (0, 1)}
    return _placed(
        [
            {"node1": str(at), "node2": str((at + 1) % count), "capacity_sat": "1000000", **both}
            for at in range(count)
        ]
    )


def _placed(rows: list[dict[str, str]]) -> list[Channel]:
    room = [(-PART_SAT, height) for height in range(1, BLOCKS + 1)]
    heapq.heapify(room)
    used = dict.fromkeys(range(1, BLOCKS + 1), 0)
    places: dict[int, tuple[int, int, int]] = {}
    order = sorted(range(len(rows)), key=lambda at: -int(rows[at]["capacity_sat"]))
    for at in order:
        left, height = heapq.heappop(room)
        capacity_sat = min(int(rows[at]["capacity_sat"]), -left)
        heapq.heappush(room, (left + capacity_sat, height))
        places[at] = (height, used[height], capacity_sat)
        used[height] += 1
    found = []
    for at, row in enumerate(rows):
        height, vout, capacity_sat = places[at]
        most = capacity_sat * 1000
        policies = [policy(row, which) for which in (0, 1)]
        one, two = (
            item.but(
                htlc_maximum_msat=min(item.htlc_maximum_msat, most),
                htlc_minimum_msat=min(item.htlc_minimum_msat, item.htlc_maximum_msat, most),
            )
            for item in policies
        )
        nodes = int(row["node1"]), int(row["node2"])
        found.append(Channel(nodes, capacity_sat, (one, two), height, vout))
    return found


# ---- the chain ---------------------------------------------------------------------------------


def make_chain(folder: Path, all_channels: list[Channel]) -> None:
    """Blocks whose coinbases pay to the channels; then ten more."""
    from daruma.embedded import miner
    from daruma.embedded.chain import EmbeddedChain

    outputs: dict[int, dict[int, TxOut]] = {height: {} for height in range(1, BLOCKS + 1)}
    for number, channel in enumerate(all_channels):
        keys = [secp.public_key(funding_secret(number, which)) for which in (0, 1)]
        form = script.p2wsh(scripts.funding(*keys))
        outputs[channel.height][channel.vout] = TxOut(channel.capacity_sat, form)
    chain = EmbeddedChain(str(folder))
    for height in range(1, BLOCKS + 11):
        first = miner.coinbase(height, b"\x51", 0, [], struct.pack("<I", height))
        known = outputs.get(height, {})
        paid = [known[vout] for vout in range(len(known))]
        rest = first.outputs[0].amount_sat - sum(out.amount_sat for out in paid)
        outs = (*paid, TxOut(rest, b"\x51"), *first.outputs[1:])
        first = Transaction(first.inputs, outs, first.version, first.locktime)
        stamp = max(chain.median_time() + 1, int(time.time()) - 600 * (BLOCKS - height))
        chain.add_block(miner.mine(chain.active[-1], height, stamp, [], first))


# ---- the gossip --------------------------------------------------------------------------------


def make_gossip(all_channels: list[Channel], now: int) -> Gossip:
    keys: dict[int, bytes] = {}

    def key(number: int) -> bytes:
        if number not in keys:
            keys[number] = secp.public_key(node_secret(number))
        return keys[number]

    made = [
        (channel.scid, *_of_channel(number, channel, key, now - number % 86_000))
        for number, channel in enumerate(all_channels)
    ]
    nodes = [_of_node(number, key(number), now - number % 86_000) for number in sorted(keys)]
    return Gossip(made, nodes)


def _of_channel(
    number: int, channel: Channel, key: Any, timestamp: int
) -> tuple[bytes, list[bytes]]:
    one, two = channel.nodes
    secrets = [node_secret(one), node_secret(two)]
    fundings = [funding_secret(number, which) for which in (0, 1)]
    sides = [
        Side(node_id=key(node), funding_key=secp.public_key(funding))
        for node, funding in zip((one, two), fundings, strict=True)
    ]
    bare = proof.unsigned(REGTEST, channel.scid, *sides)
    halves = [proof.sign_half(bare, *pair) for pair in zip(secrets, fundings, strict=True)]
    raw = proof.whole(bare, sides[0], *halves)
    updates = []
    for which in (0, 1):
        way = announce.direction(sides[which].node_id, sides[1 - which].node_id)
        item = channel.policies[which]
        update = announce.update(REGTEST, channel.scid, way, timestamp, item, secrets[which])
        updates.append(update)
    return raw, updates


def _of_node(number: int, node_id: bytes, timestamp: int) -> bytes:
    message = NodeAnnouncement(
        signature=bytes(64),
        features=bytes.fromhex("8000000008a59a1"[-14:]),
        timestamp=timestamp,
        node_id=node_id,
        rgb_color=node_id[:3],
        alias=f"node {number}".encode().ljust(32, b"\0"),
        addresses=bytes([1, 10, *number.to_bytes(3, "big"), 0x26, 0x07]),
    )
    return announce.node_announcement(message, node_secret(number))


# ---- kept in a folder --------------------------------------------------------------------------


def prepare(folder: Path, topology: str, count: int | None = None) -> Gossip:
    """The chain in `folder`/chain, and the gossip; made when it is not there or too old."""
    name = hashlib.sha256(f"{topology} {count}".encode()).hexdigest()[:16]
    kept, made = folder / "gossip", folder / "made"
    fresh = made.exists() and time.time() - json.loads(made.read_text())["at"] < 12 * 3600
    if not fresh or json.loads(made.read_text())["name"] != name:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        command = [sys.executable, "-m", "tests.bench.network", str(folder), topology, str(count)]
        subprocess.run(command, check=True)
        made.write_text(json.dumps({"name": name, "at": time.time()}))
    return _read(kept)


def _write(path: Path, gossip: Gossip) -> None:
    with open(path, "wb") as file:
        for raw in _flat(gossip):
            file.write(len(raw).to_bytes(4, "big") + raw)


def _flat(gossip: Gossip) -> Iterator[bytes]:
    for scid, raw, updates in gossip.channels:
        yield from (scid, raw, *updates)
    yield from gossip.nodes


def _read(path: Path) -> Gossip:
    data, at, items = path.read_bytes(), 0, []
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        items.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    first_node = next(n for n in range(0, len(items), 4) if len(items[n]) != 8)
    found = [(items[n], items[n + 1], items[n + 2 : n + 4]) for n in range(0, first_node, 4)]
    return Gossip(found, items[first_node:])


def main() -> None:
    folder, topology, count = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    found = channels(topology, None if count == "None" else int(count))
    make_chain(folder / "chain" / "regtest", found)
    _write(folder / "gossip", make_gossip(found, int(time.time())))


if __name__ == "__main__":
    main()
