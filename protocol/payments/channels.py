"""Our channels as payments knows them: with whom, by what name, on which terms."""

from __future__ import annotations

from protocol.channel.messages import ChannelUsable
from protocol.gossip.messages import OwnTerms
from protocol.machine import Moment, Step
from protocol.payments.rows import CHANNELS, INDEX, TERMS, ChannelRow, TermsRow
from protocol.scid import alias_of

GRACE_SECONDS = 600.0


def usable(step: Step, item: ChannelUsable) -> None:
    """A channel carries payments from now on."""
    row = ChannelRow(peer=item.peer, scid=item.scid, hidden=item.hidden)
    CHANNELS.put(step, row, item.channel_id)
    INDEX.drop(step)


def ended(step: Step, channel_id: bytes) -> None:
    """A channel was closed: nothing is sent over it any more."""
    CHANNELS.drop(step, channel_id)
    TERMS.drop(step, channel_id)
    INDEX.drop(step)


def terms(step: Step, item: OwnTerms, at: Moment) -> None:
    """Fees and limits of a channel of ours. Those of before are honoured for a while, for payers
    who have not heard of the new ones."""
    known = TERMS.get(step, item.channel_id)
    row = item.into(TermsRow, before=None, until=0.0)
    if known is not None and known.ours == item.ours:
        row = row.but(before=known.before, until=known.until)
    elif known is not None:
        row = row.but(before=known.ours, until=at.unix_seconds + GRACE_SECONDS)
    if row != known:
        TERMS.put(step, row, item.channel_id)


def channels_to(step: Step, destination: bytes) -> list[bytes]:
    """Ids of our channels with this node, in a fixed order."""
    return [channel for channel, row in _all(step) if row.peer == destination]


def count(step: Step) -> int:
    """How many channels we can use."""
    return len(_all(step))


def named(step: Step, scid: bytes) -> bytes | None:
    """The id of the channel that this name (8 bytes) means to others."""
    for channel, row in _all(step):
        if scid == alias_of(channel) or scid == row.scid and not row.hidden:
            return channel
    return None


def _all(step: Step) -> tuple[tuple[bytes, ChannelRow], ...]:
    index = INDEX.get(step)
    if index is None:
        index = tuple((channel, row) for (channel,), row in CHANNELS.below(step).items())
        INDEX.put(step, index)
    return index
