"""Our channels as payments knows them: with whom, by what name, on which terms."""

from __future__ import annotations

from protocol.channel.state import alias_of
from protocol.gossip.items import OwnTerms
from protocol.machine import Moment, Step
from protocol.monitor.items import ChannelUsable
from protocol.payments.rows import ChannelRow, TermsRow

GRACE_SECONDS = 600.0


def usable(step: Step, item: ChannelUsable) -> None:
    row = ChannelRow(peer=item.peer, scid=item.scid, hidden=item.hidden)
    step.put(f"channel/{item.channel_id.hex()}", row)
    step.drop("~channels")


def ended(step: Step, channel_id: bytes) -> None:
    step.drop(f"channel/{channel_id.hex()}")
    step.drop(f"terms/{channel_id.hex()}")
    step.drop("~channels")


def terms(step: Step, item: OwnTerms, at: Moment) -> None:
    key = f"terms/{item.channel_id.hex()}"
    known = step.get(key)
    if known is None or known.now.ours == item.ours:
        row = TermsRow(now=item) if known is None else known.but(now=item)
    else:
        row = TermsRow(now=item, before=known.now.ours, until=at.unix_seconds + GRACE_SECONDS)
    if row != known:
        step.put(key, row)


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
    index: tuple[tuple[bytes, ChannelRow], ...] | None = step.get("~channels")
    if index is None:
        rows = step.scan("channel/").items()
        index = tuple((bytes.fromhex(key.removeprefix("channel/")), row) for key, row in rows)
        step.put("~channels", index)
    return index
