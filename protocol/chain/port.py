"""Between the chain machine and its port: what is to be looked for, and what was found."""

from __future__ import annotations

from protocol.chain.messages import LookUp
from protocol.machine import Answer, Ask
from protocol.values import Value


class Poll(Value, frozen=True, kw_only=True):
    """Look for news: `hashes` are the newest block hashes that we know, newest first."""

    height: int
    hashes: tuple[bytes, ...]


class Scan(Value, frozen=True, kw_only=True):
    """Read blocks that we have seen again, for the watch of this owner and reason; `kind` is "tx"
    or "spend"."""

    kind: str
    owner: str
    reason: str
    since: int
    until: int


class Fetch(Value, frozen=True, kw_only=True):
    """The block at a height, for a follower."""

    follower: str
    height: int


class Send(Value, frozen=True, kw_only=True):
    """Into the mempool: what this owner wants to be mined for this purpose."""

    owner: str
    purpose: str
    raw: bytes


class Submitted(Value, frozen=True, kw_only=True):
    """What became of a `Send`: taken (or known, or mined), or `refused` with the reason."""

    owner: str
    purpose: str
    raw: bytes
    refused: str = ""


class Try(Value, frozen=True, kw_only=True):
    """Would it be taken?"""

    owner: str
    purpose: str
    raw: bytes


class Tried(Value, frozen=True, kw_only=True):
    """The answer to `Try`."""

    owner: str
    purpose: str
    raw: bytes
    refused: str = ""


class Polled(Value, frozen=True, kw_only=True):
    """`keep`: the height up to which our chain is still good; then the blocks that follow.

    `asked`: the height that the `Poll` named; what was found for an older one is out of date.
    """

    asked: int
    keep: int
    blocks: tuple[bytes, ...]
    feerate_per_kw: int


class Scanned(Value, frozen=True, kw_only=True):
    """One block of a `Scan`, or the last."""

    kind: str
    owner: str
    reason: str
    height: int
    raw: bytes
    last: bool


class Fetched(Value, frozen=True, kw_only=True):
    """The answer to `Fetch`."""

    follower: str
    height: int
    raw: bytes


class Away(Value, frozen=True, kw_only=True):
    """The backend does not answer; `reason` is empty when it does again."""

    reason: str


class Generated(Value, frozen=True, kw_only=True):
    """The answer to `generate`, to be given when we have read the chain up to `height`."""

    answer: Answer
    height: int


Order = Poll | Scan | Fetch | Send | Try | LookUp | Ask  # all that the machine may want of it
