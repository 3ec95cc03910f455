"""What goes between the peers machine and its port."""

from __future__ import annotations

from protocol.values import Value


class Listen(Value, frozen=True, kw_only=True):
    """Begin to accept connections."""


class Dial(Value, frozen=True, kw_only=True):
    """To the port: connect to this node (33 bytes) there."""

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
    """From the port: what waited to be written to this peer has been taken."""

    node_id: bytes


class Pause(Value, frozen=True, kw_only=True):
    """Whether to leave unread what this peer sends."""

    node_id: bytes
    paused: bool


class Connected(Value, frozen=True, kw_only=True):
    """The handshake is done; a connection to the same node that was there before is gone."""

    node_id: bytes
    inbound: bool
    host: str
    port: int


class Received(Value, frozen=True, kw_only=True):
    """From the port: one decrypted message, with its type."""

    node_id: bytes
    message: bytes


class Disconnected(Value, frozen=True, kw_only=True):
    """Also the answer to a `Dial` that failed; `reason` is for people."""

    node_id: bytes
    reason: str


Order = Listen | Dial | Write | WhenDrained | Pause | Hangup  # all that the machine may want of it
