"""What the gossiper hears and tells, and its rows."""

from __future__ import annotations

from protocol.gossip.announce import Half, Policy, Side
from protocol.values import Value


class OwnChannel(Value, frozen=True, kw_only=True):
    """From monitors, when it changes: a channel of ours that may be announced.

    `theirs` and `their_half`: the peer and its half of the proof. `key_index` finds our funding
    key. `most_msat` is what one HTLC of ours may carry.
    """

    channel_id: bytes
    scid: bytes
    theirs: Side
    their_half: Half
    key_index: int
    capacity_sat: int
    least_msat: int
    most_msat: int


class OwnChannels(Value, frozen=True, kw_only=True):
    """From monitors, when the link to them is new: all of them; others of ours are no more."""

    all: tuple[OwnChannel, ...]


class FromWire(Value, frozen=True, kw_only=True):
    """Peers says: a gossip message (with its type) of a connected peer."""

    peer: bytes
    message: bytes


class PeerUp(Value, frozen=True, kw_only=True):
    """Peers says: the peer has said its init."""

    peer: bytes


class PeerDown(Value, frozen=True, kw_only=True):
    """Peers says: the connection is gone."""

    peer: bytes


class ToWire(Value, frozen=True, kw_only=True):
    """To peers: send these, in this order."""

    peer: bytes
    messages: tuple[bytes, ...]


class Complain(Value, frozen=True, kw_only=True):
    """To peers: the peer broke a rule of BOLT 7; a warning, and the end of the connection."""

    peer: bytes
    text: str


# ---- rows -------------------------------------------------------------------------------------


class Own(Value, frozen=True, kw_only=True):
    """Row "own/<channel id>": the facts, and what we ask for relaying."""

    facts: OwnChannel
    policy: Policy


class Edge(Value, frozen=True, kw_only=True):
    """Row "edge/<scid>": an announced channel; `nodes` in ascending order.

    `raw` is the whole channel_announcement. `spent_height`: where its funding output was spent.
    """

    nodes: tuple[bytes, bytes]
    capacity_sat: int
    raw: bytes
    spent_height: int | None = None


class Said(Value, frozen=True, kw_only=True):
    """Rows "update/<scid>/<direction>" and "node/<node id>": the newest message of its origin."""

    raw: bytes
    timestamp: int


class Filter(Value, frozen=True, kw_only=True):
    """Row "~filter/<peer>": what it wants to hear of others (gossip_timestamp_filter)."""

    first: int
    last: int
