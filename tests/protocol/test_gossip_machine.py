"""The gossiper, pure: what it answers, believes, passes on and complains of."""

from __future__ import annotations

from typing import Any

import pytest

from actors.table import Table
from protocol.crypto import secp
from protocol.crypto.keys import NodeKey
from protocol.gossip import announce, graph
from protocol.gossip.announce import Policy, Side
from protocol.gossip.items import Complain, Edge, FromWire, PeerUp, Said, ToWire
from protocol.gossip.machine import Machine
from protocol.machine import Moment, Say, Step
from protocol.wire import gossip
from protocol.wire.gossip import (
    GossipTimestampFilter,
    NodeAnnouncement,
    QueryChannelRange,
    QueryShortChannelIds,
    ReplyChannelRange,
    ReplyShortChannelIdsEnd,
)

CHAIN, NOW = bytes(32), 1_700_000_000
SECRETS = sorted((bytes([n]) * 32 for n in (1, 2)), key=secp.public_key)
NODES = [secp.public_key(secret) for secret in SECRETS]
PEER, OTHER = b"\x02" * 33, b"\x03" * 33
POLICY = Policy(
    cltv_expiry_delta=80, htlc_minimum_msat=1, htlc_maximum_msat=10**9, fee_base_msat=1,
    fee_proportional_millionths=1,
)  # fmt: skip


def _scid(height: int, index: int = 1) -> bytes:
    return (height << 40 | index << 16).to_bytes(8, "big")


class Bench:
    """A gossiper with rows; what it says is collected."""

    def __init__(self) -> None:
        self.rows = Table()
        self.machine = Machine(bytes(32), NodeKey(bytes([9]) * 32, CHAIN), b"", "we", b"abc")

    def hear(self, item: object) -> list[Any]:
        step = Step(self.rows)
        self.machine.step(step, "peers", item, Moment(unix_seconds=NOW, entropy=bytes(32)))
        for key, value in step.changes.items():
            self.rows.set(key, value)
        return [effect.item for effect in step.effects if isinstance(effect, Say)]

    def told(self, item: object, peer: bytes = PEER) -> list[bytes]:
        """The messages that go to one peer."""
        said = [one for one in self.hear(item) if isinstance(one, ToWire) and one.peer == peer]
        return [message for one in said for message in one.messages]

    def channel(self, scid: bytes, *, ways: tuple[int, ...] = (0, 1)) -> bytes:
        """A channel of two strangers; -> its announcement."""
        sides = [Side(node_id=node, funding_key=node) for node in NODES]
        bare = announce.unsigned(CHAIN, scid, *sides)
        halves = [announce.sign_half(bare, secret, secret) for secret in SECRETS]
        raw = announce.whole(bare, sides[0], *halves)
        edge = Edge(nodes=(NODES[0], NODES[1]), capacity_sat=10**6, raw=raw)
        self.rows.set(graph.edge_key(scid), edge)
        for way in ways:
            said = Said(raw=_update(scid, way, NOW - 100), timestamp=NOW - 100)
            self.rows.set(graph.update_key(scid, way), said)
        return raw


def _update(scid: bytes, way: int, timestamp: int, policy: Policy = POLICY) -> bytes:
    return announce.update(CHAIN, scid, way, timestamp, policy, SECRETS[way])


def _node(way: int, timestamp: int) -> bytes:
    message = NodeAnnouncement(
        signature=bytes(64), features=b"", timestamp=timestamp, node_id=NODES[way],
        rgb_color=b"abc", alias=b"x".ljust(32, b"\0"), addresses=b"",
    )  # fmt: skip
    return announce.node_announcement(message, SECRETS[way])


def _query(*scids: bytes, flags: list[int] | None = None) -> FromWire:
    query = QueryShortChannelIds(
        chain_hash=CHAIN,
        encoded_short_ids=gossip.encode_ids(list(scids)),
        query_flags=gossip.encode_flags(flags) if flags is not None else None,
    )
    return FromWire(peer=PEER, message=query.encode())


