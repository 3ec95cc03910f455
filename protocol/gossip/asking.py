"""What we ask of peers (BOLT 7, Query Messages): the whole graph from one, news from several.

One peer at a time gives us all ids of its channels, then those channels that we lack or that it
knows newer, some hundred at a time. Another one is asked an hour later: who leaves something out
is found out by the next. A few more send what is new (the filter).
"""

from __future__ import annotations

from protocol import features
from protocol.chain.messages import TIP
from protocol.errors import Malformed
from protocol.gossip import strangers
from protocol.gossip.graph import Refused
from protocol.gossip.messages import PeerUp, ToWire
from protocol.gossip.rows import (
    ABSENT,
    ASKED,
    ASKED_FOR_NEWS,
    DEAF,
    EDGES,
    SYNC,
    SYNCED,
    UP,
    WISHES,
    Asked,
    Sync,
)
from protocol.machine import Moment, Step
from protocol.wire import gossip
from protocol.wire.gossip import (
    GossipTimestampFilter,
    QueryChannelRange,
    QueryShortChannelIds,
    ReplyChannelRange,
    ReplyShortChannelIdsEnd,
)
from protocol.wire.message import Message

MOST_FILTERS = 8
BACK_SECONDS = 2 * 3600
SYNC_SECONDS, PATIENCE_SECONDS = 3600.0, 60.0
IDS_IN_A_QUERY, MAX_IDS = 400, 500_000
FEW_PENDING = 500
EVERYTHING = 31


def peer_up(step: Step, item: PeerUp, chain_hash: bytes, at: Moment) -> None:
    """A few peers are asked for what is new."""
    UP.put(step, item, item.peer)
    followed = len(list(ASKED_FOR_NEWS.each(step)))
    able = features.has(item.features, "gossip_queries")
    if item.asked or able and followed < MOST_FILTERS:
        ASKED_FOR_NEWS.put(step, True, item.peer)
        if not item.asked:
            _send(step, item.peer, news_from(chain_hash, at.unix_seconds))


def news_from(chain_hash: bytes, now: float) -> GossipTimestampFilter:
    """Everything from a while ago on."""
    first = max(0, int(now) - BACK_SECONDS)
    return GossipTimestampFilter(
        chain_hash=chain_hash, first_timestamp=first, timestamp_range=0xFFFFFFFF
    )


def peer_down(step: Step, peer: bytes) -> None:
    """Nothing is asked of it any more; a sync with it begins anew with another."""
    for known in (UP, ASKED_FOR_NEWS, ASKED, WISHES, DEAF):
        known.drop(step, peer)
    sync = SYNC.get(step)
    if sync is not None and sync.peer == peer:
        SYNC.drop(step)


def wish(step: Step, peer: bytes, scid: bytes) -> None:
    """Ask this peer for a channel, as soon as it has answered what it was asked before."""
    known = WISHES.get(step, peer) or ()
    if UP.get(step, peer) is not None and scid not in known:
        WISHES.put(step, (*known, scid), peer)


def ask(step: Step, chain_hash: bytes, at: Moment) -> None:
    """At the end of each batch: whatever may be asked now."""
    for (peer,), scids in list(WISHES.each(step)):
        if ASKED.get(step, peer) is None:
            WISHES.drop(step, peer)
            wanted = [(scid, EVERYTHING) for scid in scids]
            _query_ids(step, peer, wanted, chain_hash, at)
    sync = SYNC.get(step) or _begin(step, chain_hash, at)
    if sync is not None:
        _go_on(step, sync, chain_hash, at)


def _begin(step: Step, chain_hash: bytes, at: Moment) -> Sync | None:
    """Choose a peer for a whole round, if it is time."""
    last = SYNCED.get(step)
    if last is not None and at.unix_seconds - last < SYNC_SECONDS:
        return None
    able = [
        up
        for (peer,), up in UP.each(step)
        if features.has(up.features, "gossip_queries")
        and ASKED.get(step, peer) is None
        and DEAF.get(step, peer) is None
    ]
    if not able or TIP.get(step) is None:
        return None
    chosen = able[int.from_bytes(at.entropy[:4], "big") % len(able)]
    SYNCED.put(step, at.unix_seconds)
    with_times = features.has(chosen.features, "gossip_queries_ex")
    query = QueryChannelRange(
        chain_hash=chain_hash,
        first_blocknum=0,
        number_of_blocks=0xFFFFFFFF,
        query_option=bytes([gossip.WANT_TIMESTAMPS]) if with_times else None,
    )
    _send(step, chosen.peer, query)
    ASKED.put(step, Asked(at=at.unix_seconds, ids=False), chosen.peer)
    sync = Sync(peer=chosen.peer, began=at.unix_seconds)
    SYNC.put(step, sync)
    return sync


