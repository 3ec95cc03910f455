"""The HTLC dance as pure values: what each commitment contains, signing, checking, moving on."""

from __future__ import annotations

from protocol.channel import stages, transactions
from protocol.channel.stages import Move
from protocol.channel.state import Channel, Core, Fee, Htlc
from protocol.channel.transactions import Commitment, Contents, Digests, Keys, Terms
from protocol.crypto import keys, secp
from protocol.crypto.keys import ChannelSecrets
from protocol.errors import PeerFault


def feerate(core: Core, *, ours: bool, we_opened: bool) -> int:
    """The feerate (satoshi per 1000 weight) of our or their newest commitment."""
    of_proposer = ours == we_opened
    rates = [
        fee.feerate_per_kw
        for fee in core.fees
        if fee.stage >= (stages.SIGNED_FOR_PROPOSER if of_proposer else stages.SIGNED_FOR_THEM)
    ]
    return rates[-1]


def newest_feerate(core: Core) -> int:
    """The last proposed one, signed or not."""
    return core.fees[-1].feerate_per_kw


def contents(channel: Channel, *, ours: bool) -> Contents:
    """What our (or their) newest signed commitment says."""
    core = channel.core
    balance = {True: core.ours_msat, False: core.theirs_msat}
    inside = []
    for htlc in channel.htlcs.values():
        of_proposer = htlc.ours == ours
        if stages.in_commitment(htlc.stage, of_proposer=of_proposer):
            balance[htlc.ours] -= htlc.amount_msat
            inside.append(
                transactions.CommittedHtlc(
                    of_proposer, htlc.id, htlc.amount_msat, htlc.payment_hash, htlc.cltv_expiry
                )
            )
        elif htlc.preimage and stages.removed_from(htlc.stage, of_proposer=of_proposer):
            balance[htlc.ours] -= htlc.amount_msat
            balance[not htlc.ours] += htlc.amount_msat
    return Contents(
        number=core.our_number if ours else core.their_number,
        feerate_per_kw=feerate(core, ours=ours, we_opened=channel.setup.we_opened),
        owner_msat=balance[ours],
        other_msat=balance[not ours],
        htlcs=tuple(inside),
    )


def terms(channel: Channel, *, ours: bool) -> Terms:
    """What stays the same over the life of the channel, for our (or their) commitments."""
    setup = channel.setup
    owner, other = (setup.ours, setup.theirs) if ours else (setup.theirs, setup.ours)
    opener, accepter = (setup.ours, setup.theirs) if setup.we_opened else (setup.theirs, setup.ours)
    return Terms(
        funding=setup.funding,
        funding_sat=setup.capacity_sat,
        format=setup.format,
        owner_opened=setup.we_opened == ours,
        dust_limit_sat=owner.dust_limit_sat,
        to_self_delay=other.to_self_delay,
        obscuring=transactions.obscuring_factor(
            opener.basepoints.payment, accepter.basepoints.payment
        ),
    )


def commitment_keys(channel: Channel, point: bytes, *, ours: bool, htlcs: bool = True) -> Keys:
    """`htlcs`: whether those of HTLC outputs are wanted too; else they are left empty."""
    setup = channel.setup
    owner, other = (setup.ours, setup.theirs) if ours else (setup.theirs, setup.ours)
    return Keys(
        revocation=keys.derive_revocation_point(other.basepoints.revocation, point),
        delayed=keys.derive_point(owner.basepoints.delayed_payment, point),
        owner_htlc=keys.derive_point(owner.basepoints.htlc, point) if htlcs else b"",
        other_htlc=keys.derive_point(other.basepoints.htlc, point) if htlcs else b"",
        other_payment=other.basepoints.payment,
        owner_funding=owner.basepoints.funding,
        other_funding=other.basepoints.funding,
    )


def _digests(channel: Channel, point: bytes, *, ours: bool) -> tuple[Commitment, Digests]:
    said = contents(channel, ours=ours)
    derived = commitment_keys(channel, point, ours=ours, htlcs=bool(said.htlcs))
    return transactions.digests(terms(channel, ours=ours), derived, said)


def sign_theirs(
    channel: Channel, point: bytes, secrets: ChannelSecrets
) -> tuple[bytes, tuple[bytes, ...]]:
    """Our signature on their newest commitment, and one for each HTLC output."""
    _, digests = _digests(channel, point, ours=False)
    htlc_key = keys.derive_secret(secrets.htlc, point) if digests.htlcs else b""
    return (
        secp.sign(secrets.funding, digests.commitment),
        tuple(secp.sign(htlc_key, digest) for digest in digests.htlcs),
    )


