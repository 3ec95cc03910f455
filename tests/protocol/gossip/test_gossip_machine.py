"""The gossiper, pure: what it answers, believes, passes on and complains of."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.gossip import announce
from protocol.gossip.messages import Complain, FromWire, ToWire, WireDrained
from protocol.gossip.rows import NODES as NODE_ROWS
from protocol.gossip.rows import SAID, Said, Seen
from protocol.wire import gossip
from protocol.wire.gossip import (
    GossipTimestampFilter,
    QueryChannelRange,
    QueryShortChannelIds,
    ReplyChannelRange,
    ReplyShortChannelIdsEnd,
)
from tests.kit.gossip import (
    CHAIN,
    NODES,
    NOW,
    OTHER,
    PEER,
    POLICY,
    SECRETS,
    Listener,
    forged,
    messages,
    node,
    place,
    update,
)


def _query(*scids: bytes, flags: list[int] | None = None) -> FromWire:
    query = QueryShortChannelIds(
        chain_hash=CHAIN,
        encoded_short_ids=gossip.encode_ids(list(scids)),
        query_flags=gossip.encode_flags(flags) if flags is not None else None,
    )
    return FromWire(peer=PEER, message=query.encode())


def _filter(first: int, span: int = 0xFFFFFFF) -> bytes:
    return GossipTimestampFilter(
        chain_hash=CHAIN, first_timestamp=first, timestamp_range=span
    ).encode()


def _end(full: int = 1) -> bytes:
    return ReplyShortChannelIdsEnd(chain_hash=CHAIN, full_information=full).encode()


def test_ids_are_answered_in_order_each_node_once_and_then_the_end() -> None:
    listener = Listener()
    scids = [place(5), place(6)]
    raws = [listener.knows(scid) for scid in scids]
    raw = node(0)
    listener.rows.set(NODE_ROWS, (NODES[0],), Seen(timestamp=NOW))
    listener.rows.set(SAID, (NODES[0],), Said(raw=raw))

    told = listener.told(_query(*scids, place(99)))

    updates = [[update(scid, way) for way in (0, 1)] for scid in scids]
    assert told == [raws[0], *updates[0], raws[1], *updates[1], raw, _end()]


def test_flags_choose_what_is_answered() -> None:
    listener = Listener()
    listener.knows(place(5))

    told = listener.told(_query(place(5), flags=[gossip.WANT_UPDATE_2]))

    assert told == [update(place(5), 1), _end()]


@pytest.mark.parametrize("data", [b"\x01zlib", b"\x00" + bytes(7), b""])
def test_ids_that_do_not_decode_are_complained_of(data: bytes) -> None:
    query = QueryShortChannelIds(chain_hash=CHAIN, encoded_short_ids=data)

    (answer,) = Listener().wire(query.encode())

    assert isinstance(answer, Complain)


def test_an_option_that_is_no_number_is_complained_of() -> None:
    query = QueryChannelRange(
        chain_hash=CHAIN, first_blocknum=0, number_of_blocks=9, query_option=b"\xff\xff"
    )

    (answer,) = Listener().wire(query.encode())

    assert isinstance(answer, Complain)


def _ranges(
    listener: Listener, first: int, blocks: int, option: bytes | None = None
) -> list[ReplyChannelRange]:
    query = QueryChannelRange(
        chain_hash=CHAIN, first_blocknum=first, number_of_blocks=blocks, query_option=option
    )
    told = listener.told(FromWire(peer=PEER, message=query.encode()))
    return [ReplyChannelRange.decode(message[2:]) for message in told]


def test_a_range_is_answered_with_what_is_in_it_and_its_times() -> None:
    listener = Listener()
    for height in (5, 6, 9):
        listener.knows(place(height))

    (reply,) = _ranges(listener, 5, 4, b"\x03")

    assert (reply.first_blocknum, reply.number_of_blocks, reply.sync_complete) == (5, 4, 1)
    assert gossip.decode_ids(reply.encoded_short_ids) == [place(5), place(6)]
    assert gossip.decode_timestamps(reply.timestamps or b"") == [(NOW - 100, NOW - 100)] * 2
    sums = [gossip.update_checksum(update(place(5), way, NOW)) for way in (0, 1)]
    assert gossip.decode_checksums(reply.checksums or b"")[0] == tuple(sums)


def test_a_long_range_is_answered_in_parts_that_leave_no_hole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ascending, overlapping at most in a block, and only the last says that it is the last."""
    monkeypatch.setattr("protocol.gossip.serving.IDS_IN_A_REPLY", 2)
    listener = Listener()
    scids = [place(5), place(6, 1), place(6, 2), place(6, 3), place(8)]
    for scid in scids:
        listener.knows(scid)

    replies = _ranges(listener, 4, 10)

    assert [x for reply in replies for x in gossip.decode_ids(reply.encoded_short_ids)] == scids
    assert [reply.sync_complete for reply in replies] == [0, 0, 1]
    assert replies[0].first_blocknum == 4
    assert replies[-1].first_blocknum + replies[-1].number_of_blocks == 14
    for one, two in zip(replies, replies[1:], strict=False):
        assert one.first_blocknum <= two.first_blocknum <= one.first_blocknum + one.number_of_blocks


