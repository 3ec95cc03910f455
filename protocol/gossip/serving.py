"""What peers ask for (BOLT 7, Query Messages): answered in turns, as fast as they read.

What a peer has asked for and has not been given is owed to it. A turn gives some kilobytes,
the next one comes when they have left: a slow reader costs one turn of memory, whatever it asks.
"""

from __future__ import annotations

from typing import assert_never

from protocol.gossip import graph
from protocol.gossip.graph import Refused
from protocol.gossip.messages import ToWire
from protocol.gossip.rows import (
    EDGES,
    FILTERS,
    ORDER,
    OWED,
    READY,
    Backlog,
    Filter,
    Ids,
    Job,
    Owed,
    Range,
    ScidOrder,
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

TURN_BYTES, TURNS_AT_ONCE, NAMES_A_TURN = 6_000, 16, 10_000
IDS_IN_A_REPLY = 1000
ORDER_SECONDS = 10.0
EVERYTHING = 31
BEHIND_ALL = b"\xff" * 9


Query = QueryShortChannelIds | QueryChannelRange | GossipTimestampFilter


def asked(step: Step, peer: bytes, query: Query, chain_hash: bytes) -> None:
    """One of the three questions. Raises `Refused`, or `Malformed`."""
    job: Job | None
    match query:
        case QueryShortChannelIds():
            job = _ids(query, chain_hash)
        case QueryChannelRange():
            foreign = query.chain_hash != chain_hash
            job = Range(
                query=query,
                wants=query.wants,
                reached=query.first_blocknum,
                after=BEHIND_ALL if foreign else b"",
            )
        case GossipTimestampFilter():
            job = None
            if query.chain_hash == chain_hash:
                last = query.first_timestamp + query.timestamp_range
                FILTERS.put(step, Filter(first=query.first_timestamp, last=last), peer)
                job = Backlog(first=query.first_timestamp, last=last)
        case _:
            assert_never(query)
    owed = OWED.get(step, peer) or Owed()
    jobs = [known for known in owed.jobs if job is None or type(known) is not type(job)]
    # "if it has not sent reply_short_channel_ids_end to a previously received" query
    if len(jobs) < len(owed.jobs) and not isinstance(job, Backlog):
        raise Refused("a second query before the first was answered")
    OWED.put(step, owed.but(jobs=(*jobs, *([job] if job is not None else []))), peer)
    if not owed.waits:
        READY.put(step, True, peer)


def _ids(query: QueryShortChannelIds, chain_hash: bytes) -> Ids:
    scids = gossip.decode_ids(query.encoded_short_ids)
    flags = [EVERYTHING] * len(scids)
    if query.query_flags is not None:
        flags = gossip.decode_flags(query.query_flags, len(scids))
    known = query.chain_hash == chain_hash
    if not known:
        scids, flags = [], []
    return Ids(query=query, scids=tuple(scids), flags=tuple(flags), known_chain=known)


def drained(step: Step, peer: bytes) -> None:
    """The last turn has left."""
    owed = OWED.get(step, peer)
    if owed is not None and owed.waits:
        OWED.put(step, owed.but(waits=False), peer)
        READY.put(step, True, peer)


def gone(step: Step, peer: bytes) -> None:
    """A peer has left: nothing is owed to it any more."""
    for known in (FILTERS, OWED, READY):
        known.drop(step, peer)


def serve(step: Step, at: Moment) -> None:
    """At the end of each batch: a turn for a few of those who wait for one, in their order."""
    ready = list(READY.each(step))
    for (peer,), _ in ready[:TURNS_AT_ONCE]:
        READY.drop(step, peer)
        _turn(step, peer, at)
    if len(ready) > TURNS_AT_ONCE:
        step.wake(at.unix_seconds)


def _turn(step: Step, peer: bytes, at: Moment) -> None:
    """Some kilobytes of what is owed to a peer."""
    jobs = list(OWED.need(step, peer).jobs)
    messages: list[bytes] = []
    while jobs and sum(map(len, messages)) < TURN_BYTES:
        more, rest = _some(step, jobs[0], TURN_BYTES - sum(map(len, messages)), at)
        messages += more
        jobs = ([rest] if rest is not None else []) + jobs[1:]
    waits = bool(jobs)
    if waits:
        OWED.put(step, Owed(jobs=tuple(jobs), waits=True), peer)
    else:
        OWED.drop(step, peer)
    if messages or waits:
        step.tell("peers", ToWire(peer=peer, messages=tuple(messages), more=waits))


def _some(step: Step, job: Job, room: int, at: Moment) -> tuple[list[bytes], Job | None]:
    """-> messages, and what is left of the job."""
    match job:
        case Backlog():
            return _backlog(step, job, room, at)
        case Ids():
            return _of_ids(step, job, room) if job.nodes is None else _nodes(step, job, room)
        case Range():
            return _range(step, job, at)
        case _:
            assert_never(job)


def _names(step: Step, after: bytes, at: Moment) -> tuple[tuple[bytes, ...], int]:
    """All channels in order, and the place of the first behind `after`."""
    order = ORDER.get(step)
    size = EDGES.count(step)
    stale = order is not None and at.unix_seconds - order.made_at >= ORDER_SECONDS
    if order is None or stale or size < 1000:
        names = sorted(scid for (scid,), _ in EDGES.each(step))
        order = ScidOrder(made_at=at.unix_seconds, names=tuple(names))
        ORDER.put(step, order)
    low, high = 0, len(order.names)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if order.names[middle] > after else (middle + 1, high)
    return order.names, low


def _backlog(step: Step, job: Backlog, room: int, at: Moment) -> tuple[list[bytes], Backlog | None]:
    names, start = _names(step, job.after, at)
    messages: list[bytes] = []
    size = 0
    for place in range(start, len(names)):
        scid = names[place]
        edge = EDGES.get(step, scid)
        if edge is not None and any(job.first <= time < job.last for time in edge.times if time):
            new = graph.of_channel(step, scid) + graph.of_nodes(step, list(edge.nodes))
            size += sum(map(len, new))
            messages += new
        if size >= room or place - start >= NAMES_A_TURN:
            return messages, job.but(after=scid)
    return messages, None


def _of_ids(step: Step, job: Ids, room: int) -> tuple[list[bytes], Ids]:
    messages: list[bytes] = []
    size, done = 0, job.done
    while done < len(job.scids) and size < room:
        new = _channel(step, job.scids[done], job.flags[done])
        size += sum(map(len, new))
        messages += new
        done += 1
    if done < len(job.scids):
        return messages, job.but(done=done)
    nodes = dict.fromkeys(
        node for pair in zip(job.scids, job.flags, strict=True) for node in _ends(step, *pair)
    )
    return messages, job.but(nodes=tuple(nodes), done=0)


def _channel(step: Step, scid: bytes, wanted: int) -> list[bytes]:
    parts = ((gossip.WANT_ANNOUNCEMENT, None), (gossip.WANT_UPDATE_1, 0), (gossip.WANT_UPDATE_2, 1))
    found = [graph.said(step, scid, name) for bit, name in parts if wanted & bit]
    return [raw for raw in found if raw is not None]


def _ends(step: Step, scid: bytes, wanted: int) -> list[bytes]:
    edge = EDGES.get(step, scid)
    bits = (gossip.WANT_NODE_1, gossip.WANT_NODE_2)
    ends = edge.nodes if edge is not None else ()
    return [node for node, bit in zip(ends, bits, strict=False) if wanted & bit]


def _nodes(step: Step, job: Ids, room: int) -> tuple[list[bytes], Ids | None]:
    assert job.nodes is not None
    messages: list[bytes] = []
    size, done = 0, job.done
    while done < len(job.nodes) and size < room:
        raw = graph.said(step, job.nodes[done])
        if raw is not None:
            size += len(raw)
            messages.append(raw)
        done += 1
    if done < len(job.nodes):
        return messages, job.but(done=done)
    end = ReplyShortChannelIdsEnd(
        chain_hash=job.query.chain_hash, full_information=int(job.known_chain)
    )
    return [*messages, end.encode()], None


def _range(step: Step, job: Range, at: Moment) -> tuple[list[bytes], Range | None]:
    """One reply; the last one says that it is the last."""
    query = job.query
    first, end = query.first_blocknum, query.first_blocknum + query.number_of_blocks
    names, start = _names(step, max(job.after, _before(first)), at)
    found: list[bytes] = []
    place = start
    while place < len(names) and len(found) < IDS_IN_A_REPLY:
        scid = names[place]
        edge = EDGES.get(step, scid)
        if graph.height(scid) >= end:
            place = len(names)
            break
        if edge is not None and edge.spent_height is None:
            found.append(scid)
        place += 1
    last = place >= len(names) or graph.height(names[place]) >= end
    until = end if last else graph.height(found[-1]) + 1
    reply = _reply(step, job, (job.reached, until - job.reached, int(last)), found)
    if last:
        return [reply], None
    # a block may go on in the next reply
    return [reply], job.but(after=found[-1], reached=max(job.reached, until - 1))


def _before(block: int) -> bytes:
    """The greatest name below the first channel of a block."""
    return b"" if block == 0 else (min(block, 0xFFFFFF) * (1 << 40) - 1).to_bytes(8, "big")


def _reply(step: Step, job: Range, place: tuple[int, int, int], scids: list[bytes]) -> bytes:
    first, blocks, complete = place
    timestamps = checksums = None
    if job.wants & gossip.WANT_TIMESTAMPS:
        edges = [EDGES.need(step, scid) for scid in scids]
        timestamps = gossip.UNCOMPRESSED + gossip.encode_pairs([edge.times for edge in edges])
    if job.wants & gossip.WANT_CHECKSUMS:
        checksums = gossip.encode_pairs([_sums(step, scid) for scid in scids])
    return ReplyChannelRange(
        chain_hash=job.query.chain_hash,
        first_blocknum=first,
        number_of_blocks=blocks,
        sync_complete=complete,
        encoded_short_ids=gossip.encode_ids(scids),
        timestamps=timestamps,
        checksums=checksums,
    ).encode()


def _sums(step: Step, scid: bytes) -> tuple[int, int]:
    one, two = (graph.said(step, scid, way) for way in (0, 1))
    return (
        gossip.update_checksum(one) if one is not None else 0,
        gossip.update_checksum(two) if two is not None else 0,
    )
