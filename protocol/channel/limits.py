"""May this HTLC or this feerate be added? Reserve, fees, dust, counts (BOLT 2, update_add_htlc)."""

from __future__ import annotations

from protocol.bitcoin.units import MAX_FEERATE_PER_KW
from protocol.channel import commitments, stages, transactions
from protocol.channel.stages import Move
from protocol.channel.state import Channel, Htlc
from protocol.channel.transactions import amount_msat
from protocol.errors import PeerFault

MAX_DUST_EXPOSURE_MSAT = 50_000_000
MIN_FEERATE_PER_KW = 250
MAX_CLTV = 500_000_000


def after_both_sign(channel: Channel, *, ours: bool) -> transactions.Contents:
    """A commitment as it will be when all that is proposed has been signed."""
    move = Move.RECEIVE_COMMIT if ours else Move.SEND_COMMIT
    # what they have not acknowledged yet counts as well: take every add, drop no removal
    ahead = {
        key: htlc.but(stage=stages.SIGNED_FOR_PROPOSER)
        if htlc.stage < stages.SIGNED_FOR_PROPOSER
        else htlc
        for key, htlc in channel.htlcs.items()
    }
    return commitments.contents(commitments.advance(channel.but(htlcs=ahead), move), ours=ours)


def opener_cost_sat(channel: Channel, feerate: int, untrimmed: int) -> int:
    """Fee and anchors of a commitment with so many HTLC outputs."""
    return channel.setup.format.opener_cost_sat(feerate, untrimmed)


def _untrimmed(channel: Channel, seen: transactions.Contents, feerate: int, *, ours: bool) -> int:
    dust = (channel.setup.ours if ours else channel.setup.theirs).dust_limit_sat
    return len(transactions.untrimmed(seen.htlcs, feerate, dust, channel.setup.format))


def dust_exposure_msat(channel: Channel, feerate: int, *, ours: bool) -> int:
    """The sum of HTLCs without an output in our (or their) commitment, at a feerate."""
    seen = after_both_sign(channel, ours=ours)
    dust = (channel.setup.ours if ours else channel.setup.theirs).dust_limit_sat
    large = transactions.untrimmed(seen.htlcs, feerate, dust, channel.setup.format)
    return amount_msat(seen.htlcs) - amount_msat(large)


def overflows_dust(channel: Channel, added: Htlc) -> bool:
    """Whether an HTLC of theirs (in the channel already) has no output in a commitment whose dust
    is above the limit with it: it is failed as soon as it is committed, and never relayed or
    claimed (BOLT 2, "Bounding exposure to trimmed in-flight HTLCs")."""
    if sum(htlc.amount_msat for htlc in channel.htlcs.values()) <= MAX_DUST_EXPOSURE_MSAT:
        return False
    rate, form = commitments.newest_feerate(channel.core), channel.setup.format
    for ours in (True, False):
        dust = (channel.setup.ours if ours else channel.setup.theirs).dust_limit_sat
        seen = transactions.CommittedHtlc(not ours, added.id, added.amount_msat, b"", 0)
        small = transactions.is_trimmed(seen, rate, dust, form)
        if small and dust_exposure_msat(channel, rate, ours=ours) > MAX_DUST_EXPOSURE_MSAT:
            return True
    return False


def _pending(channel: Channel, *, ours: bool) -> list[Htlc]:
    return [htlc for htlc in channel.htlcs.values() if htlc.ours == ours]


def check_received(channel: Channel, added: Htlc) -> None:
    """On update_add_htlc, with the HTLC not yet in the channel. Raises `PeerFault`."""
    ours = channel.setup.ours
    # "receiving an amount_msat equal to 0, OR less than its own htlc_minimum_msat"
    if added.amount_msat == 0:
        raise PeerFault("update_add_htlc with an amount of zero", fatal=False)
    if added.amount_msat < ours.htlc_minimum_msat:
        raise PeerFault("update_add_htlc below our htlc_minimum_msat", fatal=False)
    # "if sending node sets cltv_expiry to greater or equal to 500000000"
    if added.cltv_expiry >= MAX_CLTV:
        raise PeerFault("update_add_htlc with a cltv_expiry that is no block height")
    # "if a sending node adds more than receiver max_accepted_htlcs HTLCs ..., OR adds more than
    # receiver max_htlc_value_in_flight_msat worth of offered HTLCs"
    pending = [
        htlc for htlc in _pending(channel, ours=False) if htlc.stage < stages.REVOKED_PROPOSER
    ]
    if len(pending) >= ours.max_accepted_htlcs:
        raise PeerFault("update_add_htlc above our max_accepted_htlcs")
    in_flight = sum(htlc.amount_msat for htlc in pending) + added.amount_msat
    if in_flight > ours.max_htlc_value_in_flight_msat:
        raise PeerFault("update_add_htlc above our max_htlc_value_in_flight_msat")
    # "receiving an amount_msat that the sending node cannot afford at the current feerate_per_kw"
    after = channel.with_htlc(added)
    if not _has_plenty(after, ours=False) and _affordable_msat(after) < 0:
        raise PeerFault("update_add_htlc that the sender cannot afford at the current feerate")
    # "SHOULD NOT offer amount_msat if, once the remote node adds that HTLC to its commitment
    # transaction, it cannot pay the fee": our commitment would not be mined when it has to be
    pays = channel.setup.we_opened and not _has_plenty(after, ours=True)
    if pays and _own_fee_left_msat(after) < 0:
        text = "update_add_htlc of which we, the opener, could not pay the commitment fee"
        raise PeerFault(text, fatal=False)


