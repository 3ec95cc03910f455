"""Signed gossip of nodes that do not exist, and a gossiper without actors to hear it."""

from __future__ import annotations

from typing import Any

from actors.engine.system import Child, System
from actors.engine.table import Table
from actors.testkit.bench import Bench
from actors.tree import NODE
from protocol.bitcoin import script
from protocol.chain.messages import Output, OutputsFound, Tip
from protocol.channel import proof, scripts
from protocol.channel.proof import Side
from protocol.crypto import secp
from protocol.crypto.hashes import sha256
from protocol.crypto.keys import NodeKey
from protocol.gossip import announce, graph
from protocol.gossip.announce import Policy
from protocol.gossip.machine import Machine
from protocol.gossip.messages import Digested, FromWire, PeerUp, ToWire
from protocol.gossip.rows import EDGES, NEWS, RELAYS
from protocol.gossip.rows import NODES as NODES_SEEN
from protocol.machine import Step
from protocol.wire.gossip import ChannelAnnouncement, ChannelUpdate, NodeAnnouncement
from tests.kit.benches import settings

CHAIN, NOW, HEIGHT = bytes(32), 1_700_000_000, 1000
SECRETS = sorted((bytes([n]) * 32 for n in (1, 2)), key=secp.public_key)
NODES = [secp.public_key(secret) for secret in SECRETS]
PEER, OTHER = b"\x02" * 33, b"\x03" * 33
POLICY = Policy(
    cltv_expiry_delta=80, htlc_minimum_msat=1, htlc_maximum_msat=10**9, fee_base_msat=1,
    fee_proportional_millionths=1,
)  # fmt: skip
QUERIES, QUERIES_EX = frozenset({7}), frozenset({7, 11})


def place(height: int, index: int = 1, vout: int = 0) -> bytes:
    """A short channel id."""
    return (height << 40 | index << 16 | vout).to_bytes(8, "big")


def channel(
    scid: bytes,
    secrets: list[bytes] | None = None,
    chain_hash: bytes = CHAIN,
    features: bytes = b"",
) -> bytes:
    """A channel_announcement; `secrets` of both nodes, whose keys are also the funding keys."""
    secrets = SECRETS if secrets is None else secrets
    sides = [Side(node_id=key, funding_key=key) for key in map(secp.public_key, secrets)]
    bare = proof.unsigned(chain_hash, scid, *sides).but(features=features)
    halves = [proof.sign_half(bare, secret, secret) for secret in secrets]
    return proof.whole(bare, sides[0], *halves)


def funding_script(raw: bytes) -> bytes:
    """What the output of an announced channel must hold."""
    message = ChannelAnnouncement.decode(raw[2:])
    return script.p2wsh(scripts.funding(message.bitcoin_key_1, message.bitcoin_key_2))


def update(scid: bytes, way: int, timestamp: int = NOW - 100, policy: Policy = POLICY) -> bytes:
    return announce.update(CHAIN, scid, way, timestamp, policy, SECRETS[way])


def node(way: int, timestamp: int = NOW, addresses: bytes = b"", features: bytes = b"") -> bytes:
    message = NodeAnnouncement(
        signature=bytes(64), features=features, timestamp=timestamp, node_id=NODES[way],
        rgb_color=b"abc", alias=b"x".ljust(32, b"\0"), addresses=addresses,
    )  # fmt: skip
    return announce.node_announcement(message, SECRETS[way])


def forged(raw: bytes, at: int = 9) -> bytes:
    """With one bit of a signature turned."""
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


def _gossiper(name: str, settings: Any, of: System) -> Machine:
    return Machine(bytes(32), NodeKey(bytes([9]) * 32, CHAIN), b"", "we", b"abc")


_GOSSIPER = Child("gossiper", Machine, _gossiper, remakeable=True, credited=True)
SYSTEM = System(
    [_GOSSIPER if child.name == "gossiper" else child for child in NODE.sized(monitors=1).children]
)


class Listener:
    """A gossiper on a bench, and a chain at height 1000; what it says is collected."""

    def __init__(self) -> None:
        self.bench = Bench(SYSTEM, "gossiper", settings=settings(), asker="api", now=NOW)
        self.digested: list[Digested] = []
        self.hear(Tip(height=HEIGHT, hash=bytes(32), feerate_per_kw=253), "chain")

    @property
    def rows(self) -> Table:
        return self.bench.driver.rows

    def _said(self) -> list[Any]:
        """Everything; that it has dealt with so many bytes stands in `digested`."""
        said = self.bench.take(object)
        self.digested += [one for one in said if isinstance(one, Digested)]
        return [one for one in said if not isinstance(one, Digested)]

    def hear(self, item: Any, sender: str = "peers") -> list[Any]:
        self.bench.hear(sender, item)
        return self._said()

    def linked(self, name: str) -> list[Any]:
        """`name` has restarted."""
        self.bench.linked(name)
        return self._said()

    def wake(self, seconds: float) -> list[Any]:
        self.bench.pass_time(seconds)
        return self._said()

    def wire(self, raw: bytes, peer: bytes = PEER) -> list[Any]:
        return self.hear(FromWire(peer=peer, message=raw))

    def up(self, peer: bytes = PEER, features: frozenset[int] = frozenset()) -> list[Any]:
        return self.hear(PeerUp(peer=peer, features=features))

    def told(self, item: Any, peer: bytes = PEER) -> list[bytes]:
        """The messages that go to one peer."""
        return messages(self.hear(item), peer)

    def knows(self, scid: bytes, *, ways: tuple[int, ...] = (0, 1)) -> bytes:
        """A channel of two strangers is in the graph; -> its announcement."""
        raw = channel(scid)
        step = Step(self.rows)
        message = ChannelAnnouncement.decode(raw[2:])
        graph.add_edge(step, raw, message, (bytes(32), 10**6), NOW, PEER)
        for way in ways:
            said = update(scid, way)
            graph.put_update(step, said, ChannelUpdate.decode(said[2:]), POLICY, PEER)
        untold = (RELAYS, NEWS)
        changed = step.changed_rows.items()
        self.rows.apply({kind: rows for kind, rows in changed if kind not in untold})
        return raw

    def found(self, scid: bytes, raw: bytes, **other: Any) -> list[Any]:
        """Chain answers a look-up: the output is as announced, or `other`."""
        known = {"script": funding_script(raw), "amount_sat": 10**6, "txid": sha256(scid)}
        output = Output(scid=scid, **{**known, **other})
        return self.hear(OutputsFound(outputs=(output,)), "chain")

    def said(self, scid: bytes, way: int | None = None) -> bytes | None:
        return graph.said(Step(self.rows), scid, way)

    def edge(self, scid: bytes) -> Any:
        return self.rows.get(EDGES, (scid,))

    def node(self, node_id: bytes) -> Any:
        return self.rows.get(NODES_SEEN, (node_id,))


def messages(said: list[Any], peer: bytes = PEER) -> list[bytes]:
    mine = [one for one in said if isinstance(one, ToWire) and one.peer == peer]
    return [message for one in mine for message in one.messages]
