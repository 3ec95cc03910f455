"""The graph: what is believed of channels and nodes.

Every function works on a step of the gossiper. Messages are raw, with their type in front. What is
compared with every message is kept in memory (`Edge`, `Seen`); the messages themselves are on disk
only. What changes is noted for the router (`NEWS`) and for peers (`RELAYS`), see `feeding`.
"""

from __future__ import annotations

from protocol import features
from protocol.errors import Malformed
from protocol.gossip import addresses, announce
from protocol.gossip.announce import Policy
from protocol.gossip.messages import Change, ChannelGone, ChannelIs, NodeIs, PolicyIs
from protocol.gossip.rows import (
    CHANNEL,
    DEGREES,
    EDGES,
    NEWS,
    NODES,
    RELAYED,
    RELAYS,
    SAID,
    SERIAL,
    UPDATES,
    Edge,
    Noted,
    Relay,
    Said,
    Seen,
)
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


def said(step: Step, name: bytes, direction: int | None = None) -> bytes | None:
    """The message that was believed last: the announcement of a channel (8 bytes) or a node (33),
    or the update of a channel in a direction."""
    row = SAID.get(step, name) if direction is None else UPDATES.get(step, name, direction)
    return None if row is None else row.raw


def vout(scid: bytes) -> int:
    """The output of a short channel id."""
    return int.from_bytes(scid[6:], "big")


def height(scid: bytes) -> int:
    """The block of a short channel id."""
    return int.from_bytes(scid[:3], "big")


# ---- what a start counts anew ------------------------------------------------------------------


def count(step: Step) -> None:
    """Degrees of the nodes, and the serial number that comes next."""
    degrees: dict[bytes, int] = {}
    last = 0
    for _, edge in EDGES.each(step):
        for node in edge.nodes:
            degrees[node] = degrees.get(node, 0) + 1
        last = max(last, edge.serial)
    for node, degree in degrees.items():
        DEGREES.put(step, degree, node)
    SERIAL.put(step, last)


def _serial(step: Step) -> int:
    number = (SERIAL.get(step) or 0) + 1
    SERIAL.put(step, number)
    return number


def degree(step: Step, node: bytes) -> int:
    """How many channels of a node we know."""
    return DEGREES.get(step, node) or 0


def _degree(step: Step, node: bytes, change: int) -> int:
    number = degree(step, node) + change
    if number:
        DEGREES.put(step, number, node)
    else:
        DEGREES.drop(step, node)
    return number


def _note(step: Step, change: Change, name: bytes) -> None:
    """For the router, which hears the newest of each kind, and a channel before its policies."""
    way = change.direction if isinstance(change, PolicyIs) else CHANNEL
    NEWS.put(step, Noted(change=change), name, way)


# ---- channels ----------------------------------------------------------------------------------


def add_edge(
    step: Step,
    raw: bytes,
    message: ChannelAnnouncement,
    funding: tuple[bytes, int],
    now: float,
    origin: bytes = b"",
) -> None:
    """A channel_announcement that has been checked. `funding`: its txid and satoshi.

    `origin`: the peer that sent it; it is passed on to others. Updates that are on disk already
    count at once.
    """
    scid, ends = message.short_channel_id, message.node_id_1 + message.node_id_2
    new = EDGES.get(step, scid) is None
    edge = Edge(
        ends=ends,
        txid=funding[0],
        capacity_sat=funding[1],
        serial=_serial(step),
        heard=int(now),
        barred=bool(features.unknown_even(features.decode(message.features))),
    )
    EDGES.put(step, edge, scid)
    SAID.put(step, Said(raw=raw), scid)
    for node in edge.nodes if new else ():
        _degree(step, node, 1)
    if not edge.barred:
        known = ChannelIs(scid=scid, ends=ends, capacity_sat=funding[1])
        _note(step, known, scid)
    _relay(step, origin, raw)
    for way in (0, 1):
        heard = said(step, scid, way)
        if heard is not None:
            update = ChannelUpdate.decode(heard[2:])
            put_update(step, heard, update, announce.policy_of(update), origin)


def forget_edge(step: Step, scid: bytes) -> None:
    """The channel, what was said of it, and nodes that have no other channel."""
    edge = EDGES.get(step, scid)
    if edge is None:
        return
    _serial(step)
    EDGES.drop(step, scid)
    SAID.drop(step, scid)
    for way in (0, 1):
        UPDATES.drop(step, scid, way)
        NEWS.drop(step, scid, way)
    for node in edge.nodes:
        if _degree(step, node, -1) == 0:
            NODES.drop(step, node)
            SAID.drop(step, node)
    _note(step, ChannelGone(scid=scid), scid)


def spend(step: Step, scid: bytes, spent_height: int | None) -> None:
    """Its funding output was spent at this height (None: a reorganisation took that back)."""
    edge = EDGES.get(step, scid)
    if edge is not None and edge.spent_height != spent_height:
        EDGES.put(step, edge.but(spent_height=spent_height, serial=_serial(step)), scid)
        if spent_height is not None:
            _note(step, ChannelGone(scid=scid), scid)
            return
        for change in all_of(step, scid):
            _note(step, change, scid)


