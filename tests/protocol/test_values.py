"""Records that become others."""

from __future__ import annotations

import pytest

from protocol.values import Value


class Said(Value, frozen=True, kw_only=True):
    number: int
    height: int
    aside: str = ""


class Kept(Value, frozen=True, kw_only=True):
    number: int
    height: int = 0
    since: float = 0.0


def test_a_record_becomes_another_by_the_fields_that_both_have() -> None:
    said = Said(number=7, height=3, aside="left behind")

    assert said.into(Kept, since=1.5) == Kept(number=7, height=3, since=1.5)
    assert said.into(Kept, since=1.5, height=4).height == 4


def test_a_field_that_neither_has_is_no_default() -> None:
    """A name that was changed on one side alone would be lost without a word."""
    with pytest.raises(AttributeError, match="since"):
        Said(number=7, height=3).into(Kept)
