"""BOLT 2, Channel Establishment v1: open_channel to channel_ready."""

from __future__ import annotations

from typing import Annotated

from protocol.wire.message import U8, U16, U32, U64, Bytes32, Message, Point, Signature, Tlv

ANNOUNCE_CHANNEL = 1


class OpenChannel(Message, frozen=True, kw_only=True):
    """The offer of a channel, and what its opener demands of the other side. Delays in blocks."""

    TYPE = 32
    chain_hash: Bytes32
    temporary_channel_id: Bytes32
    funding_satoshis: U64
    push_msat: U64
    dust_limit_satoshis: U64
    max_htlc_value_in_flight_msat: U64
    channel_reserve_satoshis: U64
    htlc_minimum_msat: U64
    feerate_per_kw: U32
    to_self_delay: U16
    max_accepted_htlcs: U16
    funding_pubkey: Point
    revocation_basepoint: Point
    payment_basepoint: Point
    delayed_payment_basepoint: Point
    htlc_basepoint: Point
    first_per_commitment_point: Point
    channel_flags: U8
    upfront_shutdown_script: Annotated[bytes | None, Tlv(0)] = None
    channel_type: Annotated[bytes | None, Tlv(1)] = None


class AcceptChannel(Message, frozen=True, kw_only=True):
    """What the accepting side demands. `minimum_depth` and delays in blocks."""

    TYPE = 33
    temporary_channel_id: Bytes32
    dust_limit_satoshis: U64
    max_htlc_value_in_flight_msat: U64
    channel_reserve_satoshis: U64
    htlc_minimum_msat: U64
    minimum_depth: U32
    to_self_delay: U16
    max_accepted_htlcs: U16
    funding_pubkey: Point
    revocation_basepoint: Point
    payment_basepoint: Point
    delayed_payment_basepoint: Point
    htlc_basepoint: Point
    first_per_commitment_point: Point
    upfront_shutdown_script: Annotated[bytes | None, Tlv(0)] = None
    channel_type: Annotated[bytes | None, Tlv(1)] = None


class FundingCreated(Message, frozen=True, kw_only=True):
    """`funding_txid` in the byte order of the hash function."""

    TYPE = 34
    temporary_channel_id: Bytes32
    funding_txid: Bytes32
    funding_output_index: U16
    signature: Signature


class FundingSigned(Message, frozen=True, kw_only=True):
    """The accepter's signature on the opener's first commitment: it may broadcast."""

    TYPE = 35
    channel_id: Bytes32
    signature: Signature


class ChannelReady(Message, frozen=True, kw_only=True):
    """Deep enough for the sender; with the point of its commitment 1."""

    TYPE = 36
    channel_id: Bytes32
    second_per_commitment_point: Point
    alias: Annotated[bytes | None, Tlv(1, 8)] = None
