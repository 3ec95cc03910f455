"""What `peers` knows while it lives; nothing of it is stored."""

from __future__ import annotations

from protocol.channel.living import Live
from protocol.features import Features
from protocol.monitor.messages import Addresses
from protocol.segment import Segment
from protocol.values import Value
from protocol.wire.opening import ChannelReady


class Peer(Value, frozen=True, kw_only=True):
    """A connection. `negotiations`: openings that hang on it.

    `undigested`: bytes of gossip that the gossiper has not dealt with; `paused`: too many.
    `filter`: its gossip_timestamp_filter, which it says once.
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
    paused: bool = False
    filter: bytes = b""

    @property
    def address(self) -> tuple[str, int] | None:
        """Where it can be dialled again; None when it has dialled us."""
        return None if self.inbound else (self.host, self.port)


class Early(Value, frozen=True, kw_only=True):
    """A channel_ready that came before the channel was born."""

    peer: bytes
    message: ChannelReady


class Target(Value, frozen=True, kw_only=True):
    """Where to dial, how often it failed, when to try again."""

    node_id: bytes
    host: str
    port: int
    tries: int = 0
    at: float | None = None
    asks: tuple[str, ...] = ()
    keep: bool = False


# by node id (33 bytes)
PEERS = Segment("~peer", Peer, by=(bytes,))
TARGETS = Segment("~dial", Target, by=(bytes,))

# by channel id (32 bytes)
LIVES = Segment("~live", Live, by=(bytes,))
UNBORN = Segment("~unborn", bool, by=(bytes,))  # asked to be born again
TOUCHED = Segment("~touched", bool, by=(bytes,))  # had a turn in this batch
DEFECTS = Segment("~defects", int, by=(bytes,))  # how many it has met
EARLY = Segment("~early", Early, by=(bytes,))

ADOPTED = Segment("~adopted", Addresses)  # by the monitor that has said all its channels
LISTENING = Segment("~listening", bool, by=())
