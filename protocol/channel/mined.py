"""A commitment that was mined (BOLT 5): whose it is, what its outputs are, and how we take them.

Outputs are known by what they hold: for each HTLC of the channel the script is made again and
looked for. So it does not matter which of the peer's commitments it is, its newest or the one
before, nor what had been signed and not revoked at that moment.
"""

from __future__ import annotations

from typing import NamedTuple

from protocol.bitcoin import script
from protocol.bitcoin.transaction import Outpoint, Transaction, TxIn, TxOut, sighash
from protocol.channel import commitments, scripts, transactions
from protocol.channel.state import Channel, Htlc
from protocol.channel.transactions import Keys
from protocol.crypto import keys, secp, shachain
from protocol.crypto.hashes import hash160, sha256
from protocol.crypto.keys import ChannelSecrets

FINAL, REPLACEABLE = 0xFFFFFFFF, 0xFFFFFFFD
BALANCE, THEIR_BALANCE = "balance", "their balance"
MAX_DER_BYTES = 72


class Found(NamedTuple):
    """An output that means something to us: an HTLC (by `Htlc.key`), our balance, or, in a revoked
    commitment, theirs. `script` is its witness script, empty for a key hash."""

    vout: int
    amount_sat: int
    script: bytes
    what: str


class Mined(NamedTuple):
    """`point` is the commitment's; None when it is a commitment that we do not know (yet).
    `revoked`: the secret (32 bytes) that lets us take all of it."""

    ours: bool
    point: bytes | None
    revoked: bytes | None
    outputs: tuple[Found, ...]


def read(channel: Channel, secrets: ChannelSecrets, tx: Transaction) -> Mined:
    """What the transaction that spent the funding output means, as far as it can be told."""
    own_point = secrets.commitment_point(channel.core.our_number)
    ours = commitments.commitment_keys(channel, own_point, ours=True)
    built = transactions.build_commitment(
        commitments.terms(channel, ours=True), ours, commitments.contents(channel, ours=True)
    )
    if built.tx.txid == tx.txid:
        return Mined(True, own_point, None, tuple(_htlcs(channel, ours, tx, ours=True)))
    point, revoked = _their_point(channel, tx)
    if point is None:
        # our balance needs no point (option_static_remotekey)
        point_free = commitments.commitment_keys(channel, own_point, ours=False)
        return Mined(False, None, None, tuple(_balance(channel, point_free, tx)))
    theirs = commitments.commitment_keys(channel, point, ours=False)
    found = [*_htlcs(channel, theirs, tx, ours=False), *_balance(channel, theirs, tx)]
    if revoked is not None:
        found += _their_balance(channel, theirs, tx)
    return Mined(False, point, revoked, tuple(found))


def number(channel: Channel, tx: Transaction) -> int | None:
    """The commitment's number, from the bits in which BOLT 3 hides it."""
    (spent,) = tx.inputs[:1]
    if spent.sequence >> 24 != 0x80 or tx.locktime >> 24 != 0x20:
        return None
    hidden = (spent.sequence & 0xFFFFFF) << 24 | tx.locktime & 0xFFFFFF
    return hidden ^ commitments.terms(channel, ours=False).obscuring


def _their_point(channel: Channel, tx: Transaction) -> tuple[bytes | None, bytes | None]:
    core, which = channel.core, number(channel, tx)
    if which is None or which > core.their_revoked + 1:
        return None, None
    if which == core.their_revoked + 1:
        return core.their_next_point, None
    if which == core.their_revoked:
        return core.their_point, None
    secret = shachain.lookup(channel.secrets, shachain.FIRST_INDEX - which)
    return (secp.public_key(secret), secret) if secret is not None else (None, None)


