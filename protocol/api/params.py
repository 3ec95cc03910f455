"""Parameters of JSON-RPC methods: by position or by name, checked, with Core Lightning's codes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from protocol.bitcoin import units
from protocol.crypto.secp import check_point
from protocol.errors import ProtocolError, Refusal

INVALID_PARAMS = -32602
MAX_FEERATE_PER_KW = 1_000_000
MAX_MSAT = 21_000_000 * 100_000_000 * 1000


class Param(NamedTuple):
    """One parameter; `read` raises ValueError with what it should be."""

    name: str
    read: Callable[[Any], Any]
    required: bool = False


def text(value: Any) -> str:
    """A string; of a number its digits."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("should be a string")
    return str(value)


def integer(value: Any) -> int:
    """From 0 to 2**63 - 1, as a number or as digits."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,20}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("should be an integer")
    if not 0 <= value < 1 << 63:
        raise ValueError("should be a positive integer")
    return value


def u32(value: Any) -> int:
    """Seconds, blocks, parts of a million: what goes over the wire or into a row in four bytes."""
    number = integer(value)
    if number >= 1 << 32:
        raise ValueError(f"should be at most {(1 << 32) - 1}")
    return number


def count(value: Any) -> int:
    """As `u32`, and not nothing."""
    number = u32(value)
    if number == 0:
        raise ValueError("should be at least 1")
    return number


def fee_msat(value: Any) -> int:
    """BOLT 7's fee_base_msat."""
    amount = msat(value)
    if amount >= 1 << 32:
        raise ValueError(f"should be at most {(1 << 32) - 1}msat")
    return amount


def block_count(value: Any) -> int:
    """How many blocks to mine at once."""
    number = integer(value)
    if not 0 < number <= 1000:
        raise ValueError("should be from 1 to 1000 blocks")
    return number


def number(value: Any) -> float:
    """From 0 to 10**9, with a fraction or without."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("should be a number") from None
    if isinstance(value, bool) or not 0 <= found < 1e9:
        raise ValueError("should be a number from 0 to 1000000000")
    return found


def texts(value: Any) -> list[str]:
    """An array of strings."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("should be an array of strings")
    return value


def boolean(value: Any) -> bool:
    """true or false, as JSON has it or spelt out."""
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    raise ValueError("should be 'true' or 'false'")


def msat(value: Any) -> int:
    """A number of millisatoshi; "1000msat", "1sat" and "0.001btc" are understood too."""
    if isinstance(value, str):
        match = re.fullmatch(r"([0-9]{1,20})(\.[0-9]{1,20})?(msat|sat|btc)?", value)
        if match is None:
            raise ValueError("should be a millisatoshi amount")
        unit = {"msat": 1, "sat": 1000, "btc": 10**11, None: 1}[match[3]]
        whole, part = int(match[1]) * unit, match[2]
        if part is not None:
            scaled = int(part[1:]) * unit
            if scaled % 10 ** (len(part) - 1):
                raise ValueError("should be a whole number of millisatoshi")
            whole += scaled // 10 ** (len(part) - 1)
        value = whole
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_MSAT:
        raise ValueError("should be a millisatoshi amount")
    return value


def msat_or_any(value: Any) -> int | None:
    """An amount above nothing, or None for "any"."""
    if value == "any":
        return None
    amount = msat(value)
    if amount == 0:
        raise ValueError("should be positive msat or 'any'")
    return amount


def sat(value: Any) -> int:
    """Satoshi; a bare number is satoshi here, as Core Lightning's fundchannel has it."""
    if (
        isinstance(value, int)
        and not isinstance(value, bool)
        or (isinstance(value, str) and value.isascii() and value.isdigit())
    ):
        return integer(value)
    amount = msat(value)
    if amount % 1000:
        raise ValueError("should be a whole number of satoshi")
    return amount // 1000


def sat_or_all(value: Any) -> int | str:
    return "all" if value == "all" else sat(value)


def depth(value: Any) -> int:
    """Confirmations to wait for: at most a day."""
    number = integer(value)
    if number > 144:
        raise ValueError("should be at most 144 blocks")
    return number


def utxos(value: Any) -> list[str]:
    """An array of txid:output, the txid as it is displayed."""
    found = texts(value)
    if not all(re.fullmatch("[0-9a-f]{64}:[0-9]{1,5}", text) for text in found):
        raise ValueError("should be an array of txid:output")
    return found


def bits(value: Any) -> list[int]:
    """A channel_type."""
    if not isinstance(value, list):
        raise ValueError("should be an array of feature bits")
    found = [integer(bit) for bit in value]
    if not set(found) <= {12, 22, 46, 50}:
        raise ValueError("should be some of 12, 22, 46 and 50")
    return found


