"""What a monitor hears and tells, and the rows that it keeps beside the channel itself."""

from __future__ import annotations

from protocol.channel import items
from protocol.channel.state import Channel
from protocol.values import Value


class Guard(Value, frozen=True, kw_only=True):
    """From funding: a new channel, before anything of it may be broadcast or signed.

    `address` (host, port) is where we dialled the peer: kept in the same write as the channel.
    """

    channel: Channel
    since: int
    address: tuple[str, int] | None = None


class Guarding(Value, frozen=True, kw_only=True):
    """To funding: the channel is durable."""

    channel_id: bytes


class ChannelUsable(Value, frozen=True, kw_only=True):
    """To funding and payments: both channel_ready were exchanged."""

    channel_id: bytes
    peer: bytes
    scid: bytes


class ChannelEnded(Value, frozen=True, kw_only=True):
    """To funding and payments: there is nothing more to do off-chain."""

    channel_id: bytes
    reason: str


class HtlcArrived(Value, frozen=True, kw_only=True):
    """To payments: an HTLC of theirs is irrevocably committed."""

    channel_id: bytes
    htlc_id: int
    amount_msat: int
    payment_hash: bytes
    cltv_expiry: int
    onion: bytes


class HtlcEnded(Value, frozen=True, kw_only=True):
    """To payments: how an HTLC of ours ended, exactly one of the three."""

    origin: str
    preimage: bytes | None = None
    failure: bytes | None = None
    malformed: tuple[bytes, int] | None = None


class HtlcRefused(Value, frozen=True, kw_only=True):
    """To payments: the offer was never made; `final`: nor will it be on that channel."""

    origin: str
    reason: str
    final: bool = False


class Claim(Value, frozen=True, kw_only=True):
    """From payments: these parts are ours to claim. Each part is (channel id, HTLC id)."""

    payment_id: bytes
    preimage: bytes
    parts: tuple[tuple[bytes, int], ...]
    amount_msat: int
    label: str


class ClaimKept(Value, frozen=True, kw_only=True):
    """To payments: preimage and claim are durable in this channel's monitor."""

    payment_id: bytes
    channel_id: bytes


class PeerAddress(Value, frozen=True, kw_only=True):
    """From peers: where this node answered; row "address/<node>"."""

    node_id: bytes
    host: str
    port: int


class Reborn(Value, frozen=True, kw_only=True):
    """From peers: the channel met a defect and is to be born again."""

    channel_id: bytes


class Addresses(Value, frozen=True, kw_only=True):
    """To peers, after all channels were born: nothing more will come, and where to dial."""

    known: tuple[PeerAddress, ...]


class Secret(Value, frozen=True, kw_only=True):
    """Row "secret/<channel>/<bucket>"."""

    index: int
    value: bytes


class Preimage(Value, frozen=True, kw_only=True):
    """Row "preimage/<channel>/<htlc id>": they fulfilled our HTLC."""

    value: bytes


class Watch(Value, frozen=True, kw_only=True):
    """Row "watch/<channel>": what the monitor itself knows of the channel.

    `ended` names why it is no more; `spent_by` is the transaction (hex, as users see it).
    """

    usable_told: bool = False
    locked: bytes | None = None
    buried: bytes | None = None
    close: items.CloseRequest | None = None
    ended: str | None = None
    spent_by: str | None = None
    alarm: str | None = None


class ForgetUnfunded(Value, frozen=True, kw_only=True):
    """From funding: the channel was never funded, and never will be."""

    channel_id: bytes
