"""What the gossiper hears and tells."""

from __future__ import annotations

from protocol.channel.proof import Half, Side
from protocol.features import Features
from protocol.gossip.announce import Policy
from protocol.values import Value

# ---- monitors ----------------------------------------------------------------------------------


class OwnChannel(Value, frozen=True, kw_only=True):
    """From monitors, when it changes: a usable channel of ours.

    `theirs`: the peer. `their_half` is its half of the proof, None while the channel is not to be
    announced: it is private, or not deep enough. `called`: the name under which the peer is told of
    our policy then. `key_index` finds our funding key. `most_msat` is what one HTLC of ours may
    carry.
    """

    channel_id: bytes
    scid: bytes
    txid: bytes
    theirs: Side
    their_half: Half | None
    called: bytes
    key_index: int
    capacity_sat: int
    least_msat: int
    most_msat: int


class OwnChannels(Value, frozen=True, kw_only=True):
    """From a monitor, when the link to it is new: all that it keeps. When all `of` monitors have
    said it, others of ours are no more."""

    all: tuple[OwnChannel, ...]
    of: int = 1


class OwnTerms(Value, frozen=True, kw_only=True):
    """To payments: what we ask for relaying over a channel of ours, and what its peer asks for the
    other way, if it has said so. `scid`: where it is, or our alias; `called`: what the peer calls
    it, by which others may reach us over it."""

    channel_id: bytes
    scid: bytes
    called: bytes
    peer: bytes
    public: bool
    ours: Policy
    theirs: Policy | None = None


# ---- peers -------------------------------------------------------------------------------------


class FromWire(Value, frozen=True, kw_only=True):
    """Peers says: a gossip message (with its type) of a connected peer."""

    peer: bytes
    message: bytes


class PeerUp(Value, frozen=True, kw_only=True):
    """Peers says: the peer has said its init. `asked`: it has been asked for what is new."""

    peer: bytes
    features: Features
    asked: bool = False


class PeerDown(Value, frozen=True, kw_only=True):
    """Peers says: the connection is gone."""

    peer: bytes


class WireDrained(Value, frozen=True, kw_only=True):
    """Peers says: what was sent with `more` has left; the rest may follow."""

    peer: bytes


class ToWire(Value, frozen=True, kw_only=True):
    """To peers: send these, in this order. `more`: tell when they have left (`WireDrained`).

    `lossy`: not worth memory when the peer is slow.
    """

    peer: bytes
    messages: tuple[bytes, ...]
    more: bool = False
    lossy: bool = False


class Digested(Value, frozen=True, kw_only=True):
    """To peers: so many bytes of the peer's gossip have been dealt with; it may send more."""

    peer: bytes
    size: int


class Reconnect(Value, frozen=True, kw_only=True):
    """To peers: what the peer does not answer it may say by itself on a new connection."""

    peer: bytes


class Complain(Value, frozen=True, kw_only=True):
    """To peers: the peer broke a rule of BOLT 7; a warning, and the end of the connection."""

    peer: bytes
    text: str


# ---- router ------------------------------------------------------------------------------------


class Since(Value, frozen=True, kw_only=True):
    """Router says: this is how much of the graph I have; what has changed since?

    `epoch`: which life of the graph the serial number belongs to (8 bytes).
    """

    epoch: bytes
    serial: int


class ChannelIs(Value, frozen=True, kw_only=True):
    """A channel: `ends` are both node ids in ascending order, 66 bytes."""

    scid: bytes
    ends: bytes
    capacity_sat: int


class PolicyIs(Value, frozen=True, kw_only=True):
    """To the router: what one direction of a public channel demands. `scid`: 8 bytes."""

    scid: bytes
    direction: int
    policy: Policy


class ChannelGone(Value, frozen=True, kw_only=True):
    """To the router: nothing goes over this channel any more. `scid`: 8 bytes."""

    scid: bytes


class NodeIs(Value, frozen=True, kw_only=True):
    """`barred`: nothing may be routed through it."""

    node_id: bytes
    barred: bool


Change = ChannelIs | PolicyIs | ChannelGone | NodeIs


class News(Value, frozen=True, kw_only=True):
    """To router: what has changed, in this order, up to this serial number.

    Number 0: a part of what it has asked for with `Since`.
    """

    serial: int
    changes: tuple[Change, ...]


class UpToDate(Value, frozen=True, kw_only=True):
    """To router: that was all up to this serial number. `scids`: every channel, 8 bytes each;
    `barred`: the nodes that nothing may be routed through."""

    epoch: bytes
    serial: int
    scids: bytes
    barred: tuple[bytes, ...] = ()