def all_of(step: Step, scid: bytes) -> list[Change]:
    """What the router is to know of a channel; nothing when it is spent, or not to be used."""
    edge = EDGES.get(step, scid)
    if edge is None or edge.spent_height is not None or edge.barred:
        return []
    changes: list[Change] = [ChannelIs(scid=scid, ends=edge.ends, capacity_sat=edge.capacity_sat)]
    for way, known in enumerate(edge.times):
        raw = said(step, scid, way) if known else None
        if raw is not None:
            policy = announce.policy_of(ChannelUpdate.decode(raw[2:]))
            changes.append(PolicyIs(scid=scid, direction=way, policy=policy))
    return changes


def put_update(
    step: Step, raw: bytes, message: ChannelUpdate, policy: Policy, origin: bytes = b""
) -> None:
    """An update that has been checked, of a channel that is known."""
    scid, way = message.short_channel_id, message.channel_flags & DIRECTION
    edge = EDGES.need(step, scid)
    times = {"time_1" if way else "time_0": message.timestamp}
    EDGES.put(step, edge.but(serial=_serial(step), **times), scid)
    UPDATES.put(step, Said(raw=raw), scid, way)
    if not edge.barred:
        _note(step, PolicyIs(scid=scid, direction=way, policy=policy), scid)
    _relay(step, origin, raw)


def put_node(step: Step, raw: bytes, message: NodeAnnouncement, origin: bytes = b"") -> None:
    """A node_announcement that has been checked."""
    barred = bool(features.unknown_even(features.decode(message.features)))
    before = NODES.get(step, message.node_id)
    if barred != (before is not None and before.barred):
        news = NodeIs(node_id=message.node_id, barred=barred)
        _note(step, news, message.node_id)
    NODES.put(step, Seen(timestamp=message.timestamp, barred=barred), message.node_id)
    SAID.put(step, Said(raw=raw), message.node_id)
    _relay(step, origin, raw)


def _relay(step: Step, origin: bytes, raw: bytes) -> None:
    """What is new is passed on at the end of the batch, in the order in which it was believed."""
    number = (RELAYED.get(step) or 0) + 1
    RELAYED.put(step, number)
    RELAYS.put(step, Relay(peer=origin, raw=raw), number)


# ---- what is believed --------------------------------------------------------------------------


def hear_update(
    step: Step, raw: bytes, message: ChannelUpdate, now: float, origin: bytes = b""
) -> None:
    """A channel_update of a channel that we know. Raises `Refused`."""
    way = message.channel_flags & DIRECTION
    edge = EDGES.need(step, message.short_channel_id)
    check_time(message.timestamp, edge.times[way], now)
    policy = announce.policy_of(message)
    # "MUST ignore channel_updates, unless they have the disable bit set to 1"
    if edge.spent_height is not None and not policy.disabled:
        raise Refused
    # "if htlc_maximum_msat is greater than channel capacity"
    if policy.htlc_maximum_msat > edge.capacity_sat * 1000:
        raise Refused
    check_update(raw, message, edge.nodes[way])
    put_update(step, raw, message, policy, origin)


def check_update(raw: bytes, message: ChannelUpdate, signer: bytes) -> None:
    """What can be checked without the channel. Raises `Refused`."""
    # "MUST NOT forward such a channel_update to other peers"
    if message.message_flags & DONT_FORWARD:
        raise Refused
    # "if htlc_maximum_msat < htlc_minimum_msat"
    if message.htlc_minimum_msat > message.htlc_maximum_msat:
        raise Refused
    # "if signature is not a valid signature ...: MUST NOT process the message further"
    if not announce.is_signed_by(raw, signer, message.signature):
        raise Refused("channel_update with a wrong signature")


def hear_node(
    step: Step, raw: bytes, message: NodeAnnouncement, now: float, origin: bytes = b""
) -> None:
    """A node_announcement of a node with a channel. Raises `Refused`."""
    known = NODES.get(step, message.node_id)
    check_time(message.timestamp, known.timestamp if known is not None else 0, now)
    check_node(raw, message)
    put_node(step, raw, message, origin)


def check_node(raw: bytes, message: NodeAnnouncement) -> None:
    """Raises `Refused`."""
    # "if more than one type 5 address is announced: MUST not forward the node_announcement",
    # "if addrlen is insufficient to hold the address descriptors of the known types"
    try:
        if not addresses.may_be_forwarded(addresses.decode(message.addresses)):
            raise Refused
    except Malformed:
        raise Refused from None
    # "if signature is NOT a valid signature ...: MUST NOT process the message further"
    if not announce.is_signed_by(raw, message.node_id, message.signature):
        raise Refused("node_announcement with a wrong signature")


def check_time(timestamp: int, known: int, now: float) -> None:
    """Newer than what is known, neither stale nor from the future. Raises `Refused`."""
    # "if timestamp is lower than that of the last-received", "unreasonably far in the future"
    if timestamp <= known or not now - STALE_SECONDS < timestamp < now + FUTURE_SECONDS:
        raise Refused


# ---- what is passed on -------------------------------------------------------------------------


def of_channel(step: Step, scid: bytes) -> list[bytes]:
    """Announcement, then updates; nothing without an update or when it is spent."""
    edge = EDGES.get(step, scid)
    updates = [said(step, scid, way) for way in (0, 1)]
    known = [raw for raw in updates if raw is not None]
    announcement = said(step, scid)
    if edge is None or edge.spent_height is not None or not known or announcement is None:
        return []
    return [announcement, *known]


def of_nodes(step: Step, nodes: list[bytes]) -> list[bytes]:
    """Each node's announcement once."""
    found = [said(step, node) for node in dict.fromkeys(nodes)]
    return [raw for raw in found if raw is not None]
