"""What funding hears and tells."""

from __future__ import annotations

from protocol.features import Features
from protocol.values import Value


class FromPeer(Value, frozen=True, kw_only=True):
    """Peers says: an opening message (type and body) of a connected peer."""

    peer: bytes
    features: Features
    message: bytes
    address: tuple[str, int] | None = None


class ToPeer(Value, frozen=True, kw_only=True):
    """To peers: send this; `negotiation` (temporary id) is what is then under way, if any."""

    peer: bytes
    message: bytes
    negotiation: bytes | None = None


class PeerLost(Value, frozen=True, kw_only=True):
    """Peers says: the connection is gone, and with it every negotiation. `refused`: by an error of
    the peer for all its channels, which takes back what it has signed as well."""

    peer: bytes
    refused: bool = False


class UnknownChannel(Value, frozen=True, kw_only=True):
    """Peers says: the peer speaks of a channel that is not living here. Being opened, or none?"""

    peer: bytes
    channel_id: bytes


class TryLater(Value, frozen=True, kw_only=True):
    """To peers: it is being opened; a new connection will find it."""

    peer: bytes


class IsConnected(Value, frozen=True, kw_only=True):
    """To peers: is this peer connected? `purpose` and `place` name the destination of a group."""

    peer: bytes
    purpose: str
    place: int


class PeerState(Value, frozen=True, kw_only=True):
    """Peers says: it is, with these features; or not: `absent` is why."""

    peer: bytes
    purpose: str
    place: int
    features: Features = frozenset()
    address: tuple[str, int] | None = None
    absent: str = ""
