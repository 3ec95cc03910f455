"""BOLT 2, Channel Establishment v1: open_channel to channel_ready."""

from __future__ import annotations

from protocol.wire.message import Message, raw

ANNOUNCE_CHANNEL = 1


class OpenChannel(Message, frozen=True, kw_only=True):
    TYPE = 32
    LAYOUT = (
        ("chain_hash", 32),
        ("temporary_channel_id", 32),
        ("funding_satoshis", "u64"),
        ("push_msat", "u64"),
        ("dust_limit_satoshis", "u64"),
        ("max_htlc_value_in_flight_msat", "u64"),
        ("channel_reserve_satoshis", "u64"),
        ("htlc_minimum_msat", "u64"),
        ("feerate_per_kw", "u32"),
        ("to_self_delay", "u16"),
        ("max_accepted_htlcs", "u16"),
        ("funding_pubkey", "point"),
        ("revocation_basepoint", "point"),
        ("payment_basepoint", "point"),
        ("delayed_payment_basepoint", "point"),
        ("htlc_basepoint", "point"),
        ("first_per_commitment_point", "point"),
        ("channel_flags", "u8"),
    )
    RECORDS = {0: raw("upfront_shutdown_script"), 1: raw("channel_type")}
    chain_hash: bytes
    temporary_channel_id: bytes
    funding_satoshis: int
    push_msat: int
    dust_limit_satoshis: int
    max_htlc_value_in_flight_msat: int
    channel_reserve_satoshis: int
    htlc_minimum_msat: int
    feerate_per_kw: int
    to_self_delay: int
    max_accepted_htlcs: int
    funding_pubkey: bytes
    revocation_basepoint: bytes
    payment_basepoint: bytes
    delayed_payment_basepoint: bytes
    htlc_basepoint: bytes
    first_per_commitment_point: bytes
    channel_flags: int
    upfront_shutdown_script: bytes | None = None
    channel_type: bytes | None = None


class AcceptChannel(Message, frozen=True, kw_only=True):
    TYPE = 33
    LAYOUT = (
        ("temporary_channel_id", 32),
        ("dust_limit_satoshis", "u64"),
        ("max_htlc_value_in_flight_msat", "u64"),
        ("channel_reserve_satoshis", "u64"),
        ("htlc_minimum_msat", "u64"),
        ("minimum_depth", "u32"),
        ("to_self_delay", "u16"),
        ("max_accepted_htlcs", "u16"),
        ("funding_pubkey", "point"),
        ("revocation_basepoint", "point"),
        ("payment_basepoint", "point"),
        ("delayed_payment_basepoint", "point"),
        ("htlc_basepoint", "point"),
        ("first_per_commitment_point", "point"),
    )
    RECORDS = {0: raw("upfront_shutdown_script"), 1: raw("channel_type")}
    temporary_channel_id: bytes
    dust_limit_satoshis: int
    max_htlc_value_in_flight_msat: int
    channel_reserve_satoshis: int
    htlc_minimum_msat: int
    minimum_depth: int
    to_self_delay: int
    max_accepted_htlcs: int
    funding_pubkey: bytes
    revocation_basepoint: bytes
    payment_basepoint: bytes
    delayed_payment_basepoint: bytes
    htlc_basepoint: bytes
    first_per_commitment_point: bytes
    upfront_shutdown_script: bytes | None = None
    channel_type: bytes | None = None


class FundingCreated(Message, frozen=True, kw_only=True):
    """`funding_txid` in the byte order of the hash function."""

    TYPE = 34
    LAYOUT = (
        ("temporary_channel_id", 32),
        ("funding_txid", 32),
        ("funding_output_index", "u16"),
        ("signature", 64),
    )
    temporary_channel_id: bytes
    funding_txid: bytes
    funding_output_index: int
    signature: bytes


class FundingSigned(Message, frozen=True, kw_only=True):
    TYPE = 35
    LAYOUT = (("channel_id", 32), ("signature", 64))
    channel_id: bytes
    signature: bytes


class ChannelReady(Message, frozen=True, kw_only=True):
    TYPE = 36
    LAYOUT = (("channel_id", 32), ("second_per_commitment_point", "point"))
    RECORDS = {1: raw("alias", 8)}
    channel_id: bytes
    second_per_commitment_point: bytes
    alias: bytes | None = None