def _end(full: int = 1) -> bytes:
    return ReplyShortChannelIdsEnd(chain_hash=CHAIN, full_information=full).encode()


def test_ids_are_answered_in_order_each_node_once_and_then_the_end() -> None:
    bench = Bench()
    scids = [_scid(5), _scid(6)]
    raws = [bench.channel(scid) for scid in scids]
    node = _node(0, NOW)
    bench.rows.set(graph.node_key(NODES[0]), Said(raw=node, timestamp=NOW))

    told = bench.told(_query(*scids, _scid(99)))

    updates = [[_update(scid, way, NOW - 100) for way in (0, 1)] for scid in scids]
    assert told == [raws[0], *updates[0], raws[1], *updates[1], node, _end()]


def test_flags_choose_what_is_answered() -> None:
    bench = Bench()
    scid = _scid(5)
    bench.channel(scid)

    told = bench.told(_query(scid, flags=[gossip.WANT_UPDATE_2]))

    assert told == [_update(scid, 1, NOW - 100), _end()]


@pytest.mark.parametrize("data", [b"\x01zlib", b"\x00" + bytes(7), b""])
def test_ids_that_do_not_decode_are_complained_of(data: bytes) -> None:
    query = QueryShortChannelIds(chain_hash=CHAIN, encoded_short_ids=data)

    (answer,) = Bench().hear(FromWire(peer=PEER, message=query.encode()))

    assert isinstance(answer, Complain)


def _ranges(bench: Bench, first: int, blocks: int, option: bytes | None = None) -> list[Any]:
    query = QueryChannelRange(
        chain_hash=CHAIN, first_blocknum=first, number_of_blocks=blocks, query_option=option
    )
    told = bench.told(FromWire(peer=PEER, message=query.encode()))
    return [ReplyChannelRange.decode(message[2:]) for message in told]


def test_a_range_is_answered_with_what_is_in_it_and_its_times() -> None:
    bench = Bench()
    for height in (5, 6, 9):
        bench.channel(_scid(height))

    (reply,) = _ranges(bench, 5, 4, b"\x03")

    assert (reply.first_blocknum, reply.number_of_blocks, reply.sync_complete) == (5, 4, 1)
    assert gossip.decode_ids(reply.encoded_short_ids) == [_scid(5), _scid(6)]
    assert gossip.decode_timestamps(reply.timestamps or b"") == [(NOW - 100, NOW - 100)] * 2
    sums = [gossip.update_checksum(_update(_scid(5), way, NOW)) for way in (0, 1)]
    assert gossip.decode_checksums(reply.checksums or b"")[0] == tuple(sums)


