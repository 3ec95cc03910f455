"""BOLT 2, Normal Operation and Message Retransmission."""

from __future__ import annotations

from protocol.wire.message import Message, raw


class UpdateAddHtlc(Message, frozen=True, kw_only=True):
    TYPE = 128
    LAYOUT = (
        ("channel_id", 32),
        ("id", "u64"),
        ("amount_msat", "u64"),
        ("payment_hash", 32),
        ("cltv_expiry", "u32"),
        ("onion_routing_packet", 1366),
    )
    RECORDS = {0: raw("path_key", 33)}
    channel_id: bytes
    id: int
    amount_msat: int
    payment_hash: bytes
    cltv_expiry: int
    onion_routing_packet: bytes
    path_key: bytes | None = None


class UpdateFulfillHtlc(Message, frozen=True, kw_only=True):
    TYPE = 130
    LAYOUT = (("channel_id", 32), ("id", "u64"), ("payment_preimage", 32))
    channel_id: bytes
    id: int
    payment_preimage: bytes


class UpdateFailHtlc(Message, frozen=True, kw_only=True):
    TYPE = 131
    LAYOUT = (("channel_id", 32), ("id", "u64"), ("reason", "bytes"))
    channel_id: bytes
    id: int
    reason: bytes


class UpdateFailMalformedHtlc(Message, frozen=True, kw_only=True):
    TYPE = 135
    LAYOUT = (("channel_id", 32), ("id", "u64"), ("sha256_of_onion", 32), ("failure_code", "u16"))
    channel_id: bytes
    id: int
    sha256_of_onion: bytes
    failure_code: int


class CommitmentSigned(Message, frozen=True, kw_only=True):
    TYPE = 132
    LAYOUT = (("channel_id", 32), ("signature", 64), ("htlc_signatures", "signatures"))
    RECORDS = {1: raw("funding_txid", 32)}
    channel_id: bytes
    signature: bytes
    htlc_signatures: tuple[bytes, ...]
    funding_txid: bytes | None = None


class RevokeAndAck(Message, frozen=True, kw_only=True):
    TYPE = 133
    LAYOUT = (
        ("channel_id", 32),
        ("per_commitment_secret", 32),
        ("next_per_commitment_point", "point"),
    )
    channel_id: bytes
    per_commitment_secret: bytes
    next_per_commitment_point: bytes


class UpdateFee(Message, frozen=True, kw_only=True):
    TYPE = 134
    LAYOUT = (("channel_id", 32), ("feerate_per_kw", "u32"))
    channel_id: bytes
    feerate_per_kw: int


class ChannelReestablish(Message, frozen=True, kw_only=True):
    TYPE = 136
    LAYOUT = (
        ("channel_id", 32),
        ("next_commitment_number", "u64"),
        ("next_revocation_number", "u64"),
        ("your_last_per_commitment_secret", 32),
        ("my_current_per_commitment_point", "point"),
    )
    RECORDS = {1: raw("next_funding", 33), 5: raw("my_current_funding_locked", 33)}
    channel_id: bytes
    next_commitment_number: int
    next_revocation_number: int
    your_last_per_commitment_secret: bytes
    my_current_per_commitment_point: bytes
    next_funding: bytes | None = None
    my_current_funding_locked: bytes | None = None
