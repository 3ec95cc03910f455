"""Bitcoin transactions and blocks as frozen values; version 0 and taproot-free signature hashes.

A txid is kept in the byte order of the hash function; `display` gives the reversed hex of users.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from protocol.crypto.hashes import sha256d
from protocol.errors import Malformed

SIGHASH_ALL = 1
SIGHASH_SINGLE_ANYONECANPAY = 0x83
MAX_MONEY_SAT = 21_000_000 * 100_000_000


class Outpoint(NamedTuple):
    """A 32-byte txid and an output's index."""

    txid: bytes
    vout: int

    def __bytes__(self) -> bytes:
        return self.txid + self.vout.to_bytes(4, "little")

    def __str__(self) -> str:
        return f"{display(self.txid)}:{self.vout}"


class TxIn(NamedTuple):
    """`sequence` as in BIP 68; the script is empty for segwit."""

    outpoint: Outpoint
    sequence: int = 0xFFFFFFFF
    script: bytes = b""
    witness: tuple[bytes, ...] = ()


class TxOut(NamedTuple):
    """An amount in satoshi, and the script that it pays to."""

    amount_sat: int
    script: bytes

    def __bytes__(self) -> bytes:
        return self.amount_sat.to_bytes(8, "little") + varbytes(self.script)


class Transaction(NamedTuple):
    """Inputs and outputs in order; witnesses stand in the inputs."""

    inputs: tuple[TxIn, ...]
    outputs: tuple[TxOut, ...]
    version: int = 2
    locktime: int = 0

    @property
    def txid(self) -> bytes:
        """32 bytes in the order of the hash function; `display` turns them round."""
        return sha256d(serialize(self, witness=False))

    @property
    def weight(self) -> int:
        """In weight units (BIP 141)."""
        return 3 * len(serialize(self, witness=False)) + len(serialize(self))

    @property
    def vsize(self) -> int:
        """In virtual bytes, rounded up."""
        return (self.weight + 3) // 4

    def with_witness(self, index: int, witness: Sequence[bytes]) -> Transaction:
        """The same with the witness of one input."""
        inputs = list(self.inputs)
        inputs[index] = inputs[index]._replace(witness=tuple(witness))
        return self._replace(inputs=tuple(inputs))


class Block(NamedTuple):
    """A block's header fields that matter here, and its transactions."""

    hash: bytes
    previous: bytes
    time: int
    transactions: tuple[Transaction, ...]


def display(txid: bytes) -> str:
    """A hash as people write it: hex, turned round."""
    return txid[::-1].hex()


def from_display(text: str) -> bytes:
    """The other way: 32 bytes in the order of the hash function."""
    return bytes.fromhex(text)[::-1]


def varint(value: int) -> bytes:
    """Bitcoin's compact size, little-endian."""
    if value < 0xFD:
        return bytes([value])
    if value <= 0xFFFF:
        return b"\xfd" + value.to_bytes(2, "little")
    if value <= 0xFFFFFFFF:
        return b"\xfe" + value.to_bytes(4, "little")
    return b"\xff" + value.to_bytes(8, "little")


def varbytes(data: bytes) -> bytes:
    """Behind their compact size."""
    return varint(len(data)) + data


def serialize(tx: Transaction, *, witness: bool = True) -> bytes:
    """As it goes over the wire; with witnesses if there are any."""
    witness = witness and any(item.witness for item in tx.inputs)
    parts = [struct.pack("<i", tx.version), b"\x00\x01" if witness else b""]
    parts.append(varint(len(tx.inputs)))
    for item in tx.inputs:
        parts += [bytes(item.outpoint), varbytes(item.script), struct.pack("<I", item.sequence)]
    parts.append(varint(len(tx.outputs)))
    parts += [bytes(out) for out in tx.outputs]
    if witness:
        for item in tx.inputs:
            parts.append(varint(len(item.witness)))
            parts += [varbytes(element) for element in item.witness]
    parts.append(struct.pack("<I", tx.locktime))
    return b"".join(parts)


class _Reader:
    __slots__ = ("data", "at")

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.data):
            raise Malformed("transaction ends early")
        part = self.data[self.at : end]
        self.at = end
        return part

    def uint(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def varint(self) -> int:
        first = self.uint(1)
        return first if first < 0xFD else self.uint({0xFD: 2, 0xFE: 4, 0xFF: 8}[first])

    def varbytes(self) -> bytes:
        return self.take(self.varint())

    def count(self) -> int:
        """A count of things that take at least one byte each: never more than the bytes left."""
        value = self.varint()
        if value > len(self.data) - self.at:
            raise Malformed("transaction ends early")
        return value

    def input(self) -> TxIn:
        outpoint = Outpoint(self.take(32), self.uint(4))
        script = self.varbytes()
        return TxIn(outpoint, self.uint(4), script)

    def transaction(self) -> Transaction:
        version = struct.unpack("<i", self.take(4))[0]
        witness = self.data[self.at : self.at + 2] == b"\x00\x01"
        self.at += 2 * witness
        inputs = [self.input() for _ in range(self.count())]
        outputs = [TxOut(self.uint(8), self.varbytes()) for _ in range(self.count())]
        if witness:
            inputs = [
                item._replace(witness=tuple(self.varbytes() for _ in range(self.count())))
                for item in inputs
            ]
        return Transaction(tuple(inputs), tuple(outputs), version, self.uint(4))


def parse(data: bytes) -> Transaction:
    """Raises `Malformed` unless `data` is one whole transaction."""
    reader = _Reader(data)
    tx = reader.transaction()
    if reader.at != len(data):
        raise Malformed("bytes behind the transaction")
    return tx


def parse_block(data: bytes) -> Block:
    """Raises `Malformed`."""
    reader = _Reader(data, 80)
    transactions = tuple(reader.transaction() for _ in range(reader.count()))
    time = int.from_bytes(data[68:72], "little")
    return Block(sha256d(data[:80]), data[4:36], time, transactions)


@lru_cache(maxsize=64)
def _midstate(tx: Transaction) -> tuple[bytes, bytes, bytes]:
    prevouts = sha256d(b"".join(bytes(item.outpoint) for item in tx.inputs))
    sequences = sha256d(b"".join(struct.pack("<I", item.sequence) for item in tx.inputs))
    return prevouts, sequences, sha256d(b"".join(bytes(out) for out in tx.outputs))


def sighash(
    tx: Transaction, index: int, script_code: bytes, amount_sat: int, kind: int = SIGHASH_ALL
) -> bytes:
    """BIP 143 for SIGHASH_ALL and SIGHASH_SINGLE|ANYONECANPAY, 32 bytes."""
    item = tx.inputs[index]
    if kind == SIGHASH_ALL:
        prevouts, sequences, outputs = _midstate(tx)
    else:
        prevouts = sequences = bytes(32)
        outputs = sha256d(bytes(tx.outputs[index]))
    return sha256d(
        struct.pack("<i", tx.version)
        + prevouts
        + sequences
        + bytes(item.outpoint)
        + varbytes(script_code)
        + amount_sat.to_bytes(8, "little")
        + struct.pack("<I", item.sequence)
        + outputs
        + struct.pack("<I", tx.locktime)
        + struct.pack("<I", kind)
    )
