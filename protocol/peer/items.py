"""What goes between the peers machine and its port, and its rows, all volatile."""

from __future__ import annotations

from protocol.features import Features
from protocol.values import Value
from protocol.wire.opening import ChannelReady


class Listen(Value, frozen=True, kw_only=True):
    """Begin to accept connections."""


class Dial(Value, frozen=True, kw_only=True):
    node_id: bytes
    host: str
    port: int


class Hangup(Value, frozen=True, kw_only=True):
    """Close the connection after what was written has left."""

    node_id: bytes


class Write(Value, frozen=True, kw_only=True):
    """`lossy`: left out when much is waiting for this peer already."""

    node_id: bytes
    message: bytes
    lossy: bool = False


class WhenDrained(Value, frozen=True, kw_only=True):
    """Tell (`Drained`) when nearly all that was written has left."""

    node_id: bytes


class Drained(Value, frozen=True, kw_only=True):
    node_id: bytes


class Hold(Value, frozen=True, kw_only=True):
    """Whether to leave unread what this peer sends."""

    node_id: bytes
    held: bool


class Connected(Value, frozen=True, kw_only=True):
    """The handshake is done; a connection to the same node that was there before is gone."""

    node_id: bytes
    inbound: bool
    host: str
    port: int


class Received(Value, frozen=True, kw_only=True):
    node_id: bytes
    message: bytes


class Disconnected(Value, frozen=True, kw_only=True):
    """Also the answer to a `Dial` that failed; `reason` is for people."""

    node_id: bytes
    reason: str


class Peer(Value, frozen=True, kw_only=True):
    """Row "~peer/<node>": a connection. `negotiations`: openings that hang on it.

    `undigested`: bytes of gossip that the gossiper has not dealt with; `held`: too many. `filter`:
    its gossip_timestamp_filter, which it says once.
    """

    node_id: bytes
    inbound: bool
    host: str
    port: int
    heard_at: float
    features: Features = frozenset()
    ready: bool = False
    pinged: bool = False
    negotiations: tuple[bytes, ...] = ()
    undigested: int = 0
    held: bool = False
    filter: bytes = b""

    @property
    def address(self) -> tuple[str, int] | None:
        """Where it can be dialled again; None when it has dialled us."""
        return None if self.inbound else (self.host, self.port)


class Early(Value, frozen=True, kw_only=True):
    """Row "~early/<channel>": a channel_ready that came before the channel was born."""

    peer: bytes
    message: ChannelReady


class Target(Value, frozen=True, kw_only=True):
    """Row "~dial/<node>": where to dial, how often it failed, when to try again."""

    node_id: bytes
    host: str
    port: int
    tries: int = 0
    at: float | None = None
    asks: tuple[str, ...] = ()
    keep: bool = False