def hexadecimal(size: int) -> Callable[[Any], str]:
    """A reader of exactly `size` bytes in hex -> in small letters."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(f"[0-9a-fA-F]{{{2 * size}}}", value):
            raise ValueError(f"should be {size} bytes in hex")
        return value.lower()

    return read


def octets(value: Any) -> str:
    """Bytes in hex, from 1 to 1,300 (what an onion has room for) -> in small letters."""
    if not isinstance(value, str) or not re.fullmatch("([0-9a-fA-F]{2}){1,1300}", value):
        raise ValueError("should be bytes in hex")
    return value.lower()


def channels_or_flag(value: Any) -> bool | list[str]:
    """A boolean, or one short channel id, or several."""
    if value in ("true", "false"):
        return bool(value == "true")
    if isinstance(value, bool):
        return value
    return texts([value] if isinstance(value, str) else value)


def node_id(value: Any) -> str:
    """A compressed point on the curve, 33 bytes in hex."""
    found = hexadecimal(33)(value)
    try:
        check_point(bytes.fromhex(found))
    except ProtocolError:
        raise ValueError("should be a node id (a point on the curve)") from None
    return found


def port(value: Any) -> int:
    """Of TCP."""
    number = integer(value)
    if not 0 < number < 65536:
        raise ValueError("should be a port from 1 to 65535")
    return number


def address(value: Any) -> tuple[str, str | None, int | None]:
    """id[@host[:port]]"""
    if not isinstance(value, str):
        raise ValueError("should be id[@host[:port]]")
    node, _, place = value.partition("@")
    if not place:
        return node_id(node), None, None
    host, port = _host_port(place)
    return node_id(node), host, port


def _host_port(place: str) -> tuple[str, int]:
    match = re.fullmatch(
        r"\[([0-9a-fA-F:]+)\](?::([0-9]{1,5}))?|([^:]{1,255})(?::([0-9]{1,5}))?", place
    )
    if match is None:
        raise ValueError("should be host[:port]")
    return match[1] or match[3], port(match[2] or match[4] or 9735)


def feerate(value: Any) -> int | None:
    """Satoshi per 1000 weight; names like "normal" leave it to the node."""
    if isinstance(value, str):
        match = re.fullmatch(r"([0-9]{1,20})(perkw|perkb)?", value)
        if match is None:
            if value in ("slow", "normal", "urgent", "opening", "minimum"):
                return None
            raise ValueError("should be a feerate")
        given = integer(match[1])
        per_kw = given if match[2] == "perkw" else units.per_kw_of_sat_per_kvb(given)
    else:
        per_kw = units.per_kw_of_sat_per_kvb(integer(value))
    if per_kw > MAX_FEERATE_PER_KW:
        raise ValueError(f"should be at most {MAX_FEERATE_PER_KW}perkw")
    return max(units.MIN_FEERATE_PER_KW, per_kw)


def choice(*allowed: str) -> Callable[[Any], str]:
    """A reader of one of these words."""

    def read(value: Any) -> str:
        if value not in allowed:
            raise ValueError(f"should be one of {', '.join(allowed)}")
        return str(value)

    return read


def only(*allowed: Any) -> Callable[[Any], Any]:
    """Core Lightning knows more; what we would not do is refused, never ignored."""

    def read(value: Any) -> Any:
        if value not in allowed:
            raise ValueError("is not supported yet with this value; leave it out")
        return value

    return read


unsupported = only()


def rows(spec: Sequence[Param]) -> Callable[[Any], list[dict[str, Any]]]:
    """An array of objects with these fields."""

    def read(value: Any) -> list[dict[str, Any]]:
        if not isinstance(value, list) or not value:
            raise ValueError("should be an array of objects")
        if not all(isinstance(item, dict) for item in value):
            raise ValueError("should be an array of objects")
        return [parse(spec, item) for item in value]

    return read


def parse(spec: Sequence[Param], given: Any) -> dict[str, Any]:
    """Checked values by name; what was not given (or is null) is absent. Raises `Refusal`."""
    if isinstance(given, list):
        if len(given) > len(spec):
            raise Refusal(
                f"too many parameters: got {len(given)}, expected {len(spec)}", code=INVALID_PARAMS
            )
        named = {param.name: value for param, value in zip(spec, given, strict=False)}
    elif isinstance(given, dict):
        named = given
        _check_names(spec, named)
    else:
        raise Refusal("Expected array or object for params", code=INVALID_PARAMS)
    values: dict[str, Any] = {}
    for param in spec:
        value = named.get(param.name)
        if value is None:
            if param.required:
                raise Refusal(f"missing required parameter: {param.name}", code=INVALID_PARAMS)
            continue
        try:
            values[param.name] = param.read(value)
        except ValueError as error:
            shown = ascii(value)[:80] if isinstance(value, str) else str(value)[:80]
            raise Refusal(
                f"{param.name}: {error}: invalid token {shown!r}", code=INVALID_PARAMS
            ) from None
    return values


def _check_names(spec: Sequence[Param], named: dict[str, Any]) -> None:
    known = [param.name for param in spec]
    for name in named:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise Refusal(f"unknown parameter: {str(name)[:40]}{hint}", code=INVALID_PARAMS)
