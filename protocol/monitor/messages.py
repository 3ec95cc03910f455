"""What a monitor hears and tells."""

from __future__ import annotations

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
    """To funding: the channel of this opening is durable. An opening is named by its `key_index`,
    which is ours to give: what the wire calls a channel follows from what the peer chooses."""

    key_index: int


class HtlcArrived(Value, frozen=True, kw_only=True):
    """To payments: an HTLC of theirs is irrevocably committed. `dusty`: it is to be failed."""

    channel_id: bytes
    htlc_id: int
    amount_msat: int
    payment_hash: bytes
    cltv_expiry: int
    onion: bytes
    dusty: bool = False


class HtlcEnded(Value, frozen=True, kw_only=True):
    """To payments: how an HTLC of ours ended, at most one of the three; with none of them the
    channel was closed on chain, and nobody has claimed it there."""

    origin: str
    channel_id: bytes
    htlc_id: int
    preimage: bytes | None = None
    failure: bytes | None = None
    malformed: tuple[bytes, int] | None = None


class HtlcRefused(Value, frozen=True, kw_only=True):
    """To payments: the offer was never made; `final`: nor will it be on that channel."""

    origin: str
    reason: str
    final: bool = False


class Claim(Value, frozen=True, kw_only=True):
    """From payments, to each monitor of the set: these parts are ours to claim, all or none.

    A fact, without a number. `parts`: (channel id, HTLC id) of the whole set, over all channels;
    `payment_id` (32 bytes) names the set. The rest is what the user's event says, so that any one
    monitor can bring a payment back that payments has lost.
    """

    channel_id: bytes
    payment_id: bytes
    preimage: bytes
    parts: tuple[tuple[bytes, int], ...]
    amount_msat: int
    label: str
    description: str = ""

    @property
    def channels(self) -> tuple[bytes, ...]:
        """The channels of its parts, each once, in their order."""
        return tuple(dict.fromkeys(channel for channel, _ in self.parts))


class ClaimKept(Value, frozen=True, kw_only=True):
    """To payments: preimage and claim are durable in this channel's monitor."""

    payment_id: bytes
    channel_id: bytes


class ClaimFound(Value, frozen=True, kw_only=True):
    """To payments, at its start: a claim whose parts are not all gone from this channel."""

    claim: Claim
    released: bool


class ResolutionKept(Value, frozen=True, kw_only=True):
    """To payments: the preimage for this HTLC of theirs is durable, or it is not needed."""

    channel_id: bytes
    htlc_id: int


class Release(Value, frozen=True, kw_only=True):
    """From payments: `hold` (see `holds`) has no reason any more."""

    channel_id: bytes
    hold: str


class ReportState(Value, frozen=True, kw_only=True):
    """From payments with a new snapshot, perhaps after a loss: what is there of channels, claims,
    and HTLCs? The answer ends with `StateReported`."""


class HtlcStands(Value, frozen=True, kw_only=True):
    """To payments, which has asked: an HTLC of ours, or the wish for one."""

    origin: str
    channel_id: bytes
    amount_msat: int
    payment_hash: bytes
    cltv_expiry: int


class StateReported(Value, frozen=True, kw_only=True):
    """To payments, which has asked: this monitor has said all. `of`: so many have to say it.
    `used`: its channels have carried HTLCs, so that there was an earlier snapshot."""

    of: int
    used: bool


class PeerAddress(Value, frozen=True, kw_only=True):
    """From peers: where this node answered; kept. To peers: dial it."""

    node_id: bytes
    host: str
    port: int


class Reborn(Value, frozen=True, kw_only=True):
    """From peers: the channel met a defect and is to be born again."""

    channel_id: bytes


class Addresses(Value, frozen=True, kw_only=True):
    """To peers, after all channels of this monitor were born: nothing more will come, and where
    to dial. `of`: so many monitors have to say it before there is nothing more at all."""

    known: tuple[PeerAddress, ...]
    of: int = 1


class ForgetUnfunded(Value, frozen=True, kw_only=True):
    """From funding: the channel of this opening was never funded, and never will be."""

    channel_id: bytes
    key_index: int
