"""Blocks of regtest: a coinbase, a merkle root, and about two hashes of work."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from protocol.bitcoin.script import push
from protocol.bitcoin.transaction import (
    Outpoint,
    Transaction,
    TxIn,
    TxOut,
    serialize,
    varint,
)
from protocol.crypto.hashes import sha256d

BITS = 0x207FFFFF
TARGET = (BITS & 0xFFFFFF) << 8 * ((BITS >> 24) - 3)
GENESIS = bytes.fromhex(
    "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b2"
    "7ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4adae5494dffff7f20020000000101000000010000"
    "000000000000000000000000000000000000000000000000000000000000ffffffff4d04ffff001d01044554"
    "68652054696d65732030332f4a616e2f32303039204368616e63656c6c6f72206f6e206272696e6b206f6620"
    "7365636f6e64206261696c6f757420666f722062616e6b73ffffffff0100f2052a01000000434104678afdb0"
    "fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb649f6bc3f4cef38c4f35504e51ec112de"
    "5c384df7ba0b8d578a4c702b6bf11d5fac00000000"
)
SUBSIDY_SAT, HALVING = 50 * 100_000_000, 150


def merkle_root(hashes: Sequence[bytes]) -> bytes:
    """32 bytes, over hashes in their order."""
    level = list(hashes)
    while len(level) > 1:
        if len(level) % 2:
            level.append(level[-1])
        level = [sha256d(level[i] + level[i + 1]) for i in range(0, len(level), 2)]
    return level[0]


def _height_push(height: int) -> bytes:
    if height <= 16:
        return bytes([0x50 + height])
    return push(height.to_bytes((height.bit_length() + 8) // 8, "little"))


def coinbase(
    height: int, script: bytes, fees_sat: int, wtxids: Sequence[bytes], extra: bytes
) -> Transaction:
    """`wtxids`: of the block's other transactions; `extra` makes it unlike any other (BIPs 34,
    141)."""
    root = merkle_root([bytes(32), *wtxids])
    commitment = b"\x6a\x24\xaa\x21\xa9\xed" + sha256d(root + bytes(32))
    source = TxIn(
        Outpoint(bytes(32), 0xFFFFFFFF),
        script=_height_push(height) + push(extra),
        witness=(bytes(32),),
    )
    reward = SUBSIDY_SAT >> height // HALVING
    return Transaction((source,), (TxOut(reward + fees_sat, script), TxOut(0, commitment)))


def mine(
    previous: bytes, height: int, time: int, transactions: Sequence[Transaction], first: Transaction
) -> bytes:
    """The raw block."""
    root = merkle_root([first.txid, *(tx.txid for tx in transactions)])
    head = struct.pack("<i", 0x20000000) + previous + root + struct.pack("<II", time, BITS)
    nonce = 0
    while int.from_bytes(sha256d(head + struct.pack("<I", nonce)), "little") > TARGET:
        nonce += 1
    body = b"".join(serialize(tx) for tx in (first, *transactions))
    return head + struct.pack("<I", nonce) + varint(1 + len(transactions)) + body
