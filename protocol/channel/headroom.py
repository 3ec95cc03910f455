"""How much room a channel has for HTLCs of ours: looked at once, then counted down.

Both commitments are taken as they will be when all that is proposed has been signed. A batch of
offers is admitted in time that grows with the batch, not with its square.
"""

from __future__ import annotations

from protocol.channel import commitments, limits, transactions
from protocol.channel.formats import Format
from protocol.channel.state import Channel, Htlc
from protocol.channel.transactions import amount_msat
from protocol.errors import Refusal

# an opener keeps room for a doubled feerate (BOLT 2: "fee spike buffer")
FEE_SPIKE = 2


class _Side:
    """One commitment, ours or theirs: balances before fees, HTLC outputs, dust."""

    __slots__ = ("ours", "ours_msat", "theirs_msat", "untrimmed", "dust_msat", "dust_limit_sat")

    def __init__(self, channel: Channel, rate: int, *, ours: bool) -> None:
        seen = limits.after_both_sign(channel, ours=ours)
        self.ours = ours
        self.ours_msat = seen.owner_msat if ours else seen.other_msat
        self.theirs_msat = seen.other_msat if ours else seen.owner_msat
        party = channel.setup.ours if ours else channel.setup.theirs
        self.dust_limit_sat = party.dust_limit_sat
        form = channel.setup.format
        large = transactions.untrimmed(seen.htlcs, rate, party.dust_limit_sat, form)
        self.untrimmed = len(large)
        self.dust_msat = amount_msat(seen.htlcs) - amount_msat(large)

    def would_trim(self, offered: Htlc, rate: int, form: Format) -> bool:
        seen = transactions.CommittedHtlc(self.ours, offered.id, offered.amount_msat, b"", 0)
        return transactions.is_trimmed(seen, rate, self.dust_limit_sat, form)


class Headroom:
    """The room of one turn. `admit` takes some of it."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.rate = commitments.newest_feerate(channel.core)
        self.sides = [_Side(channel, self.rate, ours=ours) for ours in (True, False)]
        self.pending = {True: 0, False: 0}
        self.in_flight_msat = {True: 0, False: 0}
        for htlc in channel.htlcs.values():
            self.pending[htlc.ours] += 1
            self.in_flight_msat[htlc.ours] += htlc.amount_msat

    def _headroom_msat(self, *, of_us: bool, spike: int, more: tuple[int, int]) -> int:
        """Above the reserve and, for the opener, the fees; `more` HTLC outputs on each side."""
        setup = self.channel.setup
        reserve = (setup.theirs if of_us else setup.ours).channel_reserve_sat * 1000
        left = []
        for side, extra in zip(self.sides, more, strict=True):
            balance = side.ours_msat if of_us else side.theirs_msat
            if setup.we_opened == of_us:
                cost = limits.opener_cost_sat(
                    self.channel, self.rate * spike, side.untrimmed + extra
                )
                balance -= cost * 1000
            left.append(balance)
        return min(left) - reserve

    @property
    def spendable_msat(self) -> int:
        """The most that one more HTLC of ours may carry."""
        room = self._headroom_msat(of_us=True, spike=FEE_SPIKE, more=(1, 1))
        most = self.channel.setup.theirs.max_htlc_value_in_flight_msat
        return max(0, min(room, most - self.in_flight_msat[True]))

    @property
    def receivable_msat(self) -> int:
        """The most that one more HTLC of theirs may carry."""
        room = self._headroom_msat(of_us=False, spike=1, more=(1, 1))
        most = self.channel.setup.ours.max_htlc_value_in_flight_msat
        return max(0, min(room, most - self.in_flight_msat[False]))

    def admit(self, offered: Htlc) -> None:
        """Before update_add_htlc is sent. Raises `Refusal` with the reason."""
        theirs = self.channel.setup.theirs
        if not self.channel.core.usable:
            closing = self.channel.core.our_shutdown or self.channel.core.their_shutdown
            text = "the channel is closing" if closing else "the channel is not usable now"
            raise Refusal(text, final=bool(closing))
        if offered.amount_msat < max(1, theirs.htlc_minimum_msat):
            raise Refusal("the amount is below the peer's minimum", final=True)
        if offered.cltv_expiry >= limits.MAX_CLTV:
            raise Refusal("the expiry is not a block height")
        if self.pending[True] >= min(theirs.max_accepted_htlcs, 483):
            raise Refusal("too many HTLCs are in flight on the channel")
        in_flight = self.in_flight_msat[True] + offered.amount_msat
        if in_flight > theirs.max_htlc_value_in_flight_msat:
            never = offered.amount_msat > theirs.max_htlc_value_in_flight_msat
            text = "the amount is more than the channel carries at once"
            raise Refusal(text, final=never)
        self._take(offered)

    def _take(self, offered: Htlc) -> None:
        form = self.channel.setup.format
        trims = [side.would_trim(offered, self.rate, form) for side in self.sides]
        more = (0 if trims[0] else 1, 0 if trims[1] else 1)
        amount = offered.amount_msat
        if self._headroom_msat(of_us=True, spike=FEE_SPIKE, more=more) < amount:
            raise Refusal("the channel has not enough funds on our side")
        their_fee = not self.channel.setup.we_opened
        if their_fee and self._headroom_msat(of_us=False, spike=1, more=more) < 0:
            raise Refusal("the peer could not pay the commitment fee of one more HTLC")
        for side, trim in zip(self.sides, trims, strict=True):
            if trim and side.dust_msat + amount > limits.MAX_DUST_EXPOSURE_MSAT:
                raise Refusal("too many small HTLCs are in flight on the channel")
        for side, trim in zip(self.sides, trims, strict=True):
            side.ours_msat -= amount
            side.untrimmed += not trim
            side.dust_msat += amount if trim else 0
        self.pending[True] += 1
        self.in_flight_msat[True] += amount
