"""BOLT 3, Efficient Per-commitment Secret Storage: 49 secrets stand for 2**48."""

from __future__ import annotations

from protocol.crypto.hashes import sha256
from protocol.errors import PeerFault

FIRST_INDEX = (1 << 48) - 1

# (index, secret) by number of trailing zero bits of the index
Store = tuple[tuple[int, bytes] | None, ...]
EMPTY: Store = (None,) * 49


def derive(secret: bytes, bits: int, index: int) -> bytes:
    """From a secret whose index shares all but the low `bits` bits with `index`."""
    value = bytearray(secret)
    for bit in range(bits - 1, -1, -1):
        if index >> bit & 1:
            value[bit // 8] ^= 1 << bit % 8
            value = bytearray(sha256(bytes(value)))
    return bytes(value)


def secret(seed: bytes, index: int) -> bytes:
    """The per-commitment secret (32 bytes) at this index, counted down from `FIRST_INDEX`."""
    return derive(seed, 48, index)


def _trailing_zeros(index: int) -> int:
    return 48 if index == 0 else (index & -index).bit_length() - 1


def insert(store: Store, index: int, value: bytes) -> Store:
    """The store with one more secret. Raises `PeerFault` when it does not fit the known ones."""
    bucket = _trailing_zeros(index)
    for below in range(bucket):
        known = store[below]
        if known is not None and derive(value, bucket, known[0]) != known[1]:
            raise PeerFault("the per-commitment secret does not fit the ones before it")
    return (*store[:bucket], (index, value), *store[bucket + 1 :])


def lookup(store: Store, index: int) -> bytes | None:
    """A secret that was inserted, or follows from one that was."""
    for bucket, known in enumerate(store):
        if known is not None and known[0] >> bucket == index >> bucket:
            return derive(known[1], bucket, index)
    return None
