"""A commitment that was mined (BOLT 5): whose it is, what its outputs are, and how we take them.

Outputs are known by what they hold: for each HTLC of the channel the script is made again and
looked for. Which outputs of equal HTLCs are whose is decided once: what is `known` stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from protocol.bitcoin import script
from protocol.bitcoin.transaction import Outpoint, Transaction, TxIn, TxOut, sighash
from protocol.channel import commitments, scripts, stages, transactions
from protocol.channel.state import Channel, Htlc
from protocol.channel.transactions import Keys
from protocol.crypto import keys, secp, shachain
from protocol.crypto.hashes import hash160, sha256
from protocol.crypto.keys import ChannelSecrets

FINAL, REPLACEABLE = 0xFFFFFFFF, 0xFFFFFFFD
BALANCE, THEIR_BALANCE = "balance", "their balance"
MAX_DER_BYTES = 72


class FoundOutput(NamedTuple):
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
    outputs: tuple[FoundOutput, ...]


def is_ours(channel: Channel, secrets: ChannelSecrets, tx: Transaction) -> bool:
    """Whether it is our newest commitment: to be asked before anything of the channel changes."""
    point = secrets.commitment_point(channel.core.our_number)
    derived = commitments.commitment_keys(channel, point, ours=True)
    contents = commitments.contents(channel, ours=True)
    built = transactions.build_commitment(commitments.terms(channel, ours=True), derived, contents)
    return built.tx.txid == tx.txid


def read(
    channel: Channel,
    secrets: ChannelSecrets,
    tx: Transaction,
    *,
    ours: bool,
    known: Mapping[int, str],
) -> Mined:
    """What the commitment that spent the funding output means, as far as it can be told. `known`:
    outputs, and what they are, as it was found before."""
    which = number(channel, tx)
    if ours:
        assert which is not None
        own_point = secrets.commitment_point(which)
        derived = commitments.commitment_keys(channel, own_point, ours=True)
        order = _order(channel, ours=True, newest=True)
        return Mined(True, own_point, None, tuple(_htlcs(channel, derived, tx, order, known)))
    point, revoked = _their_point(channel, which)
    if point is None:
        # our balance needs no point (option_static_remotekey)
        some_point = secrets.commitment_point(0)
        free = commitments.commitment_keys(channel, some_point, ours=False)
        return Mined(False, None, None, tuple(_balance(channel, free, tx)))
    theirs = commitments.commitment_keys(channel, point, ours=False)
    order = _order(channel, ours=False, newest=which == channel.core.their_number)
    found = [*_htlcs(channel, theirs, tx, order, known), *_balance(channel, theirs, tx)]
    if revoked is not None:
        found += _their_balance(channel, theirs, tx)
    return Mined(False, point, revoked, tuple(found))


def number(channel: Channel, tx: Transaction) -> int | None:
    """The commitment's number, from the bits in which BOLT 3 hides it; None for what is none."""
    (spent,) = tx.inputs[:1]
    if spent.sequence >> 24 != 0x80 or tx.locktime >> 24 != 0x20:
        return None
    hidden = (spent.sequence & 0xFFFFFF) << 24 | tx.locktime & 0xFFFFFF
    return hidden ^ commitments.terms(channel, ours=False).obscuring


def _their_point(channel: Channel, which: int | None) -> tuple[bytes | None, bytes | None]:
    core = channel.core
    if which is None or which > core.their_revoked + 1:
        return None, None
    if which == core.their_revoked + 1:
        return core.their_next_point, None
    if which == core.their_revoked:
        return core.their_point, None
    secret = shachain.lookup(channel.secrets, shachain.FIRST_INDEX - which)
    return (secp.public_key(secret), secret) if secret is not None else (None, None)


def _order(
    channel: Channel, *, ours: bool, newest: bool
) -> list[tuple[Htlc, transactions.CommittedHtlc]]:
    """All HTLCs, those first that our rows say are in this commitment: of equal ones the one that
    was removed already, or is not there yet, may have no output.

    While a revoke_and_ack of theirs is awaited they have two commitments: what the last
    commitment_signed has moved is as it was before in the older one.
    """

    def absent(htlc: Htlc) -> bool:
        inside = stages.in_commitment(htlc.stage, of_proposer=htlc.ours == ours)
        moved = stages.TABLE[htlc.ours, stages.Move.SEND_COMMIT].values()
        return inside == (not newest and htlc.stage in moved)

    found = sorted(channel.htlcs.values(), key=lambda htlc: (absent(htlc), htlc.ours, htlc.id))
    return [
        (
            htlc,
            transactions.CommittedHtlc(
                htlc.ours == ours, htlc.id, htlc.amount_msat, htlc.payment_hash, htlc.cltv_expiry
            ),
        )
        for htlc in found
    ]


def _htlcs(
    channel: Channel,
    derived: Keys,
    tx: Transaction,
    order: list[tuple[Htlc, transactions.CommittedHtlc]],
    known: Mapping[int, str],
) -> list[FoundOutput]:
    places = {what: vout for vout, what in known.items()}
    free = [(vout, out) for vout, out in enumerate(tx.outputs) if vout not in known]
    found = []
    for htlc, seen in order:
        form = transactions.htlc_script(seen, derived, channel.setup.format)
        wanted = TxOut(htlc.amount_msat // 1000, script.p2wsh(form))
        if htlc.key in places:
            found.append(FoundOutput(places[htlc.key], wanted.amount_sat, form, htlc.key))
            continue
        at = next((n for n, (_, out) in enumerate(free) if out == wanted), None)
        if at is not None:
            found.append(FoundOutput(free.pop(at)[0], wanted.amount_sat, form, htlc.key))
    return found


def _balance(channel: Channel, derived: Keys, tx: Transaction) -> list[FoundOutput]:
    """to_remote of their commitment is ours."""
    wanted, form = channel.setup.format.to_remote(derived.other_payment)
    return _paying(tx, wanted, form, BALANCE)


def _their_balance(channel: Channel, derived: Keys, tx: Transaction) -> list[FoundOutput]:
    delay = commitments.terms(channel, ours=False).to_self_delay
    form = scripts.to_local(derived.revocation, derived.delayed, delay)
    return _paying(tx, script.p2wsh(form), form, THEIR_BALANCE)


def _paying(tx: Transaction, wanted: bytes, form: bytes, what: str) -> list[FoundOutput]:
    return [
        FoundOutput(vout, out.amount_sat, form, what)
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
    channel: Channel,
    secrets: ChannelSecrets,
    mined: Mined,
    found: FoundOutput,
    preimage: bytes | None,
) -> Spend | None:
    """How we may take an output of *their* commitment; None when it is not ours (to take yet).

    An HTLC that they offered needs its preimage; one that we offered is ours from its expiry on
    (the spend's locktime).
    """
    late = channel.setup.format.lock or REPLACEABLE  # "1 OP_CHECKSEQUENCEVERIFY"
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
    txid: bytes, found: FoundOutput, spend: Spend, to: bytes, feerate_per_kw: int
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


def _witness(found: FoundOutput, spend: Spend, der: bytes) -> tuple[bytes, ...]:
    tail = (found.script,) if found.script else ()
    return (der + b"\x01", *spend.unlock, *tail)


def preimages_in(tx: Transaction, outpoint: Outpoint) -> dict[bytes, bytes]:
    """What a spend of an output gives away, if it is a claim: by payment hash, 32 bytes each."""
    shown = [item.witness for item in tx.inputs if item.outpoint == outpoint]
    return {sha256(one): one for witness in shown for one in witness if len(one) == 32}
