"""On a terminal of 80 columns nothing that has to be copied is cut."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from daruma import tables

NODE, HASH = "02" + "ab" * 32, "cd" * 32
ADDRESS = "bcrt1q" + "x" * 58
INVOICE = "lnbcrt10u1" + "p" * 340

RESULTS: dict[str, Any] = {
    "getinfo": {"id": NODE, "alias": "alice", "num_peers": 1, "address": []},
    "newaddr": {"bech32": ADDRESS},
    "invoice": {"payment_hash": HASH, "bolt11": INVOICE, "payment_secret": HASH},
    "listpeers": {"peers": [{"id": NODE, "connected": True, "netaddr": ["127.0.0.1:9735"]}] * 2},
    "listpeerchannels": {
        "channels": [
            {
                "peer_id": NODE,
                "state": "CHANNELD_NORMAL",
                "channel_id": HASH,
                "funding_txid": HASH,
                "short_channel_id": "103x1x0",
                "alias": {"local": ADDRESS},
            }
        ]
    },
    "listinvoices": {"invoices": [{"label": "a", "bolt11": INVOICE, "payment_hash": HASH}] * 3},
    "plain list": [ADDRESS, HASH],
    "a word": HASH,
}


def _shown(result: Any, width: int = 80) -> str:
    stream = io.StringIO()
    tables.show(result, Console(file=stream, width=width))
    return stream.getvalue()


def _words(result: Any) -> set[str]:
    if isinstance(result, dict):
        return {word for value in result.values() for word in _words(value)}
    if isinstance(result, list):
        return {word for value in result for word in _words(value)}
    return {result} if isinstance(result, str) else set()


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("name", RESULTS)
def test_what_has_to_be_copied_stands_whole(name: str, width: int) -> None:
    shown = _shown(RESULTS[name], width)

    assert not [word for word in _words(RESULTS[name]) if word not in shown]
    assert "..." not in shown


def test_the_number_of_many_hashes_is_enough() -> None:
    shown = _shown({"blocks": [f"{number:064x}" for number in range(101)]})

    assert "101 of them" in shown and f"{100:064x}" in shown
    assert len(shown.splitlines()) < 4


def test_a_peers_text_cannot_move_the_cursor() -> None:
    shown = _shown({"nodes": [{"alias": "a\x1b[2J\u202eb\nc", "nodeid": NODE}]})

    assert not re.search("[\x1b\u202e]", shown)
    assert r"a\x1b[2J\u202eb\nc" in shown
