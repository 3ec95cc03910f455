"""What chain hears of others and tells them."""

from __future__ import annotations

from protocol.values import Value


class WatchTx(Value, frozen=True, kw_only=True):
    """Tell me when the transaction is `depth` deep; `since` is the first height to look at.

    Said again with another depth it is told again.
    """

    txid: bytes
    depth: int
    since: int


class WatchSpend(Value, frozen=True, kw_only=True):
    """Tell me who spends this output."""

    txid: bytes
    vout: int
    since: int


class Unwatch(Value, frozen=True, kw_only=True):
    """Neither the transaction nor its spends; with `vout` only the spend of that output."""

    txid: bytes
    vout: int | None = None


class Broadcast(Value, frozen=True, kw_only=True):
    """Send it now, and again until it is mined."""

    raw: bytes


class GiveUp(Value, frozen=True, kw_only=True):
    """A transaction that was to be broadcast will never be mined: another one took its coins."""

    txid: bytes


class TxConfirmed(Value, frozen=True, kw_only=True):
    """As deep as asked (`depth`). `raw` is the transaction as mined."""

    txid: bytes
    depth: int
    height: int
    position: int
    raw: bytes


class TxReorged(Value, frozen=True, kw_only=True):
    """It was in a block, and is not any more."""

    txid: bytes


class Spent(Value, frozen=True, kw_only=True):
    txid: bytes
    vout: int
    raw: bytes
    height: int


class Tip(Value, frozen=True, kw_only=True):
    """The newest block, and feerates in satoshi per 1000 weight."""

    height: int
    hash: bytes
    feerate_per_kw: int


class NextBlock(Value, frozen=True, kw_only=True):
    """A follower has this block as its newest: what comes next? Height -1: start at the tip.

    Without a hash whatever is at that height counts as read.
    """

    height: int
    hash: bytes


class NewBlock(Value, frozen=True, kw_only=True):
    """To a follower: the block after the one that it named."""

    height: int
    raw: bytes


class LostBlock(Value, frozen=True, kw_only=True):
    """To a follower: the block that it named is no longer in the chain."""

    height: int


class LookUp(Value, frozen=True, kw_only=True):
    """What do the outputs at these short channel ids hold? Said by the gossiper."""

    scids: tuple[bytes, ...]


class Output(Value, frozen=True, kw_only=True):
    """An output by its place. `script` is empty when there is none, or it is spent.

    `unknown`: it could not be found out.
    """

    scid: bytes
    txid: bytes = b""
    script: bytes = b""
    amount_sat: int = 0
    unknown: bool = False


class Found(Value, frozen=True, kw_only=True):
    """The answer to `LookUp`."""

    outputs: tuple[Output, ...]
