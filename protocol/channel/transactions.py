"""BOLT 3: commitment, HTLC and closing transactions, and their fees.

Written from the side of the commitment's *owner*: the node that may broadcast it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from protocol.bitcoin import script
from protocol.bitcoin.transaction import (
    Outpoint,
    Transaction,
    TxIn,
    TxOut,
    sighash,
)
from protocol.channel import scripts
from protocol.channel.formats import Format
from protocol.crypto import secp
from protocol.crypto.hashes import sha256


class CommittedHtlc(NamedTuple):
    """An HTLC as one commitment sees it; `offered` by the commitment's owner."""

    offered: bool
    id: int
    amount_msat: int
    payment_hash: bytes
    cltv_expiry: int


def amount_msat(htlcs: Iterable[CommittedHtlc]) -> int:
    """Of all together."""
    return sum(htlc.amount_msat for htlc in htlcs)


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
    format: Format
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


def is_trimmed(htlc: CommittedHtlc, feerate_per_kw: int, dust_limit_sat: int, form: Format) -> bool:
    """BOLT 3, Trimmed Outputs: no output, its amount goes to the fee."""
    return htlc.amount_msat < _least_msat(feerate_per_kw, dust_limit_sat, form, htlc.offered)


def _least_msat(feerate_per_kw: int, dust_limit_sat: int, form: Format, offered: bool) -> int:
    return (dust_limit_sat + form.htlc_fee_sat(feerate_per_kw, offered=offered)) * 1000


def untrimmed(
    htlcs: Iterable[CommittedHtlc], feerate_per_kw: int, dust_limit_sat: int, form: Format
) -> list[CommittedHtlc]:
    """Those that have an output in a commitment of this feerate."""
    offered, received = (
        _least_msat(feerate_per_kw, dust_limit_sat, form, offered) for offered in (True, False)
    )
    return [htlc for htlc in htlcs if htlc.amount_msat >= (offered if htlc.offered else received)]


def htlc_script(htlc: CommittedHtlc, keys: Keys, form: Format) -> bytes:
    """The witness script of an HTLC's output."""
    trio = (keys.revocation, keys.owner_htlc, keys.other_htlc)
    if htlc.offered:
        return scripts.offered_htlc(trio, htlc.payment_hash, form.htlc_end)
    return scripts.received_htlc(trio, htlc.payment_hash, htlc.cltv_expiry, form.htlc_end)


def _balances(
    terms: Terms, feerate_per_kw: int, untrimmed: int, owner_msat: int, other_msat: int
) -> tuple[int, int]:
    """Satoshi of to_local and to_remote after the opener has paid fee and anchors."""
    cost = terms.format.opener_cost_sat(feerate_per_kw, untrimmed)
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
    rate, form = contents.feerate_per_kw, terms.format
    kept = [
        (htlc, htlc_script(htlc, keys, form))
        for htlc in untrimmed(contents.htlcs, rate, terms.dust_limit_sat, form)
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
        outputs.append((TxOut(other_sat, form.to_remote(keys.other_payment)[0]), None))
    if form.anchor_sat:
        if owner_sat >= terms.dust_limit_sat or kept:
            outputs.append((_anchor(keys.owner_funding, form), None))
        if other_sat >= terms.dust_limit_sat or kept:
            outputs.append((_anchor(keys.other_funding, form), None))
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


def _anchor(funding_key: bytes, form: Format) -> TxOut:
    return TxOut(form.anchor_sat, script.p2wsh(scripts.anchor(funding_key)))


def htlc_transaction(
    terms: Terms, commitment: Commitment, txid: bytes, placed: Placed, feerate_per_kw: int
) -> Transaction:
    """HTLC-timeout for an offered HTLC, HTLC-success for a received one; unsigned."""
    htlc = placed.htlc
    fee = terms.format.htlc_fee_sat(feerate_per_kw, offered=htlc.offered)
    return Transaction(
        (TxIn(Outpoint(txid, placed.output), sequence=terms.format.lock),),
        (TxOut(htlc.amount_msat // 1000 - fee, commitment.delayed),),
        locktime=htlc.cltv_expiry if htlc.offered else 0,
    )


class Digests(NamedTuple):
    """What the other side signs: the commitment, then each HTLC transaction in output order."""

    commitment: bytes
    htlcs: tuple[bytes, ...]


def digests(terms: Terms, keys: Keys, contents: Contents) -> tuple[Commitment, Digests]:
    """The commitment, and the digests of a commitment_signed for it."""
    built = build_commitment(terms, keys, contents)
    funding_script = scripts.funding(keys.owner_funding, keys.other_funding)
    kind = terms.format.htlc_sighash  # how the *other* side signs an HTLC transaction
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
