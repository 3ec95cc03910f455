"""What funding keeps: in memory until our side has something to lose, then on disk."""

from __future__ import annotations

from typing import Literal

from protocol.channel.formats import FormatName
from protocol.channel.state import Channel
from protocol.features import Features
from protocol.machine import Ask
from protocol.segment import Segment
from protocol.values import Value
from protocol.wire.opening import AcceptChannel, FundingCreated, OpenChannel


class Wanted(Value, frozen=True, kw_only=True):
    """One channel that the operator wants. None leaves it to us.

    `reserve_sat`: what the peer shall keep on its side. `close_to`: the only script that our side
    may ever be paid to in a closing together. `up_to`: less is good too, where a limit says so.
    """

    peer: bytes
    amount_sat: int
    push_msat: int = 0
    announce: bool = True
    close_to: bytes | None = None
    mindepth: int | None = None
    reserve_sat: int | None = None
    kind: Features | None = None
    up_to: bool = False


class FailedOpening(Value, frozen=True, kw_only=True, tag="failed_opening"):
    """Why one channel of a group did not come to be; `place`: which destination."""

    place: int
    peer: bytes
    code: int
    text: str


class Group(Value, frozen=True, kw_only=True):
    """Channels of ours that share a funding transaction.

    `members`: key indices by destination, None where nothing is negotiated (not yet, or no more).
    `least`: with fewer channels nothing is opened. `asked`: the wallet makes the transaction.
    """

    purpose: str
    ask: Ask
    wanted: tuple[Wanted, ...]
    members: tuple[int | None, ...]
    least: int
    failed: tuple[FailedOpening, ...] = ()
    own_script: bytes | None = None
    asked: bool = False
    raw: bytes | None = None


class Negotiation(Value, frozen=True, kw_only=True):
    """An opening that may be forgotten at any time.

    `purpose`: its group when we open; `place`: which destination of it. `began`: unix seconds.
    """

    temporary_id: bytes
    began: float
    peer: bytes
    features: Features
    we_opened: bool
    key_index: int
    opened: OpenChannel
    address: tuple[str, int] | None = None
    purpose: str = ""
    place: int = 0
    wanted: Wanted | None = None
    accepted: AcceptChannel | None = None
    created: FundingCreated | None = None
    channel: Channel | None = None
    signed: bool = False


# drawn in `machine`
OpeningState = Literal["guarding", "guarded", "confirming", "confirmed", "usable"]


class Opening(Value, frozen=True, kw_only=True, tag="opening"):
    """A durable opening. `purpose` is what channels in one transaction share.

    `sent`: the backend has taken our transaction; `refused`: it has not, and why. `depth`: as deep
    as chain has said that it is. `ask`: the question that is answered with it; `several`: it was
    asked for several channels.
    """

    key_index: int
    channel_id: bytes
    purpose: str
    peer: bytes
    we_opened: bool
    state: OpeningState
    minimum_depth: int
    amount_sat: int
    script: bytes
    funding_txid: bytes
    funding_index: int
    private: bool
    since: int
    format_name: FormatName = "anchors"
    signature: bytes = b""
    raw: bytes = b""
    sent: bool = False
    refused: str = ""
    depth: int = 0
    ask: str = ""
    several: bool = False
    failed: tuple[FailedOpening, ...] = ()
    close_to: bytes | None = None

    @property
    def zeroconf(self) -> bool:
        """Usable before the transaction is mined."""
        return self.minimum_depth == 0


class KeyIndex(Value, frozen=True, kw_only=True, tag="key_index"):
    """The next index of channel secrets; an index is never used twice."""

    next: int


# an opening is named by its key index, which is ours to give: channel ids are the peer's to choose
OPENINGS = Segment("opening", Opening, by=(int,))
KEYS = Segment("keys", KeyIndex, by=())
NEXT_KEY = Segment("~next_key", int, by=())  # also of those that only a peer has asked for
NEGOTIATIONS = Segment("~nego", Negotiation, by=(int,))
# what the wire calls a negotiation until it has a channel id: (peer, temporary id) -> key index
TEMPORARY = Segment("~temporary", int, by=(bytes, bytes))
GROUPS = Segment("~group", Group)  # by purpose

KEEPS = (OPENINGS, KEYS)
