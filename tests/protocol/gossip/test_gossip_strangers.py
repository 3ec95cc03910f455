"""Channels of strangers: believed when the chain confirms them, forgotten when it ends them."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.chain.messages import (
    LookUp,
    LostBlock,
    NewBlock,
    NextBlock,
    Output,
    OutputsFound,
    Tip,
)
from protocol.crypto import secp
from protocol.crypto.hashes import sha256
from protocol.gossip import asking, strangers
from protocol.gossip.messages import (
    ChannelGone,
    ChannelIs,
    Complain,
    News,
    NodeIs,
    PolicyIs,
    Since,
    UpToDate,
)
from protocol.wire import gossip
from protocol.wire.gossip import (
    GossipTimestampFilter,
    NodeAnnouncement,
    QueryChannelRange,
    QueryShortChannelIds,
    ReplyChannelRange,
    ReplyShortChannelIdsEnd,
)
from tests.kit.gossip import (
    CHAIN,
    HEIGHT,
    NODES,
    NOW,
    OTHER,
    PEER,
    POLICY,
    QUERIES,
    QUERIES_EX,
    Listener,
    channel,
    forged,
    messages,
    node,
    place,
    update,
)

SCID = place(5)


def _heard() -> Listener:
    """SCID was announced and is looked up."""
    listener = Listener()
    listener.up()
    said = listener.wire(channel(SCID))
    assert LookUp(scids=(SCID,)) in said
    assert listener.edge(SCID) is None
    return listener


def test_an_announcement_is_believed_when_its_output_is_there_with_its_script() -> None:
    listener = _heard()

    listener.found(SCID, channel(SCID))

    edge = listener.edge(SCID)
    assert (edge.nodes, edge.capacity_sat, edge.txid) == (tuple(NODES), 10**6, sha256(SCID))
    assert listener.said(SCID) == channel(SCID)
    assert listener.wire(channel(SCID)) == [], "and not looked up again"


@pytest.mark.parametrize(
    "output",
    [
        {"script": b"", "txid": b"", "amount_sat": 0},
        {"script": b"\x00\x20" + bytes(32)},
        {"script": b"", "txid": b"", "unknown": True},
    ],
    ids=["absent or spent", "another script", "chain does not know"],
)
def test_nothing_false_enters_the_graph(output: dict[str, Any]) -> None:
    listener = _heard()
    listener.wire(update(SCID, 0))

    listener.found(SCID, channel(SCID), **output)
    listener.wire(update(SCID, 0, NOW))

    assert listener.edge(SCID) is None
    assert listener.said(SCID, 0) is None
    again = listener.wire(channel(SCID))
    assert bool(again) == bool(output.get("unknown")), "what is absent is not looked up again"


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        (forged(channel(SCID), 9), "channel_announcement with a wrong signature"),
        (forged(channel(SCID), 80), "channel_announcement with a wrong signature"),
        (forged(channel(SCID), 140), "channel_announcement with a wrong signature"),
        (forged(channel(SCID), 200), "channel_announcement with a wrong signature"),
        (channel(SCID)[:300], "message ends early"),
        (channel(SCID, chain_hash=bytes([1]) * 32), ""),
        (channel(place(HEIGHT + 10)), ""),
    ],
    ids=["node 1", "node 2", "bitcoin 1", "bitcoin 2", "cut", "another chain", "not mined yet"],
)
def test_a_bad_announcement_is_not_even_looked_up(raw: bytes, complaint: str) -> None:
    listener = Listener()

    said = listener.wire(raw)

    assert [item.text for item in said if isinstance(item, Complain)] == (
        [complaint] if complaint else []
    )
    assert not any(isinstance(item, LookUp) for item in said)


def test_what_is_said_while_it_is_looked_up_waits_with_it() -> None:
    listener = _heard()
    for raw in (update(SCID, 0, NOW - 5), update(SCID, 0, NOW - 9), update(SCID, 1), node(1)):
        listener.wire(raw)

    said = listener.found(SCID, channel(SCID))

    assert listener.edge(SCID).times == (NOW - 5, NOW - 100)
    assert listener.said(SCID, 0) == update(SCID, 0, NOW - 5)
    assert listener.said(NODES[1]) == node(1)
    (news,) = (item for item in said if isinstance(item, News))
    assert [type(change) for change in news.changes] == [ChannelIs, PolicyIs, PolicyIs]


def test_a_forged_update_of_a_channel_that_is_looked_up_is_complained_of() -> None:
    (answer,) = _heard().wire(forged(update(SCID, 0)))

    assert isinstance(answer, Complain)


def test_a_channel_that_is_not_deep_enough_waits_for_its_blocks() -> None:
    listener = Listener()
    scid = place(HEIGHT - 3)

    assert listener.wire(channel(scid)) == []
    listener.wire(update(scid, 0))
    for height in (HEIGHT + 1, HEIGHT + 2):
        said = listener.hear(Tip(height=height, hash=bytes(32), feerate_per_kw=253), "chain")

    assert LookUp(scids=(scid,)) in said
    listener.found(scid, channel(scid))
    assert listener.edge(scid).time_0 == NOW - 100


def test_who_announces_channels_that_do_not_exist_is_sent_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(strangers, "MAX_STRIKES", 3)
    listener = Listener()
    listener.up()
    said = []
    for height in (5, 6, 7):
        listener.wire(channel(place(height)))
        said = listener.found(place(height), channel(place(height)), script=b"")

    assert [type(item) for item in said] == [Complain]


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_PENDING", "MAX_EARLY", "MAX_ABSENT"):
        monkeypatch.setattr(strangers, name, 5)
    listener = Listener()
    for height in range(5, 25):
        listener.wire(channel(place(height)))
        listener.wire(channel(place(HEIGHT - 1, height)))
    assert len(listener.rows.shown("~pending")) == 5
    assert len(listener.rows.shown("~early")) == 5

    for height in range(5, 25):
        listener.found(place(height), channel(place(height)), script=b"")
        listener.wire(channel(place(height)))

    assert len(listener.rows.shown("~absent")) <= 6


def test_a_flood_of_announcements_is_left_unread_until_the_chain_has_caught_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(strangers, "MAX_PENDING", 4)
    listener = Listener()
    for height in range(5, 9):
        listener.wire(channel(place(height)))
    assert [item.size for item in listener.digested] == [len(channel(SCID))] * 2

    for height in range(5, 7):
        listener.found(place(height), channel(place(height)))

    assert sum(item.size for item in listener.digested) == 4 * len(channel(SCID))


def test_a_question_to_a_chain_that_restarts_is_asked_again() -> None:
    listener = _heard()

    said = listener.linked("chain")

    assert LookUp(scids=(SCID,)) in said


# ---- the end of a channel ----------------------------------------------------------------------


def _block(previous: bytes, *spent: tuple[bytes, int]) -> tuple[bytes, bytes]:
    """-> (hash, raw block) that spends these outputs."""
    from protocol.bitcoin.transaction import (
        Outpoint,
        Transaction,
        TxIn,
        TxOut,
        parse_block,
        serialize,
        varint,
    )

    coinbase = Transaction((TxIn(Outpoint(bytes(32), 0xFFFFFFFF), script=b"cb"),), (TxOut(0, b""),))
    spends = [Transaction((TxIn(Outpoint(*one)),), (TxOut(0, b""),)) for one in spent]
    body = b"".join(serialize(tx) for tx in (coinbase, *spends))
    raw = bytes(4) + previous + bytes(44) + varint(1 + len(spends)) + body
    return parse_block(raw).hash, raw


def _follows(listener: Listener, height: int, raw: bytes, tip: bytes) -> list[Any]:
    listener.hear(Tip(height=height, hash=tip, feerate_per_kw=253), "chain")
    return listener.hear(NewBlock(height=height, raw=raw), "chain")


def test_a_channel_whose_output_is_spent_leaves_the_graph_after_72_blocks() -> None:
    listener = Listener()
    raw = listener.knows(SCID)
    first, empty = _block(bytes(32))
    _follows(listener, HEIGHT + 1, empty, first)
    spends, block = _block(first, (bytes(32), 0))

    said = _follows(listener, HEIGHT + 2, block, spends)

    assert listener.edge(SCID).spent_height == HEIGHT + 2
    assert News(serial=listener.rows.read("~serial"), changes=(ChannelGone(scid=SCID),)) in said
    listener.hear(Tip(height=HEIGHT + 73, hash=b"x" * 32, feerate_per_kw=253), "chain")
    assert listener.edge(SCID) is not None
    listener.hear(Tip(height=HEIGHT + 74, hash=b"y" * 32, feerate_per_kw=253), "chain")
    assert listener.edge(SCID) is None
    assert [listener.said(SCID, way) for way in (None, 0, 1)] == [None] * 3
    assert raw


def test_a_reorganisation_gives_a_spent_channel_back_and_reads_the_blocks_anew() -> None:
    listener = Listener()
    listener.knows(SCID)
    spends, block = _block(bytes(32), (bytes(32), 0))
    _follows(listener, HEIGHT + 1, block, spends)
    assert listener.edge(SCID).spent_height == HEIGHT + 1

    said = listener.hear(LostBlock(height=HEIGHT + 1), "chain")

    assert listener.edge(SCID).spent_height is None
    (question,) = (item for item in said if isinstance(item, NextBlock))
    assert (question.height, question.hash) == (HEIGHT - 99, b"")


def test_a_channel_of_which_nothing_was_heard_for_two_weeks_is_forgotten() -> None:
    listener = Listener()
    listener.knows(SCID)

    listener.wake(13 * 24 * 3600)
    assert listener.edge(SCID) is not None
    listener.wake(2 * 24 * 3600)

    assert listener.edge(SCID) is None


# ---- asking ------------------------------------------------------------------------------------


def _kinds(said: list[Any], peer: bytes = PEER) -> list[int]:
    return [int.from_bytes(raw[:2], "big") for raw in messages(said, peer)]


def _reply(*scids: bytes, times: list[tuple[int, int]] | None = None, last: int = 1) -> bytes:
    return ReplyChannelRange(
        chain_hash=CHAIN,
        first_blocknum=0,
        number_of_blocks=0xFFFFFFFF,
        sync_complete=last,
        encoded_short_ids=gossip.encode_ids(list(scids)),
        timestamps=gossip.UNCOMPRESSED + gossip.encode_pairs(times) if times else None,
    ).encode()


def test_a_peer_is_asked_for_what_is_new_and_for_its_whole_graph() -> None:
    listener = Listener()

    said = listener.up(features=QUERIES)

    assert _kinds(said) == [GossipTimestampFilter.TYPE, QueryChannelRange.TYPE]
    assert _kinds(listener.up(OTHER, QUERIES), OTHER) == [GossipTimestampFilter.TYPE]
    assert _kinds(listener.up(b"\x02" + bytes(32)), b"\x02" + bytes(32)) == []


def test_only_what_we_lack_is_asked_for_and_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "IDS_IN_A_QUERY", 2)
    listener = Listener()
    listener.knows(place(6))
    listener.knows(place(7))
    listener.up(features=QUERIES_EX)
    scids = [place(height) for height in (5, 6, 7, 8, 9)]
    times = [(NOW - 100, NOW - 100)] * 5
    times[2] = (NOW - 100, NOW - 99)

    said = listener.wire(_reply(*scids, times=times))
    asked = []
    while messages(said):
        query = QueryShortChannelIds.decode(messages(said)[0][2:])
        ids = gossip.decode_ids(query.encoded_short_ids)
        asked.append((ids, gossip.decode_flags(query.query_flags or b"", len(ids))))
        end = ReplyShortChannelIdsEnd(chain_hash=CHAIN, full_information=1)
        said = listener.wire(end.encode())

    assert asked == [
        ([place(5), place(7)], [31, gossip.WANT_UPDATE_2]),
        ([place(8), place(9)], [31, 31]),
    ]
    assert listener.rows.read("~sync") is None, "the round is over"


def test_the_next_portion_waits_until_the_last_has_been_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asking, "IDS_IN_A_QUERY", 1)
    monkeypatch.setattr(asking, "FEW_PENDING", 0)
    listener = Listener()
    listener.up(features=QUERIES)
    listener.wire(_reply(place(5), place(6)))
    listener.wire(channel(place(5)))
    end = ReplyShortChannelIdsEnd(chain_hash=CHAIN, full_information=1).encode()

    assert _kinds(listener.wire(end)) == []
    assert _kinds(listener.found(place(5), channel(place(5)))) == [QueryShortChannelIds.TYPE]


def test_who_does_not_answer_is_replaced_by_another() -> None:
    listener = Listener()
    listener.up(features=QUERIES)
    listener.up(OTHER, QUERIES)

    said = listener.wake(asking.PATIENCE_SECONDS + 1)

    assert _kinds(said, OTHER) == [QueryChannelRange.TYPE]
    assert listener.wake(asking.PATIENCE_SECONDS + 1) == []


def test_who_leaves_in_the_midst_of_a_round_is_not_waited_for() -> None:
    from protocol.gossip.messages import PeerDown

    listener = Listener()
    listener.up(features=QUERIES)
    listener.up(OTHER, QUERIES)

    listener.hear(PeerDown(peer=PEER))

    assert listener.rows.read("~sync") is None
    assert _kinds(listener.wake(asking.SYNC_SECONDS + 1), OTHER) == [QueryChannelRange.TYPE]


@pytest.mark.parametrize("peer", [PEER, OTHER])
def test_ids_that_were_not_asked_for_are_complained_of(peer: bytes) -> None:
    listener = Listener()
    listener.up()
    listener.up(OTHER)

    (answer,) = listener.wire(_reply(SCID), peer)

    assert isinstance(answer, Complain)


def test_more_ids_than_there_can_be_are_complained_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MAX_IDS", 3)
    listener = Listener()
    listener.up(features=QUERIES)
    scids = [place(height) for height in range(5, 9)]

    (answer,) = listener.wire(_reply(*scids, last=0))

    assert isinstance(answer, Complain)


# ---- the router --------------------------------------------------------------------------------


def test_a_router_is_told_what_it_lacks_and_what_is_alive() -> None:
    listener = Listener()
    for height in (5, 6):
        listener.knows(place(height))
    epoch = listener.rows.read("epoch").value
    everything = listener.hear(Since(epoch=b"another.", serial=10**6), "router")
    serial = listener.rows.read("~serial")
    listener.wire(update(place(6), 0, NOW))

    said = listener.hear(Since(epoch=epoch, serial=serial), "router")

    assert everything[-1] == UpToDate(epoch=epoch, serial=serial, scids=place(5) + place(6))
    assert len(everything[0].changes) == 6, "another life of the graph: all of it"
    assert {change.scid for change in said[0].changes} == {place(6)}
    assert said[0].changes[1].policy == POLICY
    assert said[-1].serial == serial + 1


def test_an_empty_answer_of_the_chain_leaves_nothing_behind() -> None:
    listener = _heard()

    listener.hear(OutputsFound(outputs=(Output(scid=SCID, unknown=True),)), "chain")

    for kind in ("~pending", "~lobby", "~lookup"):
        assert not listener.rows.shown(kind)


def test_a_node_that_loses_its_only_channel_is_forgotten() -> None:
    listener = _heard()
    listener.found(SCID, channel(SCID))
    listener.wire(node(0))
    assert NodeAnnouncement.decode((listener.said(NODES[0]) or b"")[2:]).timestamp == NOW

    listener.wake(15 * 24 * 3600)

    assert listener.edge(SCID) is None
    assert listener.said(NODES[0]) is None
    assert listener.node(NODES[0]) is None


# ---- what a peer may not bring about -----------------------------------------------------------


def test_a_false_announcement_does_not_bar_the_true_one() -> None:
    """Somebody announces the channel with keys of its own before the owners do."""
    thief = sorted((bytes([n]) * 32 for n in (7, 8)), key=lambda secret: secp.public_key(secret))
    listener = Listener()
    listener.up()
    listener.wire(channel(SCID, thief))

    listener.wire(channel(SCID), OTHER)
    said = listener.found(SCID, channel(SCID))
    assert LookUp(scids=(SCID,)) in said, "the second one has its turn"
    listener.found(SCID, channel(SCID))

    assert listener.said(SCID) == channel(SCID)
    again = Listener()
    again.wire(channel(SCID, thief))
    again.found(SCID, channel(SCID))
    assert again.edge(SCID) is None
    assert LookUp(scids=(SCID,)) in again.wire(channel(SCID), OTHER), "and afterwards too"


def test_a_channel_with_a_feature_that_we_must_know_is_not_routed_over() -> None:
    """ "MUST NOT attempt to route messages through the channel"; but it is passed on."""
    raw = channel(SCID, features=b"\x01" + bytes(12))
    listener = Listener()
    listener.up()
    listener.wire(raw)

    said = listener.found(SCID, raw)
    said += listener.wire(update(SCID, 0, NOW))

    assert listener.edge(SCID).barred
    assert not [item for item in said if isinstance(item, News)]
    up_to_date = listener.hear(Since(epoch=b"another.", serial=0), "router")[-1]
    assert up_to_date.scids == b""


def test_a_node_with_a_feature_that_we_must_know_is_not_routed_through() -> None:
    listener = _heard()
    listener.found(SCID, channel(SCID))

    said = listener.wire(node(0, features=b"\x01" + bytes(12)))

    (news,) = (item for item in said if isinstance(item, News))
    assert news.changes == (NodeIs(node_id=NODES[0], barred=True),)
    up_to_date = listener.hear(Since(epoch=b"another.", serial=0), "router")[-1]
    assert up_to_date.barred == (NODES[0],)


def test_a_node_with_two_hostnames_is_not_believed() -> None:
    """ "MUST not forward the node_announcement"."""
    listener = _heard()
    listener.found(SCID, channel(SCID))
    name = bytes([5, 1]) + b"a" + bytes(2)

    listener.wire(node(0, addresses=name + name))

    assert listener.said(NODES[0]) is None


def test_a_round_that_does_not_end_is_given_to_another_peer() -> None:
    listener = Listener()
    listener.up(features=QUERIES)
    listener.up(OTHER, QUERIES)
    said: list[Any] = []
    for _ in range(70):
        said += listener.wake(asking.PATIENCE_SECONDS - 1)
        said += listener.wire(_reply(last=0))

    assert _kinds(said, OTHER) == [QueryChannelRange.TYPE]


def test_the_router_hears_that_a_spend_was_taken_back() -> None:
    listener = Listener()
    listener.knows(SCID)
    spends, block = _block(bytes(32), (bytes(32), 0))
    _follows(listener, HEIGHT + 1, block, spends)

    said = listener.hear(LostBlock(height=HEIGHT + 1), "chain")

    (news,) = (item for item in said if isinstance(item, News))
    assert [type(change) for change in news.changes] == [ChannelIs, PolicyIs, PolicyIs]


def test_what_is_too_long_does_not_wait_in_memory() -> None:
    listener = Listener()
    listener.up()

    assert listener.wire(channel(SCID, features=bytes(5000))) == []
    assert not listener.rows.shown("~pending")