def check_ours(
    channel: Channel,
    secrets: ChannelSecrets,
    signature: bytes,
    htlc_signatures: tuple[bytes, ...],
) -> None:
    """Their signatures on our newest commitment. Raises `PeerFault` (fatal)."""
    point = secrets.commitment_point(channel.core.our_number)
    _, digests = _digests(channel, point, ours=True)
    basepoints = channel.setup.theirs.basepoints
    # "if signature is not valid for its local commitment transaction OR non-compliant with LOW-S"
    if not secp.verify(basepoints.funding, digests.commitment, signature):
        raise PeerFault("the signature on our commitment is invalid")
    # "if num_htlcs is not equal to the number of HTLC outputs in the local commitment transaction"
    if len(htlc_signatures) != len(digests.htlcs):
        raise PeerFault("commitment_signed has a wrong number of HTLC signatures")
    if not digests.htlcs:
        return
    # "if any htlc_signature is not valid for the corresponding HTLC transaction"
    key = keys.derive_point(basepoints.htlc, point)
    for digest, htlc_signature in zip(digests.htlcs, htlc_signatures, strict=True):
        if not secp.verify(key, digest, htlc_signature):
            raise PeerFault("the signature on an HTLC transaction is invalid")


def advance(channel: Channel, move: Move) -> Channel:
    """The channel after one of the four moves; what is irrevocably removed is settled."""
    changed = dict(channel.htlcs)
    ours_msat, theirs_msat = channel.core.ours_msat, channel.core.theirs_msat
    for key, htlc in channel.htlcs.items():
        stage = stages.TABLE[htlc.ours, move].get(htlc.stage)
        if stage is None:
            continue
        if stage == stages.GONE:
            del changed[key]
            if htlc.preimage:
                amount = htlc.amount_msat if htlc.ours else -htlc.amount_msat
                ours_msat, theirs_msat = ours_msat - amount, theirs_msat + amount
        else:
            keep = htlc.onion if stage <= stages.COMMITTED else b""
            changed[key] = htlc.but(stage=stage, onion=keep)
    core = channel.core.but(
        fees=_advance_fees(channel.core.fees, move, we_opened=channel.setup.we_opened),
        ours_msat=ours_msat,
        theirs_msat=theirs_msat,
    )
    return channel.but(core=core, htlcs=changed)


def _advance_fees(fees: tuple[Fee, ...], move: Move, *, we_opened: bool) -> tuple[Fee, ...]:
    if len(fees) == 1 and fees[0].stage == stages.COMMITTED:
        return fees  # as nearly always
    table = stages.TABLE[we_opened, move]
    moved = [fee.but(stage=min(table.get(fee.stage, fee.stage), stages.COMMITTED)) for fee in fees]
    # of those at one stage only the newest counts: they move together
    moved = [
        fee
        for fee, after in zip(moved, (*moved[1:], None), strict=True)
        if after is None or after.stage != fee.stage
    ]
    settled = [at for at, fee in enumerate(moved) if fee.stage == stages.COMMITTED]
    return tuple(moved[settled[-1] :]) if settled else tuple(moved)


def something_to_sign(channel: Channel) -> bool:
    """Whether a commitment_signed would change their commitment."""
    move = Move.SEND_COMMIT
    return any(htlc.stage in stages.TABLE[htlc.ours, move] for htlc in channel.htlcs.values()) or (
        any(fee.stage in stages.TABLE[channel.setup.we_opened, move] for fee in channel.core.fees)
    )


def something_to_verify(channel: Channel) -> bool:
    """Whether a commitment_signed of theirs would change our commitment."""
    move = Move.RECEIVE_COMMIT
    return any(htlc.stage in stages.TABLE[htlc.ours, move] for htlc in channel.htlcs.values()) or (
        any(fee.stage in stages.TABLE[channel.setup.we_opened, move] for fee in channel.core.fees)
    )


def quiet(channel: Channel) -> bool:
    """No HTLC, no fee underway, no revocation owed: ready for closing negotiation."""
    return (
        not channel.htlcs
        and not channel.core.awaiting_revoke
        and all(fee.stage == stages.COMMITTED for fee in channel.core.fees)
    )


def forget_uncommitted(channel: Channel) -> Channel:
    """BOLT 2, upon disconnection: "MUST reverse any uncommitted updates".

    Ours are reversed too: they are offered again from the monitor's record.
    """
    kept: dict[str, Htlc] = {}
    dropped = {True: 0, False: 0}
    for key, htlc in channel.htlcs.items():
        if htlc.stage == stages.PROPOSED:
            dropped[htlc.ours] += 1
        elif htlc.stage == stages.REMOVING:
            kept[key] = htlc.but(
                stage=stages.COMMITTED, preimage=None, failure=None, malformed=None
            )
        else:
            kept[key] = htlc
    core = channel.core
    fees = tuple(fee for fee in core.fees if fee.stage != stages.PROPOSED)
    same = len(kept) == len(channel.htlcs) and all(kept[k] is channel.htlcs[k] for k in kept)
    if same and fees == core.fees:
        return channel
    return channel.but(
        htlcs=kept,
        core=core.but(
            fees=fees,
            our_next_htlc=core.our_next_htlc - dropped[True],
            their_next_htlc=core.their_next_htlc - dropped[False],
        ),
    )
