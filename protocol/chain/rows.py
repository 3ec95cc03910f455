"""What the chain actor keeps; watches and broadcasts by their owners, and reason or purpose."""

from __future__ import annotations

from protocol.chain.messages import WouldTake
from protocol.chain.port import Away, Generated
from protocol.segment import Segment
from protocol.values import Value


class Chain(Value, frozen=True, kw_only=True, tag="chain"):
    """The newest blocks, oldest first; the last is the tip."""

    height: int
    hashes: tuple[bytes, ...]


class TxWatch(Value, frozen=True, kw_only=True, tag="tx_watch"):
    """`since`: blocks from there on are still to be read again."""

    owner: str
    reason: str
    txid: bytes
    depth: int
    since: int | None
    height: int | None = None
    position: int = 0
    raw: bytes = b""
    told: bool = False


class SpendWatch(Value, frozen=True, kw_only=True, tag="spend_watch"):
    """`since` as in `TxWatch`."""

    owner: str
    reason: str
    txid: bytes
    vout: int
    since: int | None
    height: int | None = None


class Rebroadcast(Value, frozen=True, kw_only=True, tag="rebroadcast"):
    """To be sent again until it is mined. `taken`: the backend has had it. `report`: the owner
    hears of that; `refused`: it has heard why not."""

    owner: str
    purpose: str
    txid: bytes
    raw: bytes
    report: bool = False
    refused: bool = False
    taken: bool = False
    height: int | None = None


class Doubt(Value, frozen=True, kw_only=True):
    """Whoever asks waits until the backend has said."""

    owner: str
    item: WouldTake


CHAIN = Segment("chain", Chain, by=())
# by owner, and its reason or purpose
TXS = Segment("tx", TxWatch, by=(str, str))
SPENDS = Segment("spend", SpendWatch, by=(str, str))
SENDS = Segment("send", Rebroadcast, by=(str, str))
DOUBTS = Segment("~doubt", Doubt, by=(str, str))
AWAY = Segment("~away", Away, by=())
MINED = Segment("~mined", Generated)  # by the question's id

KEEPS = (CHAIN, TXS, SPENDS, SENDS)
