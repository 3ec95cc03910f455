"""What a channel and its monitor say to each other, and what others ask of the monitor.

`Update` is numbered: ids rise by one, and each is acknowledged by `Durable` when it is on disk.
`LearnedPreimage` is a fact: without a number, idempotent, never queued behind anything.
"""

from __future__ import annotations

from typing import Literal

from protocol.channel.state import Channel, Core, Htlc
from protocol.values import Value


class Update(Value, frozen=True, kw_only=True):
    """All that changed on a channel in one step.

    `gone`: keys of HTLCs that are irrevocably removed. `secret`: (bucket, index, secret) of a
    revocation. `refused`: (origin, reason, final) of offers that are not made.
    """

    channel_id: bytes
    update_id: int
    core: Core
    htlcs: tuple[Htlc, ...] = ()
    gone: tuple[str, ...] = ()
    secret: tuple[int, int, bytes] | None = None
    refused: tuple[tuple[str, str, bool], ...] = ()


class LearnedPreimage(Value, frozen=True, kw_only=True):
    """The peer fulfilled an HTLC of ours."""

    channel_id: bytes
    htlc_id: int
    preimage: bytes


class Durable(Value, frozen=True, kw_only=True):
    """The monitor has update `update_id` and all before it on disk."""

    channel_id: bytes
    update_id: int


class AddHtlc(Value, frozen=True, kw_only=True):
    """Please add an HTLC. `origin` is unique for ever: the same origin is never added twice.

    `last_height`: no block may be higher when it is added; a wish that has waited longer is refused
    where it would be carried out. `withdrawn`: not any more, unless it has been committed to.
    """

    channel_id: bytes
    origin: str
    amount_msat: int
    payment_hash: bytes
    cltv_expiry: int
    onion: bytes
    last_height: int = 0
    withdrawn: bool = False


class CancelAdd(Value, frozen=True, kw_only=True):
    """Do not offer it any more, if it has not been committed to."""

    channel_id: bytes
    origin: str


class ResolveHtlc(Value, frozen=True, kw_only=True):
    """How an HTLC of theirs ends: exactly one of the three is given. `payment_id`: of the claim
    that it is a part of."""

    channel_id: bytes
    htlc_id: int
    payment_id: bytes = b""
    preimage: bytes | None = None
    failure: bytes | None = None
    malformed: tuple[bytes, int] | None = None


class CloseRequest(Value, frozen=True, kw_only=True):
    """Close together; `feerate_per_kw` is what we pay if we opened."""

    channel_id: bytes
    script: bytes
    feerate_per_kw: int


class FundingConfirmed(Value, frozen=True, kw_only=True):
    """The funding transaction is as deep as agreed; `scid` (8 bytes) says where. `key_index`: of
    the opening."""

    channel_id: bytes
    key_index: int
    scid: bytes


class FundingBuried(Value, frozen=True, kw_only=True):
    """The funding transaction is so deep that the channel may be announced."""

    channel_id: bytes
    key_index: int
    scid: bytes


class Held(Value, frozen=True, kw_only=True):
    """The blocking action: from now on no revoke_and_ack is applied, until `Unheld`."""

    channel_id: bytes
    hold: str


class Unheld(Value, frozen=True, kw_only=True):
    """This hold has no reason any more."""

    channel_id: bytes
    hold: str


class Born(Value, frozen=True, kw_only=True):
    """Everything that a channel needs to live again, from its monitor. `holds` are derived anew
    each time, from the claims and preimages that it has."""

    channel: Channel
    holds: tuple[str, ...] = ()
    adds: tuple[AddHtlc, ...] = ()
    resolutions: tuple[ResolveHtlc, ...] = ()
    close: CloseRequest | None = None
    confirmed: FundingConfirmed | None = None
    buried: FundingBuried | None = None


class Ended(Value, frozen=True, kw_only=True):
    """The channel is no more: its funding output was spent, or it was never funded."""

    channel_id: bytes


class Rests(Value, frozen=True, kw_only=True):
    """What carries the channel's truth was put aside for a defect of ours: it is not to live on."""

    channel_id: bytes


class ChannelUsable(Value, frozen=True, kw_only=True):
    """To funding and payments: both channel_ready were exchanged. To payments again when the
    channel's place has changed. `hidden`: it is never named by its place."""

    channel_id: bytes
    key_index: int
    peer: bytes
    scid: bytes
    hidden: bool = False


# closed together, or by a commitment alone; its funding never came, it was never taken, or it has a
# twin
End = Literal["mutual", "unilateral", "unfunded", "failed", "duplicate"]


class ChannelEnded(Value, frozen=True, kw_only=True):
    """To funding and payments: there is nothing more to do off-chain."""

    channel_id: bytes
    key_index: int
    reason: End


ToLiving = (
    Durable | AddHtlc | ResolveHtlc | Held | Unheld | CloseRequest
    | FundingConfirmed | FundingBuried
)  # fmt: skip
ToChannel = ToLiving | Born | Ended

WITHDRAWN, OVER = "withdrawn", "its last height has passed"  # why an offer was refused

FORWARD = "forward/"  # an origin that begins so is an HTLC that we relay


def forward_hold(htlc_id: int) -> str:
    """The hold of a forwarded HTLC that was fulfilled: its preimage is not durable upstream."""
    return f"ours/{htlc_id}"


def claim_hold(payment_id: bytes) -> str:
    """The hold of a claim that is not durable in all its monitors."""
    return f"claim/{payment_id.hex()}"
