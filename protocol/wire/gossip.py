"""BOLT 7 messages: announcements, updates, and the queries for them.

A signature covers the double SHA256 of the message behind it, unknown bytes at the end included:
who checks or relays gossip works on the bytes as they came.
"""

from __future__ import annotations

import struct
from typing import Annotated, Self

from protocol.crypto.hashes import sha256d
from protocol.errors import Malformed
from protocol.wire.codec import Reader, bigsize
from protocol.wire.message import (
    U8,
    U16,
    U32,
    U64,
    Bytes32,
    Message,
    Point,
    ShortChannelId,
    Signature,
    Tlv,
    VarBytes,
    exactly,
)

DISABLED, DIRECTION = 2, 1
MUST_BE_ONE, DONT_FORWARD = 1, 2
UNCOMPRESSED = b"\x00"
WANT_ANNOUNCEMENT, WANT_UPDATE_1, WANT_UPDATE_2, WANT_NODE_1, WANT_NODE_2 = 1, 2, 4, 8, 16
WANT_TIMESTAMPS, WANT_CHECKSUMS = 1, 2


class Gossip(Message, frozen=True, kw_only=True):
    """What strangers relay: whatever follows the known fields is kept, signed and not read."""

    @classmethod
    def decode(cls, body: bytes) -> Self:
        return cls.decode_fields(body)


class ChannelAnnouncement(Gossip, frozen=True, kw_only=True):
    """Type 256; node ids in ascending order, `bitcoin_key_1` is the funding key of `node_id_1`."""

    TYPE = 256
    node_signature_1: Signature
    node_signature_2: Signature
    bitcoin_signature_1: Signature
    bitcoin_signature_2: Signature
    features: VarBytes
    chain_hash: Bytes32
    short_channel_id: ShortChannelId
    node_id_1: Point
    node_id_2: Point
    bitcoin_key_1: Point
    bitcoin_key_2: Point


class NodeAnnouncement(Gossip, frozen=True, kw_only=True):
    """Type 257; `addresses` are address descriptors, see `protocol.gossip.addresses`."""

    TYPE = 257
    signature: Signature
    features: VarBytes
    timestamp: U32
    node_id: Point
    rgb_color: Annotated[bytes, exactly(3)]
    alias: Bytes32
    addresses: VarBytes


class ChannelUpdate(Gossip, frozen=True, kw_only=True):
    """Type 258; what one end asks for relaying over the channel."""

    TYPE = 258
    signature: Signature
    chain_hash: Bytes32
    short_channel_id: ShortChannelId
    timestamp: U32
    message_flags: U8
    channel_flags: U8
    cltv_expiry_delta: U16
    htlc_minimum_msat: U64
    fee_base_msat: U32
    fee_proportional_millionths: U32
    htlc_maximum_msat: U64

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """At once, not field by field: most of what a node hears are updates."""
        # BOLT 1: "insufficient length for the contents: MUST close the connection"
        if len(body) < _UPDATE.size:
            raise Malformed("message ends early")
        return cls(**dict(zip(_UPDATE_FIELDS, _UPDATE.unpack_from(body), strict=True)))


_UPDATE = struct.Struct(">64s32s8sIBBHQIIQ")  # its fields
_UPDATE_FIELDS = ChannelUpdate.__struct_fields__


class AnnouncementSignatures(Message, frozen=True, kw_only=True):
    """Type 259; our half of the proof, for the peer only."""

    TYPE = 259
    channel_id: Bytes32
    short_channel_id: ShortChannelId
    node_signature: Signature
    bitcoin_signature: Signature


class QueryShortChannelIds(Message, frozen=True, kw_only=True):
    """Asks for these channels; `query_flags` says what of each."""

    TYPE = 261
    chain_hash: Bytes32
    encoded_short_ids: VarBytes
    query_flags: Annotated[bytes | None, Tlv(1)] = None


class ReplyShortChannelIdsEnd(Message, frozen=True, kw_only=True):
    """All that was asked for has been said."""

    TYPE = 262
    chain_hash: Bytes32
    full_information: U8


class QueryChannelRange(Message, frozen=True, kw_only=True):
    """Asks which channels there are in these blocks."""

    TYPE = 263
    chain_hash: Bytes32
    first_blocknum: U32
    number_of_blocks: U32
    query_option: Annotated[bytes | None, Tlv(1)] = None

    @property
    def wants(self) -> int:
        """WANT_TIMESTAMPS, WANT_CHECKSUMS. Raises `Malformed`."""
        return Reader(self.query_option).bigsize() if self.query_option else 0


