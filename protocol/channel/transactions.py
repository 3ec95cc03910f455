"""BOLT 3: commitment, HTLC and closing transactions, and their fees.

Written from the side of the commitment's *owner*: the node that may broadcast it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from protocol.bitcoin import script
from protocol.bitcoin.transaction import (
    SIGHASH_ALL,
    SIGHASH_SINGLE_ANYONECANPAY,
    Outpoint,
    Transaction,
    TxIn,
    TxOut,
    sighash,
)
from protocol.channel import scripts
from protocol.channel.scripts import ANCHOR_SAT
from protocol.crypto import secp
from protocol.crypto.hashes import sha256

HTLC_OUTPUT_WEIGHT = 172


class CommittedHtlc(NamedTuple):
    """An HTLC as one commitment sees it; `offered` by the commitment's owner."""

    offered: bool
    id: int
    amount_msat: int
    payment_hash: bytes
    cltv_expiry: int


class Keys(NamedTuple):
    """The keys of one commitment, 33 bytes each, derived with the owner's point."""

    revocation: bytes
    delayed: bytes
    owner_htlc: bytes
    other_htlc: bytes
    other_payment: bytes
    owner_funding: bytes
    other_funding: bytes


class Terms(NamedTuple):
    """What stays the same over the life of a channel, for one owner's commitments."""

    funding: Outpoint
    funding_sat: int
    anchors: bool
    owner_opened: bool
    dust_limit_sat: int
    to_self_delay: int
    obscuring: int


class Placed(NamedTuple):
    """An HTLC that has an output: which, and its witness script."""

    output: int
    htlc: CommittedHtlc
    script: bytes


class Commitment(NamedTuple):
    """A built commitment, its HTLCs in the order of their outputs.

    `delayed` is the output script of to_local and of every second stage.
    """

    tx: Transaction
    htlcs: tuple[Placed, ...]
    delayed: bytes


def obscuring_factor(opener_payment: bytes, accepter_payment: bytes) -> int:
    """The lower 48 bits of the hash over both payment basepoints, the opener's first."""
    return int.from_bytes(sha256(opener_payment + accepter_payment)[-6:], "big")


def commitment_weight(untrimmed: int, *, anchors: bool) -> int:
    return (1124 if anchors else 724) + HTLC_OUTPUT_WEIGHT * untrimmed


def commitment_fee_sat(feerate_per_kw: int, untrimmed: int, *, anchors: bool) -> int:
    return feerate_per_kw * commitment_weight(untrimmed, anchors=anchors) // 1000


def htlc_fee_sat(feerate_per_kw: int, *, offered: bool, anchors: bool) -> int:
    """Zero with anchors (option_anchors is anchors_zero_fee_htlc_tx)."""
    return 0 if anchors else feerate_per_kw * (663 if offered else 703) // 1000


def is_trimmed(
    htlc: CommittedHtlc, feerate_per_kw: int, dust_limit_sat: int, *, anchors: bool
) -> bool:
    """BOLT 3, Trimmed Outputs: no output, its amount goes to the fee."""
    fee = htlc_fee_sat(feerate_per_kw, offered=htlc.offered, anchors=anchors)
    return htlc.amount_msat // 1000 < dust_limit_sat + fee


def htlc_script(htlc: CommittedHtlc, keys: Keys, *, anchors: bool) -> bytes:
    if htlc.offered:
        return scripts.offered_htlc(
            keys.revocation, keys.owner_htlc, keys.other_htlc, htlc.payment_hash, anchors=anchors
        )
    trio = (keys.revocation, keys.owner_htlc, keys.other_htlc)
    return scripts.received_htlc(trio, htlc.payment_hash, htlc.cltv_expiry, anchors=anchors)


def _balances(
    terms: Terms, feerate_per_kw: int, untrimmed: int, owner_msat: int, other_msat: int
) -> tuple[int, int]:
    """Satoshi of to_local and to_remote after the opener has paid fee and anchors."""
    cost = commitment_fee_sat(feerate_per_kw, untrimmed, anchors=terms.anchors)
    cost += 2 * ANCHOR_SAT if terms.anchors else 0
    owner, other = owner_msat // 1000, other_msat // 1000
    if terms.owner_opened:
        return max(0, owner - cost), other
    return owner, max(0, other - cost)


class Contents(NamedTuple):
    """What one commitment says: number, feerate and who owns what (before fees)."""

    number: int
    feerate_per_kw: int
    owner_msat: int
    other_msat: int
    htlcs: tuple[CommittedHtlc, ...]


