"""BOLT 1 messages: init, error, warning, ping, pong."""

from __future__ import annotations

from typing import Annotated

from protocol.wire.message import U16, Bytes32, Message, Tlv, VarBytes

ALL_CHANNELS = bytes(32)
MAX_PONG = 65531


class Warning_(Message, frozen=True, kw_only=True, tag="Warning"):
    """Something went wrong, and nothing is failed by it. `data` is printable text."""

    TYPE = 1
    channel_id: Bytes32
    data: VarBytes


class Init(Message, frozen=True, kw_only=True):
    """The first message after the handshake; feature fields are big-endian bit fields."""

    TYPE = 16
    globalfeatures: VarBytes
    features: VarBytes
    networks: Annotated[bytes | None, Tlv(1)] = None
    remote_addr: Annotated[bytes | None, Tlv(3)] = None


class Error(Message, frozen=True, kw_only=True):
    """The channel (or every channel, for 32 zero bytes) has failed."""

    TYPE = 17
    channel_id: Bytes32
    data: VarBytes


class Ping(Message, frozen=True, kw_only=True):
    """`num_pong_bytes` of 65532 and more asks for no answer."""

    TYPE = 18
    num_pong_bytes: U16
    ignored: VarBytes


class Pong(Message, frozen=True, kw_only=True):
    """`ignored` has as many bytes as the ping asked for."""

    TYPE = 19
    ignored: VarBytes
