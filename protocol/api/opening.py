"""`fundchannel` and `multifundchannel`: connect where an address is given, count the coins for
"all", then ask funding."""

from __future__ import annotations

from typing import Any

from protocol.bitcoin import script
from protocol.errors import Refusal

Question = tuple[str, str, dict[str, Any]]
Values = dict[str, Any]

# weight of a transaction: its frame with a funding output, and each p2wpkh input
FRAME_WEIGHT, INPUT_WEIGHT = 42 + 4 * 43, 272
INVALID = -32602


def connect(values: Values, answers: list[Any]) -> list[Question]:
    """Those destinations that are given with an address; who is connected already stays so."""
    return [
        ("peers", "connect", {"id": node, "host": host, "port": port or 9735})
        for node, host, port in (item["id"] for item in destinations(values))
        if host is not None
    ]


def count_coins(values: Values, answers: list[Any]) -> list[Question]:
    """Asked first when an amount is "all"."""
    if any(item["amount"] == "all" for item in destinations(values)):
        return [("wallet", "listfunds", {}), ("chain", "getinfo", {})]
    return []


def fund(values: Values, answers: list[Any]) -> list[Question]:
    """The question to funding. Raises `Refusal` for what cannot be funded so."""
    items = destinations(values)
    amounts = [item["amount"] for item in items]
    if "all" in amounts:
        if len(items) > 1:
            raise Refusal("amount: 'all' is for one destination", code=INVALID)
        amounts = [_all(values, *answers[-2:])]
    asked = {
        "destinations": [
            _destination(item, amount, values["~network"])
            for item, amount in zip(items, amounts, strict=True)
        ],
        "feerate_per_kw": values.get("feerate"),
        "commitment_feerate": values.get("commitment_feerate"),
        "minconf": values.get("minconf", 1),
        "utxos": values.get("utxos", []),
        "least": values.get("minchannels", len(items)),
    }
    return [("funding", values["~method"], asked)]


def destinations(values: Values) -> list[Values]:
    """The rows of `multifundchannel`, or the one of `fundchannel`."""
    if values["~method"] == "multifundchannel":
        return list(values["destinations"])
    return [values]


def _destination(item: Values, amount_sat: int, network: str) -> Values:
    asked: Values = {
        "id": item["id"][0],
        "amount_sat": amount_sat,
        "push_msat": item.get("push_msat", 0),
        "announce": item.get("announce", True),
        "mindepth": item.get("mindepth"),
        "reserve_sat": item.get("reserve"),
        "kind": item.get("channel_type"),
        "up_to": item["amount"] == "all",
    }
    if item.get("close_to") is not None:
        asked["close_to"] = _script(item["close_to"], network).hex()
    return asked


def _script(text: str, network: str) -> bytes:
    form = script.from_address(text, network)
    if form is None or not script.is_standard_shutdown(form, any_segwit=True):
        raise Refusal(f"close_to: not an address of {network} to close to", code=INVALID)
    return form


def _all(values: Values, coins: list[Any], tip: Any) -> int:
    """What the confirmed coins are worth without the fee of the funding transaction."""
    wanted = values.get("utxos")
    usable = [
        coin["amount_msat"] // 1000
        for coin in coins
        if coin["status"] == "confirmed"
        and not coin["reserved"]
        and (not wanted or f"{coin['txid']}:{coin['output']}" in wanted)
    ]
    rate = values.get("feerate") or tip["feerate_per_kw"]
    fee = -(-rate * (FRAME_WEIGHT + INPUT_WEIGHT * len(usable)) // 1000)
    if sum(usable) <= fee:
        raise Refusal("the wallet has not enough confirmed coins for a channel", code=301)
    return int(sum(usable) - fee)
