"""The rows of the graph: what is believed of channels and nodes, and what is passed on.

Every function works on a step of the gossiper. Messages are raw, with their type in front.
"""

from __future__ import annotations

from protocol.errors import Malformed
from protocol.gossip import announce
from protocol.gossip.items import Edge, Said
from protocol.machine import Step
from protocol.wire.gossip import (
    DIRECTION,
    DONT_FORWARD,
    ChannelAnnouncement,
    ChannelUpdate,
    NodeAnnouncement,
)

FUTURE_SECONDS = 24 * 3600
STALE_SECONDS = 14 * 24 * 3600
FORGET_BLOCKS = 72


class Refused(Exception):
    """A message that is not believed. `text` is for the peer when it broke a rule, else empty."""

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.text = text


def edge_key(scid: bytes) -> str:
    return f"edge/{scid.hex()}"


def update_key(scid: bytes, direction: int) -> str:
    return f"update/{scid.hex()}/{direction}"


def node_key(node_id: bytes) -> str:
    return f"node/{node_id.hex()}"


def add_edge(step: Step, raw: bytes, capacity_sat: int) -> None:
    """A channel_announcement whose signatures and funding output have been checked."""
    message = ChannelAnnouncement.decode(raw[2:])
    edge = Edge(nodes=(message.node_id_1, message.node_id_2), capacity_sat=capacity_sat, raw=raw)
    step.put(edge_key(message.short_channel_id), edge)


def forget_edge(step: Step, scid: bytes) -> None:
    """The channel, what was said of it, and nodes that have no other channel."""
    edge = step.get(edge_key(scid))
    step.drop(edge_key(scid))
    for direction in (0, 1):
        step.drop(update_key(scid, direction))
    if edge is not None:
        for node in edge.nodes:
            if not channels_of(step, node):
                step.drop(node_key(node))


def channels_of(step: Step, node: bytes) -> list[str]:
    return [key for key, edge in step.scan("edge/").items() if node in edge.nodes]


def hear_update(step: Step, raw: bytes, chain_hash: bytes, now: float) -> None:
    """A channel_update of somebody. Raises `Refused`, or `Malformed`."""
    message = ChannelUpdate.decode(raw[2:])
    direction = message.channel_flags & DIRECTION
    edge = step.get(edge_key(message.short_channel_id))
    key = update_key(message.short_channel_id, direction)
    if message.chain_hash != chain_hash or edge is None or message.message_flags & DONT_FORWARD:
        raise Refused
    _check_time(message.timestamp, step.get(key), now)
    policy = announce.policy_of(message)
    if edge.spent_height is not None and not policy.disabled:
        raise Refused
    if policy.htlc_minimum_msat > policy.htlc_maximum_msat:
        raise Refused
    if policy.htlc_maximum_msat > edge.capacity_sat * 1000:
        raise Refused
    if not announce.is_signed_by(raw, edge.nodes[direction], message.signature):
        raise Refused("channel_update with a wrong signature")
    step.put(key, Said(raw=raw, timestamp=message.timestamp))


def hear_node(step: Step, raw: bytes, now: float) -> None:
    """A node_announcement of somebody. Raises `Refused`, or `Malformed`."""
    message = NodeAnnouncement.decode(raw[2:])
    key = node_key(message.node_id)
    if step.get(key) is None and not channels_of(step, message.node_id):
        raise Refused
    _check_time(message.timestamp, step.get(key), now)
    if not announce.is_signed_by(raw, message.node_id, message.signature):
        raise Refused("node_announcement with a wrong signature")
    step.put(key, Said(raw=raw, timestamp=message.timestamp))


def _check_time(timestamp: int, known: Said | None, now: float) -> None:
    if known is not None and timestamp <= known.timestamp:
        raise Refused
    if not now - STALE_SECONDS < timestamp < now + FUTURE_SECONDS:
        raise Refused


def check_announcement(raw: bytes, chain_hash: bytes) -> ChannelAnnouncement:
    """All but the funding output. Raises `Refused`, or `Malformed`."""
    message = ChannelAnnouncement.decode(raw[2:])
    if message.chain_hash != chain_hash:
        raise Refused
    if message.node_id_1 >= message.node_id_2:
        raise Malformed("channel_announcement with its nodes out of order")
    if not announce.announcement_is_signed(raw, message):
        raise Refused("channel_announcement with a wrong signature")
    return message


# ---- what is passed on ------------------------------------------------------------------------


def of_channel(step: Step, scid: bytes) -> list[bytes]:
    """Announcement, then updates; nothing without an update or when it is spent."""
    edge = step.get(edge_key(scid))
    updates = [step.get(update_key(scid, direction)) for direction in (0, 1)]
    said = [update.raw for update in updates if update is not None]
    if edge is None or edge.spent_height is not None or not said:
        return []
    return [edge.raw, *said]


def of_nodes(step: Step, nodes: list[bytes]) -> list[bytes]:
    """Each node's announcement once."""
    rows = [step.get(node_key(node)) for node in dict.fromkeys(nodes)]
    return [row.raw for row in rows if row is not None]
