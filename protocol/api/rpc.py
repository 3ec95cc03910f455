"""Replies that are put together from several answers."""

from __future__ import annotations

from typing import Any

from protocol import features
from protocol.bitcoin import script
from protocol.errors import Refusal
from protocol.gossip.announce import direction
from protocol.invoice import Invoice
from protocol.scid import scid_text

VERSION = "0.1.0"


def _connected(peers: list[Any]) -> set[str]:
    return {row["id"] for row in peers}


def getinfo(values: dict[str, Any], answers: list[Any]) -> dict[str, Any]:
    """From the answers of monitors, peers, chain and payments."""
    channels, peers, tip, paid = answers
    states = [row["state"] for row in channels]
    warning = {key: tip[key] for key in ("warning_bitcoind_sync",) if key in tip}
    return {
        "id": values["~node_id"],
        "alias": values["~alias"],
        "color": values["~node_id"][:6],
        "num_peers": len(_connected(peers) | {row["peer_id"] for row in channels}),
        "num_pending_channels": states.count("CHANNELD_AWAITING_LOCKIN"),
        "num_active_channels": states.count("CHANNELD_NORMAL"),
        "num_inactive_channels": sum(state.startswith(("CLOSING", "CHANNELD_SHUT", "AWAITING"))
                                     for state in states),
        "address": [
            {"type": kind, "address": host, "port": port}
            for kind, host, port in values.get("~announced", ())
        ],
        "binding": [{"type": "ipv4", "address": values["~host"], "port": values["~port"]}],
        "version": f"daruma-{VERSION}",
        "blockheight": tip["blockheight"],
        "network": values["~network"],
        "fees_collected_msat": paid["fees_collected_msat"],
        "lightning-dir": values["~folder"],
        "our_features": {
            "init": features.encode(features.OUR_INIT).hex(),
            "node": features.encode(features.OUR_INIT).hex(),
            "channel": "",
            "invoice": features.encode(features.OUR_INVOICE).hex(),
        },
        **warning,
    }  # fmt: skip


def listfunds(values: dict[str, Any], answers: list[Any]) -> dict[str, Any]:
    """From the answers of wallet, monitors and peers."""
    outputs, channels, peers = answers
    connected = _connected(peers)
    for output in outputs:
        form = bytes.fromhex(output["scriptpubkey"])
        output["address"] = script.to_address(form, values["~network"])
    rows = []
    for row in channels:
        shown = {
            "peer_id": row["peer_id"],
            "connected": row["peer_id"] in connected,
            "state": row["state"],
            "channel_id": row["channel_id"],
            "our_amount_msat": row["to_us_msat"],
            "amount_msat": row["total_msat"],
            "funding_txid": row["funding_txid"],
            "funding_output": row["funding_outnum"],
        }
        if "short_channel_id" in row:
            shown["short_channel_id"] = row["short_channel_id"]
        rows.append(shown)
    return {"outputs": outputs, "channels": rows}


def listpeers(values: dict[str, Any], answers: list[Any]) -> dict[str, Any]:
    """From the answers of monitors and peers: those we have a channel with are listed when away
    too."""
    channels, peers = answers
    rows = {row["id"]: dict(row) for row in peers}
    for row in channels:
        known = rows.setdefault(
            row["peer_id"], {"id": row["peer_id"], "connected": False, "num_channels": 0}
        )
        if not known["connected"]:
            known["num_channels"] += 1
    for known in rows.values():
        known.pop("established", None)
    wanted = values.get("id")
    return {"peers": [row for node, row in rows.items() if wanted in (None, node)]}


def listpeerchannels(values: dict[str, Any], answers: list[Any]) -> dict[str, Any]:
    """From the answers of monitors, peers, funding (what is under way) and gossiper (policies)."""
    channels, peers, openings, policies = answers
    connected, ours = _connected(peers), bytes.fromhex(values["~node_id"])
    established = {cid for row in peers for cid in row.get("established", ())}
    rows = []
    for row in [*channels, *openings]:
        row["peer_connected"] = row["peer_id"] in connected
        row["reestablished"] = row.get("channel_id") in established
        row["direction"] = direction(ours, bytes.fromhex(row["peer_id"]))
        row |= policies.get(row.get("channel_id"), {})
        if values.get("id") in (None, row["peer_id"]):
            rows.append(row)
    scid = values.get("short_channel_id")
    return {"channels": [row for row in rows if scid in (None, row.get("short_channel_id"))]}


def listclosedchannels(values: dict[str, Any], answers: list[Any]) -> dict[str, Any]:
    """From the answers of the monitors."""
    wanted = values.get("id")
    rows = [row for row in answers[0] if wanted in (None, row["peer_id"])]
    return {"closedchannels": rows}


def find_channel(wanted: str, channels: list[Any]) -> str:
    """By channel id, short channel id, or peer id when that is unambiguous."""
    open_ones = [row for row in channels if not row["state"].startswith(("ONCHAIN", "CLOSINGD_C"))]
    found = [
        row["channel_id"]
        for row in open_ones
        if wanted in (row["channel_id"], row.get("short_channel_id"), row["peer_id"])
    ]
    if not found:
        raise Refusal("Short channel ID not found: there is no such open channel", code=-32602)
    if len(found) > 1:
        raise Refusal("Peer has multiple channels: use channel_id or short_channel_id", code=-1)
    return str(found[0])


def destination(values: dict[str, Any], fresh: dict[str, Any], network: str) -> str:
    """The script (hex) that `withdraw` or `close` pays to: an address of the network, or a new
    one of ours. Raises `Refusal`."""
    address = values.get("destination") or fresh["bech32"]
    form = script.from_address(address, network)
    if form is None:
        raise Refusal(f"destination: not an address of {network}", code=-32602)
    return form.hex()


def decoded(value: Invoice) -> dict[str, Any]:
    """The reply of `decode`."""
    shown: dict[str, Any] = {
        "type": "bolt11 invoice",
        "valid": True,
        "currency": {"bitcoin": "bc", "testnet": "tb", "signet": "tbs", "regtest": "bcrt"}[
            value.network
        ],
        "created_at": value.timestamp,
        "expiry": value.expiry_seconds,
        "payee": value.payee.hex(),
        "min_final_cltv_expiry": value.min_final_cltv_expiry,
        "payment_hash": value.payment_hash.hex(),
        "payment_secret": value.payment_secret.hex(),
        "features": features.encode(value.features).hex(),
    }
    if value.amount_msat is not None:
        shown["amount_msat"] = value.amount_msat
    if value.description is not None:
        shown["description"] = value.description
    if value.description_hash is not None:
        shown["description_hash"] = value.description_hash.hex()
    if value.metadata is not None:
        shown["payment_metadata"] = value.metadata.hex()
    if value.fallbacks:
        shown["fallbacks"] = [{"addr": item} for item in value.fallbacks]
    if value.routes:
        shown["routes"] = [
            [
                {
                    "pubkey": hop.node_id.hex(),
                    "short_channel_id": scid_text(hop.short_channel_id),
                    "fee_base_msat": hop.fee_base_msat,
                    "fee_proportional_millionths": hop.fee_proportional_millionths,
                    "cltv_expiry_delta": hop.cltv_expiry_delta,
                }
                for hop in route
            ]
            for route in value.routes
        ]
    return shown
