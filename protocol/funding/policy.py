"""What we ask of whoever opens a channel with us, and of whomever we open one with."""

from __future__ import annotations

from protocol.values import Value

DUST_LIMIT_SAT = 354
LARGE_SAT = 1 << 24


class OpeningPolicy(Value, frozen=True, kw_only=True):
    """What we ask of every peer; delays and depths in blocks.

    `large_depth` is for channels that need option_support_large_channel. `zeroconf_peers`: the node
    ids that the operator trusts with channels that are not confirmed.
    """

    to_self_delay: int = 144
    max_accepted_htlcs: int = 483
    htlc_minimum_msat: int = 1
    minimum_depth: int = 1
    large_depth: int = 6
    reserve_percent: int = 1
    zeroconf_peers: frozenset[bytes] = frozenset()

    def depth_for(self, amount_sat: int) -> int:
        """Confirmations that a channel of this amount needs."""
        return self.minimum_depth if amount_sat < LARGE_SAT else self.large_depth
