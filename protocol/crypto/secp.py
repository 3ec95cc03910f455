"""secp256k1 by libsecp256k1 (coincurve's own binding, one call per operation).

Points are 33 bytes, secrets and digests 32, signatures 64 (r then s, low s).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from coincurve._libsecp256k1 import ffi, lib
from coincurve.context import GLOBAL_CONTEXT

from protocol.errors import Malformed

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_CTX = GLOBAL_CONTEXT.ctx
_COMPRESSED = lib.SECP256K1_EC_COMPRESSED


@lru_cache(maxsize=4096)
def _parsed(point: bytes) -> Any:
    key = ffi.new("secp256k1_pubkey *")
    if len(point) != 33 or not lib.secp256k1_ec_pubkey_parse(_CTX, key, point, 33):
        raise Malformed("not a point on the curve")
    return key


def _serialized(key: Any) -> bytes:
    out, size = ffi.new("unsigned char[33]"), ffi.new("size_t *", 33)
    lib.secp256k1_ec_pubkey_serialize(_CTX, out, size, key, _COMPRESSED)
    return bytes(ffi.buffer(out, 33))


def _own_copy(point: bytes) -> Any:
    """A key that may be changed in place (the cached one may not)."""
    return ffi.new("secp256k1_pubkey *", _parsed(point)[0])


def check_point(point: bytes) -> bytes:
    """The same 33 bytes; `Malformed` when they are no point."""
    _parsed(point)
    return point


def public_key(secret: bytes) -> bytes:
    """33 bytes. Raises `ValueError` for 32 bytes that are no secret key."""
    key = ffi.new("secp256k1_pubkey *")
    if len(secret) != 32 or not lib.secp256k1_ec_pubkey_create(_CTX, key, secret):
        raise ValueError("not a secret key")
    return _serialized(key)


def _times(point: bytes, factor: bytes) -> Any:
    key = _own_copy(point)
    if not lib.secp256k1_ec_pubkey_tweak_mul(_CTX, key, factor):
        raise Malformed("not a scalar")
    return key


def point_mul(point: bytes, factor: bytes) -> bytes:
    """factor * point, 33 bytes. Raises `Malformed` for what is no scalar or no point."""
    return _serialized(_times(point, factor))


def point_sum(products: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The sum of all factor * point, given as (point, factor); 33 bytes. Raises `Malformed` for
    infinity, and as `point_mul`."""
    out = ffi.new("secp256k1_pubkey *")
    keys = [_times(point, factor) for point, factor in products]
    if not lib.secp256k1_ec_pubkey_combine(_CTX, out, keys, len(keys)):
        raise Malformed("points sum to infinity")
    return _serialized(out)


def point_tweak(point: bytes, tweak: bytes) -> bytes:
    """point + tweak * G"""
    key = _own_copy(point)
    if not lib.secp256k1_ec_pubkey_tweak_add(_CTX, key, tweak):
        raise Malformed("not a scalar")
    return _serialized(key)


def secret_add(one: bytes, other: bytes) -> bytes:
    """Modulo the order of the group, 32 bytes."""
    total = (int.from_bytes(one, "big") + int.from_bytes(other, "big")) % ORDER
    return total.to_bytes(32, "big")


def secret_mul(one: bytes, other: bytes) -> bytes:
    """Modulo the order of the group, 32 bytes."""
    product = int.from_bytes(one, "big") * int.from_bytes(other, "big") % ORDER
    return product.to_bytes(32, "big")


def ecdh(secret: bytes, point: bytes) -> bytes:
    """SHA256 of the compressed shared point (BOLT 8), 32 bytes."""
    out = ffi.new("unsigned char[32]")
    if not lib.secp256k1_ecdh(_CTX, out, _parsed(point), secret, ffi.NULL, ffi.NULL):
        raise Malformed("no shared secret")
    return bytes(ffi.buffer(out, 32))


def sign(secret: bytes, digest: bytes) -> bytes:
    """RFC 6979, low s: the same input gives the same 64 bytes."""
    signature, out = ffi.new("secp256k1_ecdsa_signature *"), ffi.new("unsigned char[64]")
    if not lib.secp256k1_ecdsa_sign(_CTX, signature, digest, secret, ffi.NULL, ffi.NULL):
        raise ValueError("not a secret key")
    lib.secp256k1_ecdsa_signature_serialize_compact(_CTX, out, signature)
    return bytes(ffi.buffer(out, 64))


def verify(point: bytes, digest: bytes, signature: bytes) -> bool:
    """False also for high s: libsecp256k1 accepts the lower half only."""
    parsed = ffi.new("secp256k1_ecdsa_signature *")
    if len(signature) != 64:
        return False
    if not lib.secp256k1_ecdsa_signature_parse_compact(_CTX, parsed, signature):
        return False
    return bool(lib.secp256k1_ecdsa_verify(_CTX, parsed, digest, _parsed(point)))


def sign_recoverable(secret: bytes, digest: bytes) -> bytes:
    """65 bytes: 64 of signature and the recovery id."""
    signature = ffi.new("secp256k1_ecdsa_recoverable_signature *")
    out, recovery = ffi.new("unsigned char[64]"), ffi.new("int *")
    if not lib.secp256k1_ecdsa_sign_recoverable(
        _CTX, signature, digest, secret, ffi.NULL, ffi.NULL
    ):
        raise ValueError("not a secret key")
    lib.secp256k1_ecdsa_recoverable_signature_serialize_compact(_CTX, out, recovery, signature)
    return bytes(ffi.buffer(out, 64)) + bytes([recovery[0]])


def recover(digest: bytes, signature: bytes) -> bytes:
    """The point whose secret made the 65 bytes of `sign_recoverable`. Raises `Malformed`."""
    parsed, key = ffi.new("secp256k1_ecdsa_recoverable_signature *"), ffi.new("secp256k1_pubkey *")
    if signature[64] > 3 or not lib.secp256k1_ecdsa_recoverable_signature_parse_compact(
        _CTX, parsed, signature[:64], signature[64]
    ):
        raise Malformed("not a recoverable signature")
    if not lib.secp256k1_ecdsa_recover(_CTX, key, parsed, digest):
        raise Malformed("signature recovers to no key")
    return _serialized(key)


def to_der(signature: bytes) -> bytes:
    """DER form for a witness; the sighash byte is the caller's."""
    parsed = ffi.new("secp256k1_ecdsa_signature *")
    lib.secp256k1_ecdsa_signature_parse_compact(_CTX, parsed, signature)
    out, size = ffi.new("unsigned char[72]"), ffi.new("size_t *", 72)
    lib.secp256k1_ecdsa_signature_serialize_der(_CTX, out, size, parsed)
    return bytes(ffi.buffer(out, size[0]))