def build_commitment(terms: Terms, keys: Keys, contents: Contents) -> Commitment:
    """BOLT 3, Commitment Transaction Construction."""
    rate, anchors = contents.feerate_per_kw, terms.anchors
    kept = [
        (htlc, htlc_script(htlc, keys, anchors=anchors))
        for htlc in contents.htlcs
        if not is_trimmed(htlc, rate, terms.dust_limit_sat, anchors=anchors)
    ]
    owner_sat, other_sat = _balances(
        terms, rate, len(kept), contents.owner_msat, contents.other_msat
    )
    delayed = script.p2wsh(scripts.to_local(keys.revocation, keys.delayed, terms.to_self_delay))
    outputs: list[tuple[TxOut, tuple[CommittedHtlc, bytes] | None]] = [
        (TxOut(entry[0].amount_msat // 1000, script.p2wsh(entry[1])), entry) for entry in kept
    ]
    if owner_sat >= terms.dust_limit_sat:
        outputs.append((TxOut(owner_sat, delayed), None))
    if other_sat >= terms.dust_limit_sat:
        outputs.append((TxOut(other_sat, to_remote_script(keys, anchors=anchors)), None))
    if anchors:
        if owner_sat >= terms.dust_limit_sat or kept:
            outputs.append((_anchor(keys.owner_funding), None))
        if other_sat >= terms.dust_limit_sat or kept:
            outputs.append((_anchor(keys.other_funding), None))
    outputs.sort(key=_output_order)
    obscured = contents.number ^ terms.obscuring
    funding_input = TxIn(terms.funding, sequence=0x80 << 24 | obscured >> 24)
    tx = Transaction(
        (funding_input,),
        tuple(out for out, _ in outputs),
        locktime=0x20 << 24 | obscured & 0xFFFFFF,
    )
    placed = tuple(Placed(output, *kept) for output, (_, kept) in enumerate(outputs) if kept)
    return Commitment(tx, placed, delayed)


def _output_order(
    entry: tuple[TxOut, tuple[CommittedHtlc, bytes] | None],
) -> tuple[int, bytes, int]:
    """BOLT 3, Transaction Output Ordering: amount, script, then the HTLC's expiry."""
    out, kept = entry
    return out.amount_sat, out.script, kept[0].cltv_expiry if kept else 0


def _anchor(funding_key: bytes) -> TxOut:
    return TxOut(ANCHOR_SAT, script.p2wsh(scripts.anchor(funding_key)))


def to_remote_script(keys: Keys, *, anchors: bool) -> bytes:
    if anchors:
        return script.p2wsh(scripts.to_remote_anchors(keys.other_payment))
    return script.p2wpkh(keys.other_payment)


def htlc_transaction(
    terms: Terms, commitment: Commitment, txid: bytes, placed: Placed, feerate_per_kw: int
) -> Transaction:
    """HTLC-timeout for an offered HTLC, HTLC-success for a received one; unsigned."""
    htlc = placed.htlc
    fee = htlc_fee_sat(feerate_per_kw, offered=htlc.offered, anchors=terms.anchors)
    return Transaction(
        (TxIn(Outpoint(txid, placed.output), sequence=1 if terms.anchors else 0),),
        (TxOut(htlc.amount_msat // 1000 - fee, commitment.delayed),),
        locktime=htlc.cltv_expiry if htlc.offered else 0,
    )


def htlc_sighash_kind(*, anchors: bool) -> int:
    """How the *other* side signs an HTLC transaction."""
    return SIGHASH_SINGLE_ANYONECANPAY if anchors else SIGHASH_ALL


class Digests(NamedTuple):
    """What the other side signs: the commitment, then each HTLC transaction in output order."""

    commitment: bytes
    htlcs: tuple[bytes, ...]


def digests(terms: Terms, keys: Keys, contents: Contents) -> tuple[Commitment, Digests]:
    """The commitment, and the digests of a commitment_signed for it."""
    built = build_commitment(terms, keys, contents)
    funding_script = scripts.funding(keys.owner_funding, keys.other_funding)
    kind = htlc_sighash_kind(anchors=terms.anchors)
    txid = built.tx.txid if built.htlcs else b""
    htlcs = []
    for placed in built.htlcs:
        tx = htlc_transaction(terms, built, txid, placed, contents.feerate_per_kw)
        htlcs.append(sighash(tx, 0, placed.script, placed.htlc.amount_msat // 1000, kind))
    return built, Digests(sighash(built.tx, 0, funding_script, terms.funding_sat), tuple(htlcs))


def funding_witness(
    keys: tuple[bytes, bytes], signatures: tuple[bytes, bytes]
) -> tuple[bytes, ...]:
    """The witness that spends the funding output; signatures (64 bytes) in the order of keys."""
    pairs = sorted(zip(keys, signatures, strict=True))
    return (
        b"",
        *(secp.to_der(signature) + b"\x01" for _, signature in pairs),
        scripts.funding(*keys),
    )


# ---- closing ----------------------------------------------------------------------------------


def closing_transaction(
    funding: Outpoint, outputs: Sequence[TxOut], *, locktime: int = 0, sequence: int = 0xFFFFFFFF
) -> Transaction:
    """BOLT 3, Classic Closing Transaction; dust outputs are the caller's to drop."""
    ordered = tuple(sorted(outputs, key=lambda out: (out.amount_sat, out.script)))
    return Transaction((TxIn(funding, sequence=sequence),), ordered, locktime=locktime)


def closing_weight(output_scripts: Sequence[bytes]) -> int:
    """Of a signed closing transaction with these outputs."""
    outputs = sum(9 + len(item) for item in output_scripts)
    return 4 * (4 + 1 + 41 + 1 + outputs + 4) + 2 + 222