def _go_on(step: Step, sync: Sync, chain_hash: bytes, at: Moment) -> None:
    """The next channels, when the last ones have come and have been looked up."""
    busy = ASKED.get(step, sync.peer) is not None
    if busy or not sync.ranged or strangers.waiting(step) > FEW_PENDING:
        return
    if not sync.wanted:
        SYNC.drop(step)
        return
    wanted, rest = sync.wanted[:IDS_IN_A_QUERY], sync.wanted[IDS_IN_A_QUERY:]
    SYNC.put(step, sync.but(wanted=rest))
    _query_ids(step, sync.peer, list(wanted), chain_hash, at)


def _query_ids(
    step: Step, peer: bytes, wanted: list[tuple[bytes, int]], chain_hash: bytes, at: Moment
) -> None:
    up = UP.get(step, peer)
    with_flags = up is not None and features.has(up.features, "gossip_queries_ex")
    wanted.sort()
    query = QueryShortChannelIds(
        chain_hash=chain_hash,
        encoded_short_ids=gossip.encode_ids([scid for scid, _ in wanted]),
        query_flags=gossip.encode_flags([flags for _, flags in wanted]) if with_flags else None,
    )
    ASKED.put(step, Asked(at=at.unix_seconds, ids=True), peer)
    _send(step, peer, query)


# ---- the answers -------------------------------------------------------------------------------


def hear_range(step: Step, peer: bytes, reply: ReplyChannelRange, at: Moment) -> None:
    """Some ids of the peer's channels. Raises `Refused`, or `Malformed`."""
    sync, asked = SYNC.get(step), ASKED.get(step, peer)
    if sync is None or sync.peer != peer or sync.ranged or asked is None:
        raise Refused("reply_channel_range without a query")
    scids = gossip.decode_ids(reply.encoded_short_ids)
    times = [(0, 0)] * len(scids)
    if reply.timestamps is not None:
        times = gossip.decode_timestamps(reply.timestamps)
        # "timestamps for all short_channel_ids in encoded_short_ids"
        if len(times) != len(scids):
            raise Malformed("as many timestamps as ids are due")
    heard = sync.heard + len(scids)
    if heard > MAX_IDS:
        raise Refused("more channels than there can be")
    lacking = [
        (scid, flags)
        for scid, pair in zip(scids, times, strict=True)
        if (flags := _lacks(step, scid, pair))
    ]
    last = bool(reply.sync_complete)
    SYNC.put(step, sync.but(heard=heard, wanted=(*sync.wanted, *lacking), ranged=last))
    if last:
        ASKED.drop(step, peer)
    else:
        ASKED.put(step, asked.but(at=at.unix_seconds), peer)


def _lacks(step: Step, scid: bytes, times: tuple[int, int]) -> int:
    """What to ask for of this channel: 0 for nothing."""
    edge = EDGES.get(step, scid)
    if edge is None:
        known = ABSENT.get(step, scid)
        return 0 if known else EVERYTHING
    newer = [theirs > ours for theirs, ours in zip(times, edge.times, strict=True)]
    return int(newer[0]) * gossip.WANT_UPDATE_1 | int(newer[1]) * gossip.WANT_UPDATE_2


def hear_end(step: Step, peer: bytes, reply: ReplyShortChannelIdsEnd) -> None:
    """All of one query has come."""
    asked = ASKED.get(step, peer)
    if asked is not None and asked.ids:
        ASKED.drop(step, peer)


def give_up_waiting(step: Step, at: Moment) -> None:
    """Who does not answer, or not to the end, is not asked for the whole graph again on this
    connection."""
    slow = SYNC.get(step)
    if slow is not None and at.unix_seconds - slow.began >= SYNC_SECONDS:
        SYNC.drop(step)
        SYNCED.drop(step)
        DEAF.put(step, True, slow.peer)
    for (peer,), asked in list(ASKED.each(step)):
        if at.unix_seconds - asked.at >= PATIENCE_SECONDS:
            ASKED.drop(step, peer)
            sync = SYNC.get(step)
            if sync is not None and sync.peer == peer:
                SYNC.drop(step)
                SYNCED.drop(step)
                DEAF.put(step, True, peer)


def _send(step: Step, peer: bytes, message: Message) -> None:
    step.tell("peers", ToWire(peer=peer, messages=(message.encode(),)))
