"""What the wallet keeps."""

from __future__ import annotations

from protocol.segment import Segment
from protocol.values import Value


class WalletTx(Value, frozen=True, kw_only=True, tag="wallet_tx"):
    """A transaction of ours; unconfirmed while `height` is None."""

    raw: bytes
    height: int | None = None
    block: bytes = b""
    time: int = 0


class WalletBlock(Value, frozen=True, kw_only=True, tag="wallet_block"):
    """A block with transactions of ours, or the newest one."""

    height: int
    hash: bytes


class Position(Value, frozen=True, kw_only=True, tag="position"):
    """The newest block that was examined, and the revealed indices."""

    height: int
    hash: bytes
    external: int
    internal: int


class Reservation(Value, frozen=True, kw_only=True, tag="reservation"):
    """The transaction that was made for a purpose; its coins are nobody else's."""

    raw: bytes


class OwnScript(Value, frozen=True, kw_only=True, tag="own_script"):
    """The script that was revealed for a purpose."""

    script: bytes


TXS = Segment("wtx", WalletTx, by=(bytes,))  # by txid
BLOCKS = Segment("block", WalletBlock, by=(int,))  # by height
POSITION = Segment("position", Position, by=())
RESERVATIONS = Segment("reservation", Reservation)  # these two by purpose
SCRIPTS = Segment("script", OwnScript)
STALE = Segment("~stale", bool, by=())  # the library is to take the rows over again

KEEPS = (TXS, BLOCKS, POSITION, RESERVATIONS, SCRIPTS)
