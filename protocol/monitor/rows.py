"""What a monitor keeps: the channels themselves, wishes and preimages, and how channels ended."""

from __future__ import annotations

from protocol.channel.messages import End
from protocol.channel.state import Core, Htlc, Setup
from protocol.machine import Ask
from protocol.segment import Segment
from protocol.values import Value


class KeptAdd(Value, frozen=True, kw_only=True, tag="kept_add"):
    """A wish (`AddHtlc`) that is not carried out yet."""

    origin: str
    amount_msat: int
    payment_hash: bytes
    cltv_expiry: int
    onion: bytes
    last_height: int = 0
    withdrawn: bool = False


class KeptResolution(Value, frozen=True, kw_only=True, tag="kept_resolution"):
    """How an HTLC of theirs is to end (`ResolveHtlc`)."""

    payment_id: bytes = b""
    preimage: bytes | None = None
    failure: bytes | None = None
    malformed: tuple[bytes, int] | None = None


class KeptClose(Value, frozen=True, kw_only=True, tag="kept_close"):
    """The operator's wish (`CloseRequest`)."""

    script: bytes
    feerate_per_kw: int


class KnownAddress(Value, frozen=True, kw_only=True, tag="known_address"):
    """Where a node has answered."""

    host: str
    port: int


class KeptClaim(Value, frozen=True, kw_only=True, tag="kept_claim"):
    """A claim of this channel, with the fields of `Claim`. `released`: it is durable in all its
    monitors (and if there are several, payments has written so)."""

    payment_id: bytes
    preimage: bytes
    parts: tuple[tuple[bytes, int], ...]
    amount_msat: int
    label: str
    description: str
    released: bool = False


class Secret(Value, frozen=True, kw_only=True, tag="secret"):
    """A revealed commitment secret, of a bucket of BOLT 3's compact storage."""

    index: int
    value: bytes


class Preimage(Value, frozen=True, kw_only=True, tag="preimage"):
    """They fulfilled our HTLC. `released`: of a forward, the
    preimage is durable upstream too."""

    value: bytes
    released: bool = False


class Watch(Value, frozen=True, kw_only=True, tag="watch"):
    """What the monitor itself knows of the channel.

    `since`: the first height at which its funding output may be spent. `ended` names why it is no
    more, `ended_height` where; `spent_by` is the transaction (hex, as users see it). `stopped`:
    what of it was put aside for a defect of ours: until all that is heard the channel rests.
    """

    since: int = 0
    usable_told: bool = False
    confirmed: bytes | None = None
    buried: bytes | None = None
    close: KeptClose | None = None
    ended: End | None = None
    ended_height: int | None = None
    spent_by: str | None = None
    alarm: str | None = None
    stopped: tuple[str, ...] = ()


class Closing(Value, frozen=True, kw_only=True, tag="closing"):
    """The commitment that closed it, `ours` or theirs. `to`: the script of
    our wallet that gets what is ours of it. `buried`: it is irrevocable. `done`: so is all else."""

    raw: bytes
    txid: bytes
    height: int
    ours: bool
    to: bytes | None = None
    buried: bool = False
    done: bool = False


class TakenOutput(Value, frozen=True, kw_only=True, tag="taken_output"):
    """An output of that transaction, `what` as in `mined.FoundOutput`.

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
ADDS = Segment("add_htlc", KeptAdd, by=(bytes, str))  # and origin
RESOLUTIONS = Segment(
    "resolve_htlc", KeptResolution, by=(bytes, int)
)  # and the id of an HTLC of theirs
PREIMAGES = Segment("preimage", Preimage, by=(bytes, int))  # and the id of an HTLC of ours
WATCHES = Segment("watch", Watch, by=(bytes,))
CLAIMS = Segment("claim", KeptClaim, by=(bytes, bytes))  # and payment id
CLOSINGS = Segment("closing", Closing, by=(bytes,))
TAKEN = Segment("taken", TakenOutput, by=(bytes, int))  # and output
CLOSERS = Segment("~closer", Ask, by=(bytes, str))  # who asked to close it, by the question's id

ADDRESSES = Segment("address", KnownAddress, by=(bytes,))  # by node id

KEEPS = (
    SETUPS, CORES, HTLCS, SECRETS, ADDS, RESOLUTIONS, PREIMAGES, WATCHES, CLAIMS, ADDRESSES,
    CLOSINGS, TAKEN,
)  # fmt: skip
