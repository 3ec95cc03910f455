"""BOLT 2, Normal Operation and Message Retransmission."""

from __future__ import annotations

from typing import Annotated

from protocol.wire.message import (
    U16,
    U32,
    U64,
    Bytes32,
    Message,
    Point,
    Signature,
    Signatures,
    Tlv,
    VarBytes,
    exactly,
)


class UpdateAddHtlc(Message, frozen=True, kw_only=True):
    """An HTLC is offered; `id` counts the sender's offers from 0. The onion is BOLT 4's."""

    TYPE = 128
    channel_id: Bytes32
    id: U64
    amount_msat: U64
    payment_hash: Bytes32
    cltv_expiry: U32
    onion_routing_packet: Annotated[bytes, exactly(1366)]
    path_key: Annotated[bytes | None, Tlv(0, 33)] = None


class UpdateFulfillHtlc(Message, frozen=True, kw_only=True):
    """The HTLC `id` of the receiver is paid."""

    TYPE = 130
    channel_id: Bytes32
    id: U64
    payment_preimage: Bytes32


class UpdateFailHtlc(Message, frozen=True, kw_only=True):
    """The HTLC `id` of the receiver has failed; `reason` is encrypted for its origin."""

    TYPE = 131
    channel_id: Bytes32
    id: U64
    reason: VarBytes


class UpdateFailMalformedHtlc(Message, frozen=True, kw_only=True):
    """The onion of the HTLC `id` could not be read; the code has the BADONION bit."""

    TYPE = 135
    channel_id: Bytes32
    id: U64
    sha256_of_onion: Bytes32
    failure_code: U16


class CommitmentSigned(Message, frozen=True, kw_only=True):
    """Signs the receiver's next commitment, and its HTLC transactions in the order of outputs."""

    TYPE = 132
    channel_id: Bytes32
    signature: Signature
    htlc_signatures: Signatures
    funding_txid: Annotated[bytes | None, Tlv(1, 32)] = None


class RevokeAndAck(Message, frozen=True, kw_only=True):
    """The sender's last commitment is void: its secret; and the point of the one after the next."""

    TYPE = 133
    channel_id: Bytes32
    per_commitment_secret: Bytes32
    next_per_commitment_point: Point


class UpdateFee(Message, frozen=True, kw_only=True):
    """A new feerate, satoshi per 1000 weight; the opener's to say."""

    TYPE = 134
    channel_id: Bytes32
    feerate_per_kw: U32


class ChannelReestablish(Message, frozen=True, kw_only=True):
    """Where the sender is: the next commitment that it awaits, and the next revocation."""

    TYPE = 136
    channel_id: Bytes32
    next_commitment_number: U64
    next_revocation_number: U64
    your_last_per_commitment_secret: Bytes32
    my_current_per_commitment_point: Point
    next_funding: Annotated[bytes | None, Tlv(1, 33)] = None
    my_current_funding_locked: Annotated[bytes | None, Tlv(5, 33)] = None
