"""Hash functions under the names that the BOLTs use."""

from __future__ import annotations

import hashlib
import hmac as _hmac


def sha256(data: bytes) -> bytes:
    """32 bytes."""
    return hashlib.sha256(data).digest()


def sha256d(data: bytes) -> bytes:
    """SHA256 of the SHA256, 32 bytes: txids, block hashes, gossip."""
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def ripemd160(data: bytes) -> bytes:
    """20 bytes."""
    return hashlib.new("ripemd160", data).digest()


def hash160(data: bytes) -> bytes:
    """RIPEMD160 of the SHA256, 20 bytes."""
    return ripemd160(sha256(data))


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    """32 bytes."""
    return _hmac.digest(key, data, "sha256")


def hkdf(salt: bytes, material: bytes, info: bytes = b"") -> tuple[bytes, bytes]:
    """HKDF-SHA256 with 64 bytes of output, as two halves (BOLT 8)."""
    extracted = hmac_sha256(salt, material)
    first = hmac_sha256(extracted, info + b"\x01")
    return first, hmac_sha256(extracted, first + info + b"\x02")


def derive(secret: bytes, label: str) -> bytes:
    """A 32-byte secret under a name, for everything that Daruma derives from its seed."""
    return hmac_sha256(secret, b"daruma " + label.encode())