def test_a_long_range_is_answered_in_parts_that_leave_no_hole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ascending, overlapping at most in a block, and only the last says that it is the last."""
    monkeypatch.setattr("protocol.gossip.queries.IDS_IN_A_REPLY", 2)
    bench = Bench()
    scids = [_scid(5), _scid(6, 1), _scid(6, 2), _scid(6, 3), _scid(8)]
    for scid in scids:
        bench.channel(scid)

    replies = _ranges(bench, 4, 10)

    assert [x for reply in replies for x in gossip.decode_ids(reply.encoded_short_ids)] == scids
    assert [reply.sync_complete for reply in replies] == [0, 0, 1]
    assert replies[0].first_blocknum == 4
    assert replies[-1].first_blocknum + replies[-1].number_of_blocks == 14
    for one, two in zip(replies, replies[1:], strict=False):
        assert one.first_blocknum <= two.first_blocknum <= one.first_blocknum + one.number_of_blocks


def test_an_unknown_chain_is_answered_with_nothing_known() -> None:
    bench = Bench()
    bench.channel(_scid(5))
    query = QueryShortChannelIds(
        chain_hash=b"\x01" * 32, encoded_short_ids=gossip.encode_ids([_scid(5)])
    )

    told = bench.told(FromWire(peer=PEER, message=query.encode()))

    assert [ReplyShortChannelIdsEnd.decode(message[2:]).full_information for message in told] == [0]


def test_a_newer_update_is_believed_and_passed_on_to_who_has_asked() -> None:
    bench = Bench()
    scid = _scid(5)
    bench.channel(scid)
    wanted = GossipTimestampFilter(
        chain_hash=CHAIN, first_timestamp=NOW - 10, timestamp_range=0xFFFFFFF
    )
    for peer in (PEER, OTHER):
        bench.hear(PeerUp(peer=peer))
        bench.hear(FromWire(peer=peer, message=wanted.encode()))
    raw = _update(scid, 0, NOW, POLICY.but(fee_base_msat=7))

    said = bench.hear(FromWire(peer=PEER, message=raw))

    assert bench.rows.get(graph.update_key(scid, 0)).raw == raw
    assert said == [ToWire(peer=OTHER, messages=(raw,))], "and not back to where it came from"


def test_a_filter_is_answered_with_the_past_that_it_asks_for() -> None:
    bench = Bench()
    raw = bench.channel(_scid(5), ways=(0,))
    bench.channel(_scid(6), ways=())  # "MUST NOT send" an announcement without an update

    def asked(first: int) -> list[bytes]:
        wanted = GossipTimestampFilter(
            chain_hash=CHAIN, first_timestamp=first, timestamp_range=1000
        )
        return bench.told(FromWire(peer=PEER, message=wanted.encode()))

    assert asked(NOW - 100) == [raw, _update(_scid(5), 0, NOW - 100)]
    assert asked(NOW - 99) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("older", ""), ("same time", ""), ("tomorrow's tomorrow", ""), ("unknown channel", ""),
        ("more than the channel", ""), ("minimum above maximum", ""), ("not to be forwarded", ""),
        ("forged", "channel_update with a wrong signature"), ("cut", "message ends early"),
    ],
)  # fmt: skip
def test_an_update_that_is_not_believed_changes_nothing(change: str, complaint: str) -> None:
    bench = Bench()
    scid = _scid(5)
    bench.channel(scid)
    before = bench.rows.get(graph.update_key(scid, 0))
    good = _update(scid, 0, NOW)
    raw = {
        "older": _update(scid, 0, NOW - 200),
        "same time": _update(scid, 0, NOW - 100, POLICY.but(fee_base_msat=9)),
        "tomorrow's tomorrow": _update(scid, 0, NOW + 2 * 24 * 3600),
        "unknown channel": _update(_scid(77), 0, NOW),
        "more than the channel": _update(scid, 0, NOW, POLICY.but(htlc_maximum_msat=10**10)),
        "minimum above maximum": _update(scid, 0, NOW, POLICY.but(htlc_minimum_msat=2 * 10**9)),
        "not to be forwarded": announce.update(
            CHAIN, scid, 0, NOW, POLICY, SECRETS[0], message_flags=3
        ),
        "forged": good[:9] + bytes([good[9] ^ 1]) + good[10:],
        "cut": good[:-1],
    }[change]

    said = bench.hear(FromWire(peer=PEER, message=raw))

    assert bench.rows.get(graph.update_key(scid, 0)) == before
    assert [item.text for item in said] == ([complaint] if complaint else [])


def test_a_node_is_believed_when_it_has_a_channel_and_signs_for_itself() -> None:
    bench = Bench()
    assert bench.hear(FromWire(peer=PEER, message=_node(0, NOW))) == []
    assert bench.rows.get(graph.node_key(NODES[0])) is None

    bench.channel(_scid(5))
    bench.hear(FromWire(peer=PEER, message=_node(0, NOW)))
    forged = _node(1, NOW)
    (complaint,) = bench.hear(FromWire(peer=PEER, message=forged[:-1] + b"\x01"))

    assert bench.rows.get(graph.node_key(NODES[0])).timestamp == NOW
    assert "wrong signature" in complaint.text or "ends early" in complaint.text
