"""BOLT 7, Query Messages: the answers that we owe, from the rows of the graph."""

from __future__ import annotations

from protocol.gossip import graph
from protocol.machine import Step
from protocol.wire import gossip
from protocol.wire.gossip import (
    QueryChannelRange,
    QueryShortChannelIds,
    ReplyChannelRange,
    ReplyShortChannelIdsEnd,
)

IDS_IN_A_REPLY = 2000


def answer_ids(step: Step, query: QueryShortChannelIds, chain_hash: bytes) -> list[bytes]:
    """What is known of the channels asked for, then the end. Raises `Malformed`."""
    scids = gossip.decode_ids(query.encoded_short_ids)
    everything = 31
    flags = [everything] * len(scids)
    if query.query_flags is not None:
        flags = gossip.decode_flags(query.query_flags, len(scids))
    messages: list[bytes] = []
    nodes: list[bytes] = []
    ours = query.chain_hash == chain_hash
    for scid, wanted in zip(scids, flags, strict=True) if ours else ():
        edge = step.get(graph.edge_key(scid))
        if edge is None:
            continue
        if wanted & gossip.WANT_ANNOUNCEMENT:
            messages.append(edge.raw)
        for direction, bit in enumerate((gossip.WANT_UPDATE_1, gossip.WANT_UPDATE_2)):
            update = step.get(graph.update_key(scid, direction))
            if wanted & bit and update is not None:
                messages.append(update.raw)
        for node, bit in zip(edge.nodes, (gossip.WANT_NODE_1, gossip.WANT_NODE_2), strict=True):
            nodes += [node] if wanted & bit else []
    end = ReplyShortChannelIdsEnd(chain_hash=query.chain_hash, full_information=int(ours))
    return [*messages, *graph.of_nodes(step, nodes), end.encode()]


def answer_range(step: Step, query: QueryChannelRange, chain_hash: bytes) -> list[bytes]:
    """One reply, or as many as the ids need; the last one says that it is the last."""
    first, blocks = query.first_blocknum, query.number_of_blocks
    scids = []
    if query.chain_hash == chain_hash:
        for key, edge in step.scan("edge/").items():
            scid = bytes.fromhex(key.removeprefix("edge/"))
            height = int.from_bytes(scid[:3], "big")
            if first <= height < first + blocks and edge.spent_height is None:
                scids.append(scid)
    scids.sort()
    parts = [scids[at : at + IDS_IN_A_REPLY] for at in range(0, len(scids), IDS_IN_A_REPLY)]
    parts = parts or [[]]
    replies, reached = [], first
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        until = first + blocks if last else int.from_bytes(part[-1][:3], "big") + 1
        replies.append(_reply(step, query, (reached, until - reached, int(last)), part))
        reached = max(reached, until - 1)  # a block may go on in the next reply
    return replies


def _reply(
    step: Step, query: QueryChannelRange, place: tuple[int, int, int], scids: list[bytes]
) -> bytes:
    first, blocks, complete = place
    rows = [[step.get(graph.update_key(scid, way)) for way in (0, 1)] for scid in scids]
    timestamps = checksums = None
    if query.wants & gossip.WANT_TIMESTAMPS:
        pairs = [tuple(row.timestamp if row else 0 for row in pair) for pair in rows]
        timestamps = gossip.UNCOMPRESSED + gossip.encode_pairs(pairs)  # type: ignore[arg-type]
    if query.wants & gossip.WANT_CHECKSUMS:
        pairs = [tuple(gossip.update_checksum(r.raw) if r else 0 for r in pair) for pair in rows]
        checksums = gossip.encode_pairs(pairs)  # type: ignore[arg-type]
    return ReplyChannelRange(
        chain_hash=query.chain_hash,
        first_blocknum=first,
        number_of_blocks=blocks,
        sync_complete=complete,
        encoded_short_ids=gossip.encode_ids(scids),
        timestamps=timestamps,
        checksums=checksums,
    ).encode()
