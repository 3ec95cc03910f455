"""What funding hears and tells, and its rows."""

from __future__ import annotations

from protocol.channel.state import Channel
from protocol.features import Features
from protocol.machine import Ask
from protocol.values import Value
from protocol.wire.opening import AcceptChannel, OpenChannel


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
    """Peers says: the connection is gone, and with it every negotiation."""

    peer: bytes


class Open(Value, frozen=True, kw_only=True):
    """Peers says: the API's `ask` to open can start, the peer is connected."""

    peer: bytes
    features: Features
    ask: Ask
    address: tuple[str, int] | None = None


class Negotiation(Value, frozen=True, kw_only=True):
    """Row "~nego/<temporary id>": an opening that may be forgotten at any time."""

    temporary_id: bytes
    peer: bytes
    features: Features
    we_opened: bool
    key_index: int
    address: tuple[str, int] | None = None
    ask: Ask | None = None
    amount_sat: int = 0
    opened: OpenChannel | None = None
    accepted: AcceptChannel | None = None
    own_script: bytes | None = None
    raw: bytes | None = None
    channel: Channel | None = None


class Opening(Value, frozen=True, kw_only=True):
    """Row "opening/<channel id>"."""

    channel_id: bytes
    purpose: str
    peer: bytes
    we_opened: bool
    state: str
    minimum_depth: int
    amount_sat: int
    script: bytes
    funding_txid: bytes
    funding_index: int
    private: bool
    since: int
    anchors: bool = True
    signature: bytes = b""
    raw: bytes = b""
    ask: str = ""


class KeyIndex(Value, frozen=True, kw_only=True):
    """Row "keys": the next index of channel secrets; an index is never used twice."""

    next: int
