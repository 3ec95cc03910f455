"""BOLT 1 messages: init, error, warning, ping, pong."""

from __future__ import annotations

from protocol.wire.message import Message, raw

ALL_CHANNELS = bytes(32)
MAX_PONG = 65531


class Warning_(Message, frozen=True, kw_only=True, tag="Warning"):
    """Something went wrong, and nothing is failed by it. `data` is printable text."""

    TYPE = 1
    LAYOUT = (("channel_id", 32), ("data", "bytes"))
    channel_id: bytes
    data: bytes


class Init(Message, frozen=True, kw_only=True):
    """The first message after the handshake; feature fields are big-endian bit fields."""

    TYPE = 16
    LAYOUT = (("globalfeatures", "bytes"), ("features", "bytes"))
    RECORDS = {1: raw("networks"), 3: raw("remote_addr")}
    globalfeatures: bytes
    features: bytes
    networks: bytes | None = None
    remote_addr: bytes | None = None


class Error(Message, frozen=True, kw_only=True):
    """The channel (or every channel, for 32 zero bytes) has failed."""

    TYPE = 17
    LAYOUT = (("channel_id", 32), ("data", "bytes"))
    channel_id: bytes
    data: bytes


class Ping(Message, frozen=True, kw_only=True):
    """`num_pong_bytes` of 65532 and more asks for no answer."""

    TYPE = 18
    LAYOUT = (("num_pong_bytes", "u16"), ("ignored", "bytes"))
    num_pong_bytes: int
    ignored: bytes


class Pong(Message, frozen=True, kw_only=True):
    TYPE = 19
    LAYOUT = (("ignored", "bytes"),)
    ignored: bytes
