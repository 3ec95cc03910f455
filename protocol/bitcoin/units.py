"""Units that bitcoind and people use, turned into ours: satoshi, and satoshi per 1000 weight.

Everything that crosses this border is checked against literal values by its test.
"""

from __future__ import annotations

SAT_PER_BTC = 100_000_000
WEIGHT_PER_VBYTE = 4
# a commitment below this would not be relayed even with its rounding (Bitcoin Core's 1 sat/vB)
MIN_FEERATE_PER_KW = 253
# 1,000 sat/vB: what is above was never a fee that somebody wanted to pay
MAX_FEERATE_PER_KW = 250_000


def sat_of_btc(btc: float) -> int:
    """Bitcoin Core's amounts have eight digits behind the point."""
    return round(btc * SAT_PER_BTC)


def per_kw_of_btc_per_kvb(btc_per_kvb: float) -> int:
    """A feerate of Bitcoin Core, BTC per 1000 virtual bytes, in satoshi per 1000 weight."""
    return sat_of_btc(btc_per_kvb) // WEIGHT_PER_VBYTE


def per_kw_of_sat_per_kvb(sat_per_kvb: int) -> int:
    """Core Lightning's "perkb" in its "perkw"."""
    return sat_per_kvb // WEIGHT_PER_VBYTE


def sat_per_kvb_of_per_kw(per_kw: int) -> int:
    """Core Lightning's "perkw" in its "perkb"."""
    return per_kw * WEIGHT_PER_VBYTE


def bounded_feerate(per_kw: int) -> int:
    """What of an estimate may be used."""
    return min(max(per_kw, MIN_FEERATE_PER_KW), MAX_FEERATE_PER_KW)
