"""BOLT 7: the proof that a channel exists, of two halves, and the announcement that carries it.

Signatures are 64 bytes, compact; digests are double SHA256 (see `protocol.wire.gossip`).
"""

from __future__ import annotations

from protocol.crypto import secp
from protocol.values import Value
from protocol.wire.gossip import ChannelAnnouncement, announcement_digest

_NONE = bytes(64)


class Side(Value, frozen=True, kw_only=True, tag="side"):
    """One end of a channel: its node id and its funding key, 33 bytes each."""

    node_id: bytes
    funding_key: bytes


class Half(Value, frozen=True, kw_only=True, tag="half"):
    """One end's signatures on the announcement of the channel at `scid` (8 bytes)."""

    scid: bytes
    node_signature: bytes
    bitcoin_signature: bytes


def unsigned(chain_hash: bytes, scid: bytes, ours: Side, theirs: Side) -> ChannelAnnouncement:
    """The announcement that both ends sign; without features beyond the assumed ones."""
    one, two = sorted((ours, theirs), key=lambda side: side.node_id)
    return ChannelAnnouncement(
        node_signature_1=_NONE,
        node_signature_2=_NONE,
        bitcoin_signature_1=_NONE,
        bitcoin_signature_2=_NONE,
        features=b"",
        chain_hash=chain_hash,
        short_channel_id=scid,
        node_id_1=one.node_id,
        node_id_2=two.node_id,
        bitcoin_key_1=one.funding_key,
        bitcoin_key_2=two.funding_key,
    )


def sign_half(announcement: ChannelAnnouncement, node_secret: bytes, funding_secret: bytes) -> Half:
    """Our half of the proof."""
    digest = announcement_digest(announcement.encode())
    return Half(
        scid=announcement.short_channel_id,
        node_signature=secp.sign(node_secret, digest),
        bitcoin_signature=secp.sign(funding_secret, digest),
    )


def half_is_good(announcement: ChannelAnnouncement, side: Side, half: Half) -> bool:
    """Whether `side` signed this announcement, with both of its keys."""
    digest = announcement_digest(announcement.encode())
    return (
        half.scid == announcement.short_channel_id
        and secp.verify(side.node_id, digest, half.node_signature)
        and secp.verify(side.funding_key, digest, half.bitcoin_signature)
    )


def whole(announcement: ChannelAnnouncement, ours: Side, our: Half, their: Half) -> bytes:
    """The message that strangers get, with its type in front."""
    one, two = (our, their) if announcement.node_id_1 == ours.node_id else (their, our)
    return announcement.but(
        node_signature_1=one.node_signature,
        node_signature_2=two.node_signature,
        bitcoin_signature_1=one.bitcoin_signature,
        bitcoin_signature_2=two.bitcoin_signature,
    ).encode()
