"""Our channels as payments knows them: with whom, by what name, on which terms."""

from __future__ import annotations

from protocol.channel.state import alias_of
from protocol.gossip.items import OwnTerms
from protocol.machine import Moment, Step
from protocol.monitor.items import ChannelUsable
from protocol.payments.rows import CHANNELS, INDEX, TERMS, ChannelRow, TermsRow

GRACE_SECONDS = 600.0


def usable(step: Step, item: ChannelUsable) -> None:
    row = ChannelRow(peer=item.peer, scid=item.scid, hidden=item.hidden)
    CHANNELS.put(step, row, item.channel_id)
    INDEX.drop(step)


def ended(step: Step, channel_id: bytes) -> None:
    CHANNELS.drop(step, channel_id)
    TERMS.drop(step, channel_id)
    INDEX.drop(step)


def terms(step: Step, item: OwnTerms, at: Moment) -> None:
    known = TERMS.get(step, item.channel_id)
    if known is None or known.now.ours == item.ours:
        row = TermsRow(now=item) if known is None else known.but(now=item)
    else:
        row = TermsRow(now=item, before=known.now.ours, until=at.unix_seconds + GRACE_SECONDS)
    if row != known:
        TERMS.put(step, row, item.channel_id)


def channels_to(step: Step, destination: bytes) -> list[bytes]:
    """Ids of our channels with this node, in a fixed order."""
    return [channel for channel, row in _all(step) if row.peer == destination]


def count(step: Step) -> int:
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
