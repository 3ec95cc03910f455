"""What the chain actor keeps."""

from __future__ import annotations

from protocol.chain.items import WouldTake
from protocol.values import Value


class Chain(Value, frozen=True, kw_only=True):
    """Row "chain": the newest blocks, oldest first; the last is the tip."""

    height: int
    hashes: tuple[bytes, ...]


class TxWatch(Value, frozen=True, kw_only=True):
    """Row "tx/<owner>/<reason>". `since`: blocks from there on are still to be read again."""

    owner: str
    reason: str
    txid: bytes
    depth: int
    since: int | None
    height: int | None = None
    position: int = 0
    raw: bytes = b""
    told: bool = False


class SpendWatch(Value, frozen=True, kw_only=True):
    """Row "spend/<owner>/<reason>"; `since` as in `TxWatch`."""

    owner: str
    reason: str
    txid: bytes
    vout: int
    since: int | None
    height: int | None = None


class Pending(Value, frozen=True, kw_only=True):
    """Row "send/<owner>/<purpose>": to be sent again until it is mined. `taken`: the backend has
    had it. `report`: the owner hears of that; `refused`: it has heard why not."""

    owner: str
    purpose: str
    txid: bytes
    raw: bytes
    report: bool = False
    refused: bool = False
    taken: bool = False
    height: int | None = None


class Doubt(Value, frozen=True, kw_only=True):
    """Row "~doubt/<owner>/<purpose>": whoever asks waits until the backend has said."""

    owner: str
    item: WouldTake