def _htlcs(channel: Channel, held: Keys, tx: Transaction, *, ours: bool) -> list[Found]:
    """HTLCs with the same script and amount are taken in the order of their ids."""
    anchors, left = channel.setup.anchors, list(enumerate(tx.outputs))
    found = []
    for htlc in sorted(channel.htlcs.values(), key=lambda htlc: (htlc.ours, htlc.id)):
        seen = transactions.Htlc(
            htlc.ours == ours, htlc.id, htlc.amount_msat, htlc.payment_hash, htlc.cltv_expiry
        )
        form = transactions.htlc_script(seen, held, anchors=anchors)
        wanted = TxOut(htlc.amount_msat // 1000, script.p2wsh(form))
        place = next((n for n, (_, out) in enumerate(left) if out == wanted), None)
        if place is not None:
            vout, out = left.pop(place)
            found.append(Found(vout, out.amount_sat, form, htlc.key))
    return found


def _balance(channel: Channel, held: Keys, tx: Transaction) -> list[Found]:
    """to_remote of their commitment is ours."""
    anchors = channel.setup.anchors
    form = scripts.to_remote_anchors(held.other_payment) if anchors else b""
    return _paying(tx, transactions.to_remote_script(held, anchors=anchors), form, BALANCE)


def _their_balance(channel: Channel, held: Keys, tx: Transaction) -> list[Found]:
    delay = commitments.terms(channel, ours=False).to_self_delay
    form = scripts.to_local(held.revocation, held.delayed, delay)
    return _paying(tx, script.p2wsh(form), form, THEIR_BALANCE)


def _paying(tx: Transaction, wanted: bytes, form: bytes, what: str) -> list[Found]:
    return [
        Found(vout, out.amount_sat, form, what)
        for vout, out in enumerate(tx.outputs)
        if out.script == wanted
    ]


# ---- taking ------------------------------------------------------------------------------------


class Spend(NamedTuple):
    """How one output is spent: `unlock` stands between the signature and the script."""

    secret: bytes
    unlock: tuple[bytes, ...]
    sequence: int
    locktime: int = 0


def our_way(
    channel: Channel, secrets: ChannelSecrets, mined: Mined, found: Found, preimage: bytes | None
) -> Spend | None:
    """How we may take an output of *their* commitment; None when it is not ours (to take yet).

    An HTLC that they offered needs its preimage; one that we offered is ours from its expiry on
    (the spend's locktime).
    """
    late = 1 if channel.setup.anchors else REPLACEABLE  # "1 OP_CHECKSEQUENCEVERIFY"
    if found.what == BALANCE:
        unlock = () if found.script else (secp.public_key(secrets.payment),)
        return Spend(secrets.payment, unlock, late)
    assert mined.point is not None
    if mined.revoked is not None:
        secret = keys.derive_revocation_secret(secrets.revocation, mined.revoked)
        proof = b"\x01" if found.what == THEIR_BALANCE else secp.public_key(secret)
        return Spend(secret, (proof,), late)
    htlc = channel.htlcs[found.what]
    secret = keys.derive_secret(secrets.htlc, mined.point)
    if htlc.ours:
        return Spend(secret, (b"",), late, htlc.cltv_expiry)
    return Spend(secret, (preimage,), late) if preimage is not None else None


def take(
    txid: bytes, found: Found, spend: Spend, to: bytes, feerate_per_kw: int
) -> Transaction | None:
    """The signed transaction that brings an output to our wallet (`to`, an output script); None
    when it would be eaten up by its fee."""
    bare = Transaction(
        (TxIn(Outpoint(txid, found.vout), sequence=spend.sequence),),
        (TxOut(found.amount_sat, to),),
        locktime=spend.locktime,
    )
    largest = bare.with_witness(0, _witness(found, spend, bytes(MAX_DER_BYTES)))
    left = found.amount_sat - feerate_per_kw * largest.weight // 1000 - 1
    if left < script.dust_limit_sat(to):
        return None
    tx = bare._replace(outputs=(TxOut(left, to),))
    code = found.script or b"\x76\xa9\x14" + hash160(spend.unlock[0]) + b"\x88\xac"
    digest = sighash(tx, 0, code, found.amount_sat)
    der = secp.to_der(secp.sign(spend.secret, digest))
    return tx.with_witness(0, _witness(found, spend, der))


def _witness(found: Found, spend: Spend, der: bytes) -> tuple[bytes, ...]:
    tail = (found.script,) if found.script else ()
    return (der + b"\x01", *spend.unlock, *tail)


def preimage_in(tx: Transaction, outpoint: Outpoint, htlc: Htlc) -> bytes | None:
    """What a spend of an HTLC's output gives away: the preimage, if it was claimed."""
    for spent in tx.inputs:
        if spent.outpoint == outpoint:
            for element in spent.witness:
                if len(element) == 32 and sha256(element) == htlc.payment_hash:
                    return element
    return None
