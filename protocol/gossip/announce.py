"""Making and checking signed gossip: halves and wholes of announcements, updates.

Signatures are 64 bytes, compact; digests are double SHA256 (see `protocol.wire.gossip`).
"""

from __future__ import annotations

from protocol.crypto import secp
from protocol.errors import Malformed
from protocol.values import Value
from protocol.wire.gossip import (
    DIRECTION,
    DISABLED,
    MUST_BE_ONE,
    ChannelAnnouncement,
    ChannelUpdate,
    NodeAnnouncement,
    announcement_digest,
    signed_digest,
)

_NONE = bytes(64)


class Policy(Value, frozen=True, kw_only=True, tag="policy"):
    """What one end asks for relaying over its channel."""

    cltv_expiry_delta: int
    htlc_minimum_msat: int
    htlc_maximum_msat: int
    fee_base_msat: int
    fee_proportional_millionths: int
    disabled: bool = False


def direction(ours: bytes, theirs: bytes) -> int:
    """0 for the end whose node id is the lesser one, else 1."""
    return int(ours > theirs)


# ---- channel announcements --------------------------------------------------------------------


def announcement_is_signed(raw: bytes, message: ChannelAnnouncement) -> bool:
    """All four signatures of the message `raw` (with its type)."""
    digest = announcement_digest(raw)
    return all(
        _verify(key, digest, signature)
        for key, signature in (
            (message.node_id_1, message.node_signature_1),
            (message.node_id_2, message.node_signature_2),
            (message.bitcoin_key_1, message.bitcoin_signature_1),
            (message.bitcoin_key_2, message.bitcoin_signature_2),
        )
    )


# ---- updates and nodes ------------------------------------------------------------------------


def update(
    chain_hash: bytes,
    scid: bytes,
    which: int,
    timestamp: int,
    policy: Policy,
    node_secret: bytes,
    *,
    message_flags: int = MUST_BE_ONE,
) -> bytes:
    """A signed channel_update of the end `which` (0 or 1), with its type in front."""
    message = ChannelUpdate(
        signature=_NONE,
        chain_hash=chain_hash,
        short_channel_id=scid,
        timestamp=timestamp,
        message_flags=message_flags,
        channel_flags=(DIRECTION if which else 0) | (DISABLED if policy.disabled else 0),
        cltv_expiry_delta=policy.cltv_expiry_delta,
        htlc_minimum_msat=policy.htlc_minimum_msat,
        fee_base_msat=policy.fee_base_msat,
        fee_proportional_millionths=policy.fee_proportional_millionths,
        htlc_maximum_msat=policy.htlc_maximum_msat,
    )
    return message.but(signature=secp.sign(node_secret, signed_digest(message.encode()))).encode()


def policy_of(message: ChannelUpdate) -> Policy:
    """What an update says of one direction."""
    return Policy(
        cltv_expiry_delta=message.cltv_expiry_delta,
        htlc_minimum_msat=message.htlc_minimum_msat,
        htlc_maximum_msat=message.htlc_maximum_msat,
        fee_base_msat=message.fee_base_msat,
        fee_proportional_millionths=message.fee_proportional_millionths,
        disabled=bool(message.channel_flags & DISABLED),
    )


def node_announcement(message: NodeAnnouncement, node_secret: bytes) -> bytes:
    """The signed message, with its type in front."""
    return message.but(signature=secp.sign(node_secret, signed_digest(message.encode()))).encode()


def is_signed_by(raw: bytes, node_id: bytes, signature: bytes) -> bool:
    """For an update or a node announcement `raw` (with its type)."""
    return _verify(node_id, signed_digest(raw), signature)


def _verify(key: bytes, digest: bytes, signature: bytes) -> bool:
    """False also for what is no point: strangers send anything."""
    try:
        return secp.verify(key, digest, signature)
    except Malformed:
        return False