class ReplyChannelRange(Message, frozen=True, kw_only=True):
    """A part of the answer to query_channel_range; `sync_complete` with the last one."""

    TYPE = 264
    chain_hash: Bytes32
    first_blocknum: U32
    number_of_blocks: U32
    sync_complete: U8
    encoded_short_ids: VarBytes
    timestamps: Annotated[bytes | None, Tlv(1)] = None
    checksums: Annotated[bytes | None, Tlv(3)] = None


class GossipTimestampFilter(Message, frozen=True, kw_only=True):
    """Asks for gossip of this range of times, in unix seconds, from now on."""

    TYPE = 265
    chain_hash: Bytes32
    first_timestamp: U32
    timestamp_range: U32


# ---- arrays with an encoding byte in front ----------------------------------------------------


def _plain(data: bytes, size: int) -> list[bytes]:
    """The items behind the encoding byte. Raises `Malformed`; zlib left the specification."""
    # BOLT 7: "if the first byte of encoded_short_ids is not a known encoding type"
    if data[:1] != UNCOMPRESSED:
        raise Malformed("an array with an unknown encoding")
    # "if encoded_short_ids does not decode into a whole number of short_channel_id"
    if (len(data) - 1) % size:
        raise Malformed("an array with a part of an item")
    return [data[at : at + size] for at in range(1, len(data), size)]


def encode_ids(scids: list[bytes]) -> bytes:
    """Short channel ids (8 bytes each), in ascending order."""
    return UNCOMPRESSED + b"".join(scids)


def decode_ids(data: bytes) -> list[bytes]:
    """The short channel ids (8 bytes each) of an uncompressed list. Raises `Malformed`."""
    return _plain(data, 8)


def encode_flags(flags: list[int]) -> bytes:
    """What is wanted of each channel, uncompressed."""
    return UNCOMPRESSED + b"".join(bigsize(flag) for flag in flags)


def decode_flags(data: bytes, count: int) -> list[int]:
    """One for each id. Raises `Malformed`."""
    # BOLT 7: "if encoding_type is not a known encoding type"
    if data[:1] != UNCOMPRESSED:
        raise Malformed("an array with an unknown encoding")
    reader = Reader(data[1:])
    flags = [reader.bigsize() for _ in range(count)]
    # "if encoded_query_flags does not decode to exactly one flag per short_channel_id"
    if reader.left:
        raise Malformed("more query flags than ids")
    return flags


Pair = tuple[int, int]


def _pairs(data: bytes) -> list[Pair]:
    # BOLT 7: two u32 for each channel
    if len(data) % 8:
        raise Malformed("an array with a part of an item")
    words = [int.from_bytes(data[at : at + 4], "big") for at in range(0, len(data), 4)]
    return list(zip(words[::2], words[1::2], strict=True))


def encode_pairs(pairs: list[Pair]) -> bytes:
    """Checksums; timestamps have the encoding byte in front."""
    return b"".join(one.to_bytes(4, "big") + two.to_bytes(4, "big") for one, two in pairs)


def decode_timestamps(data: bytes) -> list[Pair]:
    """A pair for each channel, by direction. Raises `Malformed`."""
    return _pairs(b"".join(_plain(data, 8)))


def decode_checksums(data: bytes) -> list[Pair]:
    """A pair of CRC-32C for each channel, by direction. Raises `Malformed`."""
    return _pairs(data)


# ---- what is signed ---------------------------------------------------------------------------

_TYPE, _SIGNATURE = 2, 64


def announcement_digest(message: bytes) -> bytes:
    """What all four sign: the hash of the message (with its type) behind the signatures."""
    return sha256d(message[_TYPE + 4 * _SIGNATURE :])


def signed_digest(message: bytes) -> bytes:
    """What the origin of an update or a node announcement signs."""
    return sha256d(message[_TYPE + _SIGNATURE :])


def update_checksum(message: bytes) -> int:
    """CRC32C of an update (with its type) without signature and timestamp."""
    before = message[_TYPE + _SIGNATURE : _TYPE + _SIGNATURE + 40]
    return crc32c(before + message[_TYPE + _SIGNATURE + 44 :])


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC = _crc_table()


def crc32c(data: bytes) -> int:
    """RFC 3720, appendix B.4."""
    check = 0xFFFFFFFF
    for byte in data:
        check = check >> 8 ^ _CRC[(check ^ byte) & 0xFF]
    return check ^ 0xFFFFFFFF
