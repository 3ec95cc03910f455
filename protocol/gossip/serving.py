"""What peers ask for (BOLT 7, Query Messages): answered in turns, as fast as they read.

Row "~owed/<peer>": what a peer has asked for and has not been given. A turn gives some kilobytes,
the next one comes when they have left: a slow reader costs one turn of memory, whatever it asks.
"""

from __future__ import annotations

from protocol.gossip import graph
from protocol.gossip.graph import Refused
from protocol.gossip.items import Filter, ToWire
from protocol.machine import Moment, Step
from protocol.values import Value
from protocol.wire import gossip
from protocol.wire.gossip import (
    GossipTimestampFilter,
    QueryChannelRange,
    QueryShortChannelIds,
    ReplyChannelRange,
    ReplyShortChannelIdsEnd,
)
from protocol.wire.message import Message

TURN_BYTES, TURNS_AT_ONCE, NAMES_A_TURN = 6_000, 16, 10_000
IDS_IN_A_REPLY = 1000
ORDER_SECONDS = 10.0
EVERYTHING = 31


class Backlog(Value, frozen=True, kw_only=True):
    """A filter: all channels behind `after` (hex) with an update of that time."""

    first: int
    last: int
    after: str = ""


class Ids(Value, frozen=True, kw_only=True):
    """Channels asked for by their ids; then their nodes, each once; then the end."""

    query: QueryShortChannelIds
    scids: tuple[bytes, ...]
    flags: tuple[int, ...]
    known_chain: bool
    done: int = 0
    nodes: tuple[bytes, ...] | None = None


class Range(Value, frozen=True, kw_only=True):
    """The ids of all channels in some blocks, from `after` (hex) on. `wants`: what of each."""

    query: QueryChannelRange
    wants: int
    after: str = ""
    reached: int = 0


Job = Backlog | Ids | Range


class Owed(Value, frozen=True, kw_only=True):
    """`waits`: something is on the wire, and the rest follows when it has left."""

    jobs: tuple[Job, ...] = ()
    waits: bool = False


class Order(Value, frozen=True, kw_only=True):
    """Row "~order": all channels (hex), ascending, as of a moment."""

    made_at: float
    names: tuple[str, ...]


def asked(step: Step, peer: bytes, query: Message, chain_hash: bytes) -> None:
    """One of the three questions. Raises `Refused`, or `Malformed`."""
    match query:
        case QueryShortChannelIds():
            job: Job | None = _ids(query, chain_hash)
        case QueryChannelRange():
            foreign = query.chain_hash != chain_hash
            job = Range(
                query=query,
                wants=query.wants,
                reached=query.first_blocknum,
                after="~" if foreign else "",
            )
        case GossipTimestampFilter():
            job = None
            if query.chain_hash == chain_hash:
                last = query.first_timestamp + query.timestamp_range
                step.put(f"~filter/{peer.hex()}", Filter(first=query.first_timestamp, last=last))
                job = Backlog(first=query.first_timestamp, last=last)
        case _:
            raise AssertionError(type(query).__name__)
    owed = step.get(f"~owed/{peer.hex()}") or Owed()
    jobs = [known for known in owed.jobs if job is None or type(known) is not type(job)]
    if len(jobs) < len(owed.jobs) and not isinstance(job, Backlog):
        raise Refused("a second query before the first was answered")
    step.put(f"~owed/{peer.hex()}", owed.but(jobs=(*jobs, *([job] if job is not None else []))))
    if not owed.waits:
        step.put(f"~ready/{peer.hex()}", True)


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
    owed = step.get(f"~owed/{peer.hex()}")
    if owed is not None and owed.waits:
        step.put(f"~owed/{peer.hex()}", owed.but(waits=False))
        step.put(f"~ready/{peer.hex()}", True)


def gone(step: Step, peer: bytes) -> None:
    for kind in ("filter", "owed", "ready"):
        step.drop(f"~{kind}/{peer.hex()}")


def serve(step: Step, at: Moment) -> None:
    """At the end of each batch: a turn for a few of those who wait for one, in their order."""
    ready = list(step.each("~ready"))
    for name, _ in ready[:TURNS_AT_ONCE]:
        step.drop(f"~ready/{name}")
        _turn(step, bytes.fromhex(name), at)
    if len(ready) > TURNS_AT_ONCE:
        step.wake(at.unix_seconds)


def _turn(step: Step, peer: bytes, at: Moment) -> None:
    """Some kilobytes of what is owed to a peer."""
    jobs = list(step.get(f"~owed/{peer.hex()}").jobs)
    messages: list[bytes] = []
    while jobs and sum(map(len, messages)) < TURN_BYTES:
        more, rest = _some(step, jobs[0], TURN_BYTES - sum(map(len, messages)), at)
        messages += more
        jobs = ([rest] if rest is not None else []) + jobs[1:]
    waits = bool(jobs)
    step.put(f"~owed/{peer.hex()}", Owed(jobs=tuple(jobs), waits=True) if waits else None)
    if messages or waits:
        step.say("peers", ToWire(peer=peer, messages=tuple(messages), more=waits))


def _some(step: Step, job: Job, room: int, at: Moment) -> tuple[list[bytes], Job | None]:
    """-> messages, and what is left of the job."""
    match job:
        case Backlog():
            return _backlog(step, job, room, at)
        case Ids():
            return _of_ids(step, job, room) if job.nodes is None else _nodes(step, job, room)
        case Range():
            return _range(step, job, at)


def _names(step: Step, after: str, at: Moment) -> tuple[tuple[str, ...], int]:
    """All channels in order, and the place of the first behind `after`."""
    order = step.get("~order")
    size = len(step.rows.segment("edge"))
    stale = order is not None and at.unix_seconds - order.made_at >= ORDER_SECONDS
    if order is None or stale or size < 1000:
        order = Order(
            made_at=at.unix_seconds, names=tuple(sorted(key for key, _ in step.each("edge")))
        )
        step.put("~order", order)
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
        edge = step.get(f"edge/{names[place]}")
        if edge is not None and any(job.first <= time < job.last for time in edge.times if time):
            scid = bytes.fromhex(names[place])
            new = graph.of_channel(step, scid) + graph.of_nodes(step, list(edge.nodes))
            size += sum(map(len, new))
            messages += new
        if size >= room or place - start >= NAMES_A_TURN:
            return messages, job.but(after=names[place])
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
    edge = step.get(graph.edge_key(scid))
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
        edge, scid = step.get(f"edge/{names[place]}"), bytes.fromhex(names[place])
        if graph.height(scid) >= end:
            place = len(names)
            break
        if edge is not None and edge.spent_height is None:
            found.append(scid)
        place += 1
    last = place >= len(names) or graph.height(bytes.fromhex(names[place])) >= end
    until = end if last else graph.height(found[-1]) + 1
    reply = _reply(step, job, (job.reached, until - job.reached, int(last)), found)
    if last:
        return [reply], None
    # a block may go on in the next reply
    return [reply], job.but(after=found[-1].hex(), reached=max(job.reached, until - 1))


def _before(block: int) -> str:
    """The greatest name below the first channel of a block."""
    return "" if block == 0 else (min(block, 0xFFFFFF) * (1 << 40) - 1).to_bytes(8, "big").hex()


def _reply(step: Step, job: Range, place: tuple[int, int, int], scids: list[bytes]) -> bytes:
    first, blocks, complete = place
    timestamps = checksums = None
    if job.wants & gossip.WANT_TIMESTAMPS:
        edges = [step.get(graph.edge_key(scid)) for scid in scids]
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
