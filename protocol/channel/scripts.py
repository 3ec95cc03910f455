"""BOLT 3: the witness scripts of funding, commitment and HTLC outputs."""

from __future__ import annotations

from functools import lru_cache

from protocol.bitcoin.script import number, push
from protocol.crypto.hashes import hash160, ripemd160


def funding(one: bytes, other: bytes) -> bytes:
    """2-of-2; the keys in ascending order."""
    first, second = sorted((one, other))
    return b"\x52" + push(first) + push(second) + b"\x52\xae"


def to_local(revocation: bytes, delayed: bytes, to_self_delay: int) -> bytes:
    """The owner's balance, and every second-stage HTLC output."""
    delay = number(to_self_delay)
    return b"\x63" + push(revocation) + b"\x67" + delay + b"\xb2\x75" + push(delayed) + b"\x68\xac"


def to_remote_anchors(payment: bytes) -> bytes:
    """The other side's balance, spendable one block later (option_anchors)."""
    return push(payment) + b"\xad\x51\xb2"


def anchor(funding_key: bytes) -> bytes:
    """For the holder of the funding key; for everybody after 16 blocks."""
    return push(funding_key) + b"\xac\x73\x64\x60\xb2\x68"


@lru_cache(maxsize=8)  # the same for all HTLCs of a commitment
def _htlc_head(revocation: bytes, other_htlc: bytes) -> bytes:
    return (
        b"\x76\xa9" + push(hash160(revocation)) + b"\x87\x63\xac\x67" + push(other_htlc)
        + b"\x7c\x82\x01\x20\x87"
    )  # fmt: skip


def offered_htlc(keys: tuple[bytes, bytes, bytes], payment_hash: bytes, end: bytes) -> bytes:
    """An HTLC that the commitment's owner offered; keys: revocation, owner's, other's."""
    revocation, owner_htlc, other_htlc = keys
    return (
        _htlc_head(revocation, other_htlc)
        + b"\x64\x75\x52\x7c" + push(owner_htlc) + b"\x52\xae\x67"
        + b"\xa9" + push(ripemd160(payment_hash)) + b"\x88\xac\x68"
        + end
    )  # fmt: skip


def received_htlc(
    keys: tuple[bytes, bytes, bytes], payment_hash: bytes, cltv_expiry: int, end: bytes
) -> bytes:
    """An HTLC that the commitment's owner was offered; keys as in `offered_htlc`."""
    revocation, owner_htlc, other_htlc = keys
    return (
        _htlc_head(revocation, other_htlc)
        + b"\x63\xa9" + push(ripemd160(payment_hash)) + b"\x88\x52\x7c" + push(owner_htlc)
        + b"\x52\xae\x67\x75" + number(cltv_expiry) + b"\xb1\x75\xac\x68"
        + end
    )  # fmt: skip
