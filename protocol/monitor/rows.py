"""What a monitor keeps: the channels themselves, wishes and preimages, and how channels ended."""

from __future__ import annotations

from protocol.channel import items
from protocol.channel.state import Core, Htlc, Setup
from protocol.machine import Ask
from protocol.monitor.items import Claim, PeerAddress
from protocol.segment import Segment
from protocol.values import Value


class KeptClaim(Value, frozen=True, kw_only=True):
    """A claim of this channel. `released`: it is durable in all its monitors (and if
    there are several, payments has written so)."""

    claim: Claim
    released: bool = False


class Secret(Value, frozen=True, kw_only=True):
    """A revealed commitment secret, of a bucket of BOLT 3's compact storage."""

    index: int
    value: bytes


class Preimage(Value, frozen=True, kw_only=True):
    """They fulfilled our HTLC. `released`: of a forward, the
    preimage is durable upstream too."""

    value: bytes
    released: bool = False


class Watch(Value, frozen=True, kw_only=True):
    """What the monitor itself knows of the channel.

    `since`: the first height at which its funding output may be spent. `ended` names why it is no
    more, `ended_height` where; `spent_by` is the transaction (hex, as users see it). `stopped`: the
    id of an update that was put aside for a defect of ours: until it is written the channel rests.
    """

    since: int = 0
    usable_told: bool = False
    locked: bytes | None = None
    buried: bytes | None = None
    close: items.CloseRequest | None = None
    ended: str | None = None
    ended_height: int | None = None
    spent_by: str | None = None
    alarm: str | None = None
    stopped: int | None = None


class Closing(Value, frozen=True, kw_only=True):
    """The commitment that closed it, `ours` or theirs. `to`: the script of
    our wallet that gets what is ours of it. `buried`: it is irrevocable. `done`: so is all else."""

    raw: bytes
    txid: bytes
    height: int
    ours: bool
    to: bytes | None = None
    buried: bool = False
    done: bool = False


class TakenOutput(Value, frozen=True, kw_only=True):
    """An output of that transaction, `what` as in `mined.Found`.

    `sent`: the txid of ours that takes it. `by`: of the one that was mined; `final`: irrevocably.
    """

    what: str
    sent: bytes | None = None
    by: bytes | None = None
    final: bool = False


# all by channel id (32 bytes)
SETUPS = Segment("setup", Setup, by=(bytes,))
CORES = Segment("core", Core, by=(bytes,))
HTLCS = Segment("htlc", Htlc, by=(bytes, str, int))  # whose ("ours", "theirs"), and its id
SECRETS = Segment("secret", Secret, by=(bytes, int))  # and bucket
OFFERS = Segment("offer", items.Offer, by=(bytes, str))  # and origin
SETTLES = Segment("settle", items.Settle, by=(bytes, int))  # and the id of an HTLC of theirs
PREIMAGES = Segment("preimage", Preimage, by=(bytes, int))  # and the id of an HTLC of ours
WATCHES = Segment("watch", Watch, by=(bytes,))
CLAIMS = Segment("claim", KeptClaim, by=(bytes, bytes))  # and payment id
CLOSINGS = Segment("closing", Closing, by=(bytes,))
TAKEN = Segment("taken", TakenOutput, by=(bytes, int))  # and output
CLOSERS = Segment("~closer", Ask, by=(bytes, str))  # who asked to close it, by the question's id

ADDRESSES = Segment("address", PeerAddress, by=(bytes,))  # by node id

KEEPS = (
    SETUPS, CORES, HTLCS, SECRETS, OFFERS, SETTLES, PREIMAGES, WATCHES, CLAIMS, ADDRESSES,
    CLOSINGS, TAKEN,
)  # fmt: skip
