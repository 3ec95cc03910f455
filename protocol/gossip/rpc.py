"""The graph as Core Lightning's `listchannels` and `listnodes` show it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from protocol.errors import Malformed
from protocol.gossip import addresses, graph
from protocol.gossip.rows import DEGREES, EDGES, Edge
from protocol.machine import Step
from protocol.scid import scid_from_text, scid_text
from protocol.wire.gossip import (
    DIRECTION,
    DISABLED,
    ChannelAnnouncement,
    ChannelUpdate,
    NodeAnnouncement,
)


def listchannels(step: Step, params: dict[str, Any]) -> list[dict[str, Any]]:
    """params: short_channel_id (text), source, destination (node ids in hex); at most one."""
    rows = []
    for scid, edge in _edges(step, params.get("short_channel_id")):
        for direction in (0, 1):
            ends = edge.nodes if direction == 0 else edge.nodes[::-1]
            source, destination = (node.hex() for node in ends)
            wanted = params.get("source") in (None, source)
            if not wanted or params.get("destination") not in (None, destination):
                continue
            raw = graph.said(step, scid, direction)
            if raw is not None:
                row = _half(step, scid, edge, ChannelUpdate.decode(raw[2:]))
                rows.append({"source": source, "destination": destination, **row})
    return rows


def _half(step: Step, scid: bytes, edge: Edge, update: ChannelUpdate) -> dict[str, Any]:
    announcement = graph.said(step, scid)
    features = ChannelAnnouncement.decode(announcement[2:]).features if announcement else b""
    return {
        "short_channel_id": scid_text(scid),
        "direction": update.channel_flags & DIRECTION,
        "public": True,
        "amount_msat": edge.capacity_sat * 1000,
        "message_flags": update.message_flags,
        "channel_flags": update.channel_flags,
        "active": not update.channel_flags & DISABLED and edge.spent_height is None,
        "last_update": update.timestamp,
        "base_fee_millisatoshi": update.fee_base_msat,
        "fee_per_millionth": update.fee_proportional_millionths,
        "delay": update.cltv_expiry_delta,
        "htlc_minimum_msat": update.htlc_minimum_msat,
        "htlc_maximum_msat": update.htlc_maximum_msat,
        "features": features.hex(),
    }


def _edges(step: Step, name: str | None) -> Iterator[tuple[bytes, Edge]]:
    """In order of the short channel ids."""
    if name is None:
        yield from ((scid, edge) for (scid,), edge in EDGES.below(step).items())
        return
    scid = scid_from_text(name)
    edge = EDGES.get(step, scid) if scid is not None else None
    if scid is not None and edge is not None:
        yield scid, edge


def listnodes(step: Step, params: dict[str, Any]) -> list[dict[str, Any]]:
    """params: id (hex). A node that has not announced itself is known by its id alone."""
    wanted = params.get("id")
    if wanted is not None:
        node = bytes.fromhex(wanted)
        known = [node] if graph.degree(step, node) else []
    else:
        known = [node for (node,) in DEGREES.below(step)]
    return [_node(step, node) for node in known]


def _node(step: Step, node: bytes) -> dict[str, Any]:
    raw = graph.said(step, node)
    if raw is None:
        return {"nodeid": node.hex()}
    message = NodeAnnouncement.decode(raw[2:])
    try:
        found = addresses.usable(addresses.decode(message.addresses))
    except Malformed:
        found = []
    return {
        "nodeid": node.hex(),
        "alias": message.alias.rstrip(b"\0").decode("utf-8", "replace"),
        "color": message.rgb_color.hex(),
        "last_timestamp": message.timestamp,
        "features": message.features.hex(),
        "addresses": [item._asdict() for item in found],
    }
