"""What each of our channels can take now, for who looks for routes."""

from __future__ import annotations

from protocol.channel.live import Live
from protocol.channel.room import Room as Headroom
from protocol.channel.state import alias_of
from protocol.machine import Step
from protocol.peer.rows import LIVES
from protocol.router.items import FindRoutes, Room


def fill_in(step: Step, question: FindRoutes) -> None:
    """On its way from payments to the router."""
    rows = LIVES.below(step).values()
    rooms = tuple(_room(row) for row in rows if row.channel.core.usable)
    step.say("router", question.but(rooms=rooms))


def _room(row: Live) -> Room:
    channel = row.channel
    return Room(
        channel_id=channel.id,
        scid=channel.core.scid or alias_of(channel.id),
        peer=channel.setup.peer,
        spendable_msat=Headroom(channel).spendable_msat,
        minimum_msat=max(1, channel.setup.theirs.htlc_minimum_msat),
        ready=row.established,
    )
