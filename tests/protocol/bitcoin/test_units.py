"""Every conversion of units, against literal values that were worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocol.api import params
from protocol.bitcoin import units

CONVERSIONS: list[tuple[Callable[..., Any], Any, Any]] = [
    (units.sat_of_btc, 1, 100_000_000),
    (units.sat_of_btc, 0.00000001, 1),
    (units.sat_of_btc, 0.1, 10_000_000),
    (units.sat_of_btc, 20_999_999.9769, 2_099_999_997_690_000),
    # 1 sat/vB is 1,000 sat/kvB, and a virtual byte is four units of weight
    (units.per_kw_of_btc_per_kvb, 0.00001, 250),
    (units.per_kw_of_btc_per_kvb, 0.0002, 5_000),
    (units.per_kw_of_btc_per_kvb, 0.002, 50_000),
    (units.per_kw_of_sat_per_kvb, 4_000, 1_000),
    (units.sat_per_kvb_of_per_kw, 253, 1_012),
    (units.bounded_feerate, 0, 253),
    (units.bounded_feerate, 5_000, 5_000),
    (units.bounded_feerate, 24_750_000, 250_000),
    (params.feerate, 4_000, 1_000),
    (params.feerate, "4000", 1_000),
    (params.feerate, "4000perkb", 1_000),
    (params.feerate, "5000perkw", 5_000),
    (params.msat, "1btc", 100_000_000_000),
    (params.msat, "0.00000000001btc", 1),
    (params.msat, "1.5sat", 1_500),
    (params.msat, "17msat", 17),
    (params.msat, 17, 17),
    (params.sat, 17, 17),
    (params.sat, "17", 17),
    (params.sat, "17sat", 17),
    (params.sat, "17000msat", 17),
]


@pytest.mark.parametrize(("convert", "given", "expected"), CONVERSIONS)
def test_a_unit_becomes_another(convert: Callable[..., Any], given: Any, expected: Any) -> None:
    assert convert(given) == expected
