"""Peers that want to fill our memory: it stays bounded, and an honest peer is served meanwhile."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from daruma.playground import ChainNode, NodeProcess, until
from protocol.features import OUR_INIT
from protocol.wire import setup
from protocol.wire.gossip import GossipTimestampFilter, NodeAnnouncement
from tests.bench import network
from tests.kit import nursery
from tests.kit.opener import asking
from tests.kit.stranger import Stranger

CHANNELS, READERS, PEERS, OPENINGS = 1500, 1000, 100, 100_000
MEGABYTE = 1 << 20
QUIET = OUR_INIT - {7, 11}


# a node that stands alone on a machine takes 206 MB; beside others it shares some of them
HALF_A_NODE = 103 * MEGABYTE


class Place:
    """One node over a chain that knows a small network's outputs."""

    def __init__(self, folder: Path) -> None:
        self.channels = network.small(CHANNELS)
        network.make_chain(folder / "chain" / "regtest", self.channels)
        self.chain = ChainNode(folder / "chain")
        with nursery.fresh():  # what it measures is its own: nothing is shared with a nursery
            self.node = NodeProcess(folder / "node", "node", self.chain)
        until(lambda: self.node.height() == self.chain.height(), "the node has read the chain")
        self.honest = Stranger(self.node)
        self.honest.init(QUIET)

    def learns_the_network(self) -> None:
        gossip = network.make_gossip(self.channels, int(time.time()))
        source = Stranger(self.node)
        source.init(QUIET)
        for _, raw, updates in gossip.channels:
            for message in (raw, *updates):
                source.say(message)
        until(lambda: len(self.node.client.listchannels()["channels"]) == 2 * CHANNELS, "learnt")
        source.close()

    def memory(self) -> int:
        """Bytes that all processes of the node hold, but for the supervisor, which no peer can
        reach: it imports modules for later lives meanwhile. Mapped files are shared with whatever
        else runs, and do not count."""
        total = 0
        for row in self.node.tree():
            if row["name"] == "supervisor":
                continue
            for line in Path(f"/proc/{row['pid']}/smaps_rollup").read_text().splitlines():
                total += int(line.split()[1]) * 1024 if line.startswith("Pss_Anon:") else 0
        return total

    def serves(self) -> None:
        """An honest peer's ping is answered."""
        self.honest.sock.settimeout(20)
        self.honest.say(setup.Ping(num_pong_bytes=7, ignored=b""))
        while not isinstance(self.honest.hear(), setup.Pong):
            pass

    def stop(self) -> None:
        self.node.stop()
        self.chain.stop()


@pytest.fixture
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="attack-") as name:
        made = Place(Path(name))
        try:
            yield made
        finally:
            made.stop()


@pytest.mark.timeout(400)
def test_a_thousand_filters_of_peers_that_do_not_read(place: Place) -> None:
    """Each has asked for everything: a turn for each is all that it costs."""
    place.learns_the_network()
    place.serves()
    before = place.memory()
    wanted = GossipTimestampFilter(
        chain_hash=network.REGTEST, first_timestamp=0, timestamp_range=0xFFFFFFFF
    )
    readers = []
    for _ in range(READERS):
        reader = Stranger(place.node)
        reader.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.init(QUIET)
        reader.say(wanted)
        readers.append(reader)
    place.serves()

    grown = place.memory() - before

    assert grown < 50 * MEGABYTE, f"{grown / MEGABYTE:.0f} MB"
    for reader in readers:
        reader.close()


@pytest.mark.timeout(400)
def test_one_gigabyte_of_gossip_from_one_peer(place: Place) -> None:
    before = place.memory()
    attacker = Stranger(place.node)
    attacker.init(QUIET)
    sent, most, number = 0, 0, 0
    while sent < 1 << 30:
        number += 1
        message = NodeAnnouncement(
            signature=os.urandom(64), features=b"", timestamp=int(time.time()),
            node_id=b"\x02" + os.urandom(32), rgb_color=b"abc", alias=bytes(32),
            addresses=bytes(65_000),
        ).encode()  # fmt: skip
        attacker.say(message)
        sent += len(message)
        if number % 1000 == 0:
            place.serves()
            most = max(most, place.memory() - before)
            _answer_pings(attacker)

    place.serves()
    assert most < 50 * MEGABYTE, f"{most / MEGABYTE:.0f} MB"
    assert not place.node.client.listnodes()["nodes"]
    attacker.close()


def _answer_pings(stranger: Stranger) -> None:
    """Who does not answer is thought to be gone."""
    poll = select.poll()
    poll.register(stranger.sock, select.POLLIN)
    while poll.poll(0):
        message = stranger.hear()
        if isinstance(message, setup.Ping):
            stranger.say(setup.Pong(ignored=bytes(message.num_pong_bytes)))


@pytest.mark.timeout(600)
def test_a_hundred_thousand_fake_openings_from_many_peers(place: Place) -> None:
    """A few are negotiated, all others refused; nothing is written, and memory stays below 1.5."""
    before, commits = place.memory(), _commits(place.node)
    first = asking(0).encode()

    def attack(which: int) -> None:
        attacker = Stranger(place.node)
        attacker.init(QUIET)
        reader = threading.Thread(target=_swallow, args=(attacker,), daemon=True)
        reader.start()
        for number in range(OPENINGS // PEERS):
            temporary = (which << 32 | number).to_bytes(32, "big")
            attacker.say(first[:34] + temporary + first[66:])
        attacker.say(setup.Ping(num_pong_bytes=1, ignored=b""))
        reader.join(300)
        attacker.close()

    threads = [threading.Thread(target=attack, args=(which,)) for which in range(PEERS)]
    for thread in threads:
        thread.start()
    most = 0
    while any(thread.is_alive() for thread in threads):
        place.serves()
        most = max(most, place.memory() - before)
        threads[-1].join(0.5)

    place.serves()
    assert most < HALF_A_NODE, f"{most / MEGABYTE:.0f} MB more than {before / MEGABYTE:.0f}"
    assert not place.node.channels()
    assert _commits(place.node) <= commits + 5


def _swallow(stranger: Stranger) -> None:
    """Reads until the answer to the last message."""
    with contextlib.suppress(OSError, ConnectionError):
        while not isinstance(stranger.hear(), setup.Pong):
            pass


def _commits(node: NodeProcess) -> int:
    return sum(row["commits"] for row in node.tree() if row["name"] in ("funding", "wallet"))
