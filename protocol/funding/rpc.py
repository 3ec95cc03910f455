"""What funding answers about the openings that are still negotiated."""

from __future__ import annotations

from typing import Any

from protocol.funding.rows import NEGOTIATIONS, Negotiation
from protocol.machine import Step


def listed(step: Step) -> list[dict[str, Any]]:
    """One row for each, as `listpeerchannels` shows them."""
    return [
        {
            "peer_id": item.peer.hex(),
            "state": "OPENINGD",
            "opener": "local" if item.we_opened else "remote",
            "total_msat": item.opened.funding_satoshis * 1000,
            "private": not item.opened.channel_flags & 1,
            "status": [_waits_for(item)],
        }
        for item in NEGOTIATIONS.below(step).values()
    ]


def _waits_for(item: Negotiation) -> str:
    if item.accepted is None:
        return "negotiating: waiting for the peer's accept_channel"
    if item.we_opened:
        sent = item.channel is not None
        return f"negotiating: waiting for {'funding_signed' if sent else 'the other channels'}"
    return "negotiating: waiting for the peer's funding_created"
