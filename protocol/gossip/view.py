"""The graph as Core Lightning's `listchannels` and `listnodes` show it."""

from __future__ import annotations

from typing import Any

from protocol.channel.state import scid_from_text, scid_text
from protocol.errors import Malformed
from protocol.gossip import addresses, graph
from protocol.machine import Step
from protocol.wire.gossip import DISABLED, ChannelAnnouncement, ChannelUpdate, NodeAnnouncement


def listchannels(step: Step, params: dict[str, Any]) -> list[dict[str, Any]]:
    """params: short_channel_id (text), source, destination (node ids in hex); at most one."""
    rows = []
    for key, edge in _edges(step, params.get("short_channel_id")).items():
        scid = bytes.fromhex(key.removeprefix("edge/"))
        for direction in (0, 1):
            said = step.get(graph.update_key(scid, direction))
            ends = edge.nodes if direction == 0 else edge.nodes[::-1]
            source, destination = (node.hex() for node in ends)
            wanted = params.get("source") in (None, source)
            if said is None or not wanted or params.get("destination") not in (None, destination):
                continue
            update = ChannelUpdate.decode(said.raw[2:])
            features = ChannelAnnouncement.decode(edge.raw[2:]).features
            rows.append(
                {
                    "source": source,
                    "destination": destination,
                    "short_channel_id": scid_text(scid),
                    "direction": direction,
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
            )
    return rows


def _edges(step: Step, name: str | None) -> dict[str, Any]:
    if name is None:
        return step.scan("edge/")
    scid = scid_from_text(name)
    edge = step.get(graph.edge_key(scid)) if scid is not None else None
    return {graph.edge_key(scid): edge} if scid is not None and edge is not None else {}


def listnodes(step: Step, params: dict[str, Any]) -> list[dict[str, Any]]:
    """params: id (hex). A node that has not announced itself is known by its id alone."""
    known = {node.hex() for edge in step.scan("edge/").values() for node in edge.nodes}
    return [_node(step, node) for node in sorted(known) if params.get("id") in (None, node)]


def _node(step: Step, node: str) -> dict[str, Any]:
    said = step.get(f"node/{node}")
    if said is None:
        return {"nodeid": node}
    message = NodeAnnouncement.decode(said.raw[2:])
    try:
        found = addresses.usable(addresses.decode(message.addresses))
    except Malformed:
        found = []
    return {
        "nodeid": node,
        "alias": message.alias.rstrip(b"\0").decode("utf-8", "replace"),
        "color": message.rgb_color.hex(),
        "last_timestamp": message.timestamp,
        "features": message.features.hex(),
        "addresses": [item._asdict() for item in found],
    }