def test_an_unknown_chain_is_answered_with_nothing_known() -> None:
    listener = Listener()
    listener.knows(place(5))
    query = QueryShortChannelIds(
        chain_hash=b"\x01" * 32, encoded_short_ids=gossip.encode_ids([place(5)])
    )

    told = messages(listener.wire(query.encode()))

    assert [ReplyShortChannelIdsEnd.decode(message[2:]).full_information for message in told] == [0]


def test_a_slow_reader_is_given_the_next_turn_when_the_last_one_has_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And everything once, in order, the end at the end."""
    monkeypatch.setattr("protocol.gossip.serving.TURN_BYTES", 1500)
    listener = Listener()
    scids = [place(height) for height in range(5, 25)]
    for scid in scids:
        listener.knows(scid)

    turns = [listener.hear(_query(*scids))]
    while turns[-1][0].more:
        assert listener.hear(_filter_of_nothing()) == [], "it waits"
        turns.append(listener.hear(WireDrained(peer=PEER)))

    assert len(turns) > 5
    assert all(sum(map(len, messages(turn))) < 3000 for turn in turns)
    told = [message for turn in turns for message in messages(turn)]
    expected = [[listener.said(scid), update(scid, 0), update(scid, 1)] for scid in scids]
    assert told == [*(raw for raws in expected for raw in raws), _end()]


def _filter_of_nothing() -> FromWire:
    return FromWire(peer=PEER, message=_filter(NOW + 10**6, 0))


def test_a_second_query_before_the_first_is_answered_is_complained_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("protocol.gossip.serving.TURN_BYTES", 100)
    listener = Listener()
    for height in (5, 6):
        listener.knows(place(height))
    listener.hear(_query(place(5), place(6)))

    (answer,) = listener.hear(_query(place(5)))

    assert isinstance(answer, Complain)


def test_a_newer_update_is_believed_and_passed_on_to_who_has_asked() -> None:
    listener = Listener()
    listener.knows(place(5))
    for peer in (PEER, OTHER):
        listener.up(peer)
        listener.wire(_filter(NOW - 10), peer)
    raw = update(place(5), 0, NOW, POLICY.but(fee_base_msat=7))

    said = listener.wire(raw)

    assert listener.said(place(5), 0) == raw
    relayed = [one for one in said if isinstance(one, ToWire)]
    assert relayed == [ToWire(peer=OTHER, messages=(raw,), lossy=True)], "and not back"


def test_a_filter_is_answered_with_the_past_that_it_asks_for() -> None:
    listener = Listener()
    raw = listener.knows(place(5), ways=(0,))
    listener.knows(place(6), ways=())  # "MUST NOT send" an announcement without an update

    assert messages(listener.wire(_filter(NOW - 100, 1000))) == [raw, update(place(5), 0)]
    assert messages(listener.wire(_filter(NOW - 99, 1000))) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("older", ""), ("same time", ""), ("tomorrow's tomorrow", ""), ("unknown channel", ""),
        ("more than the channel", ""), ("minimum above maximum", ""), ("not to be forwarded", ""),
        ("another chain", ""),
        ("forged", "channel_update with a wrong signature"), ("cut", "message ends early"),
    ],
)  # fmt: skip
def test_an_update_that_is_not_believed_changes_nothing(change: str, complaint: str) -> None:
    listener = Listener()
    scid = place(5)
    listener.knows(scid)
    before = dict(listener.rows.shown("edge")), listener.said(scid, 0)
    good = update(scid, 0, NOW)
    raw = {
        "older": update(scid, 0, NOW - 200),
        "same time": update(scid, 0, NOW - 100, POLICY.but(fee_base_msat=9)),
        "tomorrow's tomorrow": update(scid, 0, NOW + 2 * 24 * 3600),
        "unknown channel": update(place(77), 0, NOW),
        "more than the channel": update(scid, 0, NOW, POLICY.but(htlc_maximum_msat=10**10)),
        "minimum above maximum": update(scid, 0, NOW, POLICY.but(htlc_minimum_msat=2 * 10**9)),
        "not to be forwarded": announce.update(
            CHAIN, scid, 0, NOW, POLICY, SECRETS[0], message_flags=3
        ),
        "another chain": announce.update(bytes([1]) * 32, scid, 0, NOW, POLICY, SECRETS[0]),
        "forged": forged(good),
        "cut": good[:-1],
    }[change]

    said = listener.wire(raw)

    assert (dict(listener.rows.shown("edge")), listener.said(scid, 0)) == before
    assert [item.text for item in said] == ([complaint] if complaint else [])


def test_a_node_is_believed_when_it_has_a_channel_and_signs_for_itself() -> None:
    listener = Listener()
    assert listener.wire(node(0)) == []
    assert listener.node(NODES[0]) is None

    listener.knows(place(5))
    listener.wire(node(0))
    (complaint,) = listener.wire(forged(node(1)))

    assert listener.node(NODES[0]).timestamp == NOW
    assert complaint.text == "node_announcement with a wrong signature"
    assert listener.node(NODES[1]) is None


def test_who_says_nothing_new_is_not_relayed_twice() -> None:
    listener = Listener()
    listener.knows(place(5))
    listener.up(OTHER)
    listener.wire(_filter(0), OTHER)
    raw = update(place(5), 0, NOW)
    listener.wire(raw)

    said: list[Any] = listener.wire(raw)

    assert said == []
