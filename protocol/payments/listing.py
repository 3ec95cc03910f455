"""What was sent and relayed, as lists: `listpays`, `listsendpays`, `paystatus`, `listforwards`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from protocol.invoice import decode
from protocol.machine import Ask, Step
from protocol.payments import view
from protocol.payments.rows import CHANNELS, FORWARDS, PARTS, PAYMENTS, Payment, Sent

Rows = list[dict[str, Any]]


def rows(step: Step, ask: Ask) -> Rows:
    match ask.method:
        case "listpays":
            return [view.listpays(row) for row in _wanted(step, ask)]
        case "listsendpays":
            return [
                view.listsendpays(part, row)
                for row in _wanted(step, ask, status=False)
                for part in _parts(step, row)
                if ask.params.get("status") in (None, part.status)
            ]
        case "paystatus":
            return [view.paystatus(row, _parts(step, row)) for row in _wanted(step, ask)]
        case "listforwards":
            return _forwards(step, ask)
    raise AssertionError(ask.method)


def _wanted(step: Step, ask: Ask, *, status: bool = True) -> Iterable[Payment]:
    wanted, bolt11 = ask.params.get("payment_hash"), ask.params.get("bolt11")
    if bolt11 is not None:
        # by what it says and not by its letters: a pending payment must be found
        wanted = wanted or decode(bolt11).payment_hash.hex()
    if wanted is not None:
        found = [PAYMENTS.get(step, bytes.fromhex(wanted))]
    else:
        found = list(PAYMENTS.below(step).values())
    rows = sorted((row for row in found if row), key=lambda row: row.created_index)
    state = ask.params.get("status") if status else None
    rows = [row for row in rows if state in (None, row.status)]
    return _paged(rows, ask, lambda row: row.created_index)


def _paged(rows: list[Any], ask: Ask, index: Any) -> list[Any]:
    start = ask.params.get("start", 0)
    return [row for row in rows if index(row) >= start][: ask.params.get("limit")]


def _parts(step: Step, row: Payment) -> list[Sent]:
    return list(PARTS.below(step, row.payment_hash).values())


def _forwards(step: Step, ask: Ask) -> Rows:
    found = sorted(FORWARDS.below(step).values(), key=lambda row: row.index)
    names = {channel.hex(): view.scid(row.scid) for (channel,), row in CHANNELS.below(step).items()}
    shown = [view.forward(row, names) for row in _paged(found, ask, lambda row: row.index)]
    for name in ("status", "in_channel", "out_channel"):
        wanted = ask.params.get(name)
        shown = [row for row in shown if wanted is None or row.get(name) == wanted]
    return shown
