"""What chain hears of others and tells them."""

from __future__ import annotations

from protocol.segment import Segment
from protocol.values import Value


class WatchTx(Value, frozen=True, kw_only=True):
    """Tell me when the transaction is `depth` deep; `since` is the first height to look at.

    `reason` names the watch among those of its owner, who is whoever says this. Said again it
    changes nothing; with another depth the depth is told again, with another transaction it takes
    the old one's place.
    """

    reason: str
    txid: bytes
    depth: int
    since: int


class WatchSpend(Value, frozen=True, kw_only=True):
    """Tell me who spends this output. `reason` and `since` as in `WatchTx`."""

    reason: str
    txid: bytes
    vout: int
    since: int


class Unwatch(Value, frozen=True, kw_only=True):
    """This watch of mine ends; no other of mine, and nobody else's."""

    reason: str


class WouldTake(Value, frozen=True, kw_only=True):
    """Would the backend take this transaction into its mempool? It is not sent."""

    purpose: str
    raw: bytes


class Verdict(Value, frozen=True, kw_only=True):
    """The answer to `WouldTake`: `refused` is the backend's reason, empty if it would take it."""

    purpose: str
    refused: str = ""


class Broadcast(Value, frozen=True, kw_only=True):
    """Send it now, and again until it is mined. `purpose` names it among those of its owner: the
    newest takes the place of an older one. `report`: the owner wants to hear `Sent`."""

    purpose: str
    raw: bytes
    report: bool = False


class Sent(Value, frozen=True, kw_only=True):
    """The backend has taken what was to be broadcast; or, once, why it does not: `refused`. It is
    sent again all the same."""

    purpose: str
    refused: str = ""


class GiveUp(Value, frozen=True, kw_only=True):
    """What was to be broadcast for this purpose will never be mined: another took its coins."""

    purpose: str


class TxConfirmed(Value, frozen=True, kw_only=True):
    """As deep as asked (`depth`). `raw` is the transaction as mined, `reason` that of the watch."""

    reason: str
    txid: bytes
    depth: int
    height: int
    position: int
    raw: bytes


class TxReorged(Value, frozen=True, kw_only=True):
    """It was in a block, and is not any more."""

    reason: str
    txid: bytes


class Spent(Value, frozen=True, kw_only=True):
    """The watched output was spent by `raw`, mined at `height`."""

    reason: str
    txid: bytes
    vout: int
    raw: bytes
    height: int


class Tip(Value, frozen=True, kw_only=True):
    """The newest block, and feerates in satoshi per 1000 weight."""

    height: int
    hash: bytes
    feerate_per_kw: int


TIP = Segment("~tip", Tip, by=())  # in every machine that follows the chain: what it heard last


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


class OutputsFound(Value, frozen=True, kw_only=True):
    """The answer to `LookUp`."""

    outputs: tuple[Output, ...]
