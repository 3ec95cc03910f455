"""The one reader of what a client says: JSON as it comes, of bounded depth, with numbers that fit.

What passes it can be kept, logged, and said to any actor: texts are Unicode, integers have 64 bits.
"""

from __future__ import annotations

import json
import math
from typing import Any

from protocol.errors import Refusal

INVALID_REQUEST, INVALID_PARAMS = -32600, -32602
MAX_DEPTH = 32
LEAST, MOST = -(1 << 63), (1 << 64) - 1
_DIGITS = 20  # of the largest


class Unfit(Exception):
    """JSON that no request may hold: one sentence."""


def _integer(text: str) -> int:
    if len(text.lstrip("-")) > _DIGITS:
        raise Unfit(f"a number has more than {_DIGITS} digits")
    return int(text)


def _constant(text: str) -> Any:
    raise Unfit(f"{text} is not a number of JSON")


DECODER = json.JSONDecoder(parse_int=_integer, parse_constant=_constant)


def request(value: Any) -> tuple[Any, str, Any, Any]:
    """-> (id, method, params, filter) of a request. Raises `Refusal` (-32600)."""
    if not isinstance(value, dict) or not isinstance(value.get("method"), str):
        raise Refusal("a request is an object with a method", code=INVALID_REQUEST)
    try:
        _fits(value, MAX_DEPTH)
    except Unfit as unfit:
        raise Refusal(f"the request cannot be read: {unfit}", code=INVALID_REQUEST) from None
    number = value.get("id")
    if isinstance(number, bool | list | dict):
        raise Refusal("the id of a request is a string or a number", code=INVALID_REQUEST)
    params = value.get("params")
    return number, value["method"], [] if params is None else params, value.get("filter")


def identity(value: Any) -> Any:
    """The id of what is otherwise no request, so that its sender knows it; None if that is not fit
    to be said either."""
    number = value.get("id") if isinstance(value, dict) else None
    if isinstance(number, bool) or not isinstance(number, str | int | float):
        return None
    try:
        _fits(number, 1)
    except Unfit:
        return None
    return number


def _fits(value: Any, depth: int) -> None:
    if depth == 0:
        raise Unfit(f"it is nested more than {MAX_DEPTH} deep")
    match value:
        case str():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise Unfit("a text is not valid Unicode") from None
        case bool() | None:
            pass
        case int():
            if not LEAST <= value <= MOST:
                raise Unfit("a number does not fit into 64 bits")
        case float():
            if not math.isfinite(value):
                raise Unfit("a number is too large")
        case list():
            for item in value:
                _fits(item, depth - 1)
        case dict():
            for name, item in value.items():
                _fits(name, depth - 1)
                _fits(item, depth - 1)


# ---- the member "filter" ------------------------------------------------------------------------


def check_filter(wanted: Any) -> None:
    """An object (or an array with one) whose members are `true` or again a filter, as Core
    Lightning has it. Raises `Refusal` (-32602)."""
    match wanted:
        case dict():
            good = all(_is_filter(item) for item in wanted.values())
        case _:
            good = False
    if not good:
        text = "filter: should be an object of the wanted fields, each true or a filter of its own"
        raise Refusal(text, code=INVALID_PARAMS)


def _is_filter(wanted: Any) -> bool:
    match wanted:
        case True:
            return True
        case dict():
            return all(_is_filter(item) for item in wanted.values())
        case [item]:
            return _is_filter(item)
    return False


def filtered(result: Any, wanted: Any) -> Any:
    """Only the fields that are wanted; what the filter does not fit to stays away."""
    match wanted, result:
        case dict(), dict():
            return {name: filtered(result[name], wanted[name]) for name in wanted if name in result}
        case [item], list():
            return [filtered(row, item) for row in result]
    return result