def _has_plenty(channel: Channel, *, ours: bool) -> bool:
    """Whether one side could bear that all its HTLCs leave, none of the other's comes in, and each
    has an output at the highest feerate. Then nobody needs to build a commitment to look closer."""
    setup, core = channel.setup, channel.core
    leaves = sum(htlc.amount_msat for htlc in channel.htlcs.values() if htlc.ours == ours)
    least = (setup.theirs if ours else setup.ours).channel_reserve_sat
    if setup.we_opened == ours:
        rate = max(fee.feerate_per_kw for fee in core.fees)
        least += opener_cost_sat(channel, rate, len(channel.htlcs))
    return (core.ours_msat if ours else core.theirs_msat) - leaves >= least * 1000


def _they_sign_next(channel: Channel) -> transactions.Contents:
    """Our next commitment: what we offered and they have not acknowledged cannot be in it."""
    known = {
        key: htlc
        for key, htlc in channel.htlcs.items()
        if not htlc.ours or htlc.stage >= stages.REVOKED_BY_THEM
    }
    return after_both_sign(channel.but(htlcs=known), ours=True)


def _own_fee_left_msat(channel: Channel) -> int:
    """What we, the opener, have left in our commitment above its fee. A feerate that they may not
    have heard of yet is not held against them."""
    seen = _they_sign_next(channel)
    rate = min(fee.feerate_per_kw for fee in channel.core.fees)
    count = _untrimmed(channel, seen, rate, ours=True)
    return seen.owner_msat - opener_cost_sat(channel, rate, count) * 1000


def _affordable_msat(channel: Channel) -> int:
    """What they have left in our commitment above reserve and fees."""
    seen = _they_sign_next(channel)
    left = seen.other_msat - channel.setup.ours.channel_reserve_sat * 1000
    if not channel.setup.we_opened:
        rate = commitments.newest_feerate(channel.core)
        count = _untrimmed(channel, seen, rate, ours=True)
        left -= opener_cost_sat(channel, rate, count) * 1000
    return left


def check_fee(channel: Channel, feerate: int) -> None:
    """On update_fee from the opener, before it is in the channel. Raises `PeerFault`."""
    # "The node not responsible for paying the Bitcoin fee: MUST NOT send update_fee"
    if channel.setup.we_opened:
        raise PeerFault("update_fee from the side that does not pay the fee")
    # "if the update_fee is too low for timely processing, OR is unreasonably large"
    if not MIN_FEERATE_PER_KW <= feerate <= MAX_FEERATE_PER_KW:
        raise PeerFault("update_fee with a feerate out of all bounds")
    # "if option_anchors was not negotiated: if the update_fee increases feerate_per_kw: if the dust
    # balance ... is greater than max_dust_htlc_exposure_msat: MAY fail the channel"
    rising = feerate > commitments.newest_feerate(channel.core)
    for ours in (True, False) if rising and channel.setup.format.timeout_weight else ():
        if dust_exposure_msat(channel, feerate, ours=ours) > MAX_DUST_EXPOSURE_MSAT:
            raise PeerFault("update_fee would expose us to too many dust HTLCs")


def check_fee_is_paid(channel: Channel, *, new_fee: bool) -> None:
    """On a commitment_signed that takes up an update_fee: "if the sender cannot afford the new fee
    rate", which "MAY delay this check until the update_fee is committed". Raises `PeerFault`."""
    if channel.setup.we_opened or not new_fee:
        return
    seen = commitments.contents(channel, ours=True)
    rate = seen.feerate_per_kw
    cost = opener_cost_sat(channel, rate, _untrimmed(channel, seen, rate, ours=True))
    if seen.other_msat < cost * 1000:
        raise PeerFault("the opener cannot afford the commitment fee")


def may_raise_fee(channel: Channel, feerate: int) -> bool:
    """Whether we, the opener, could pay this feerate on both commitments."""
    setup = channel.setup
    for ours in (True, False):
        seen = after_both_sign(channel, ours=ours)
        balance = seen.owner_msat if ours else seen.other_msat
        count = _untrimmed(channel, seen, feerate, ours=ours)
        if (
            balance
            < (opener_cost_sat(channel, feerate, count) + setup.theirs.channel_reserve_sat) * 1000
        ):
            return False
    return True
