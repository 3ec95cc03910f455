"""What a peer says of an opening that is negotiated: which one is meant, what may be said next, and
what a fault costs."""

from __future__ import annotations

from protocol.errors import PeerFault
from protocol.funding import accepter, negotiations, opener, openings
from protocol.funding.messages import FromPeer, ToPeer
from protocol.funding.negotiations import PATIENCE_SECONDS, Funder, by_channel
from protocol.funding.rows import NEGOTIATIONS, Negotiation
from protocol.machine import Moment, Step
from protocol.wire import registry, setup
from protocol.wire.message import Message
from protocol.wire.opening import AcceptChannel, FundingCreated, FundingSigned, OpenChannel


def from_peer(us: Funder, step: Step, item: FromPeer, at: Moment) -> None:
    """A fault, theirs or ours, ends the negotiation that it is about, and no other."""
    try:
        with step.all_or_nothing():
            _dispatch(us, step, item, at)
    except PeerFault as fault:
        _end(us, step, item, str(fault), f"the peer broke a rule: {fault}")
    except Exception as defect:
        step.log(f"an opening met a defect of ours: {type(defect).__name__}: {defect}")
        text = "a defect of ours ended the opening: please report the log"
        _end(us, step, item, "internal error", text)


def _dispatch(us: Funder, step: Step, item: FromPeer, at: Moment) -> None:
    message = registry.decode(item.message)
    if isinstance(message, OpenChannel):
        accepter.on_open(us, step, item, message, at)
        step.wake(at.unix_seconds + PATIENCE_SECONDS)
        return
    negotiation = _meant(step, item, message)
    if negotiation is None:
        if not isinstance(message, setup.Error):
            # BOLT 1: whose channel_id is unknown, but for an error, which may be late
            raise PeerFault("a message for an opening that we do not know")
        _refused_late(step, item, message)
        return
    # BOLT 2, channel establishment: the messages in their order
    if not isinstance(message, (setup.Error, *_awaited(negotiation))):
        raise PeerFault(f"{type(message).__name__} is not what this opening waits for")
    match message:
        case AcceptChannel():
            opener.on_accept(us, step, negotiation, message)
        case FundingCreated():
            accepter.on_created(us, step, negotiation, message)
        case FundingSigned():
            opener.on_signed(us, step, negotiation, message)
        case setup.Error():
            text = message.data.decode("ascii", "replace")[:200]
            abandon(us, step, negotiation, f"the peer refused: {text!r}")
        case _:
            raise PeerFault(f"{type(message).__name__} is not for an opening")


def _awaited(item: Negotiation) -> tuple[type[Message], ...]:
    """What the peer may say next in this opening, by our role and how far it has come."""
    if item.we_opened and item.accepted is None:
        return (AcceptChannel,)
    if item.we_opened:
        return (FundingSigned,) if item.channel is not None and not item.signed else ()
    return (FundingCreated,) if item.created is None else ()


def _meant(step: Step, item: FromPeer, message: Message | None) -> Negotiation | None:
    """funding_signed names the channel by its real id, everything else by the temporary one."""
    if isinstance(message, FundingSigned):
        return _signed_one(step, item)
    found = negotiations.find(step, item.peer, item.message[2:34])
    if isinstance(message, setup.Error):
        found = found or _signed_one(step, item)
    return found


def _signed_one(step: Step, item: FromPeer) -> Negotiation | None:
    """This peer's negotiation whose channel has the id that stands first in the message."""
    for _, row in NEGOTIATIONS.each(step):
        known = row.channel.id if row.channel is not None else None
        if row.peer == item.peer and known == item.message[2:34]:
            return row
    return None


def _refused_late(step: Step, item: FromPeer, message: setup.Error) -> None:
    """The peer takes its signature back; nothing has left the node yet."""
    record = by_channel(step, item.peer, message.channel_id)
    if record is not None and record.state in openings.UNSENT:
        text = message.data.decode("ascii", "replace")[:200]
        openings.give_up(step, record, f"the peer refused: {text!r}")


def _end(us: Funder, step: Step, item: FromPeer, to_peer: str, why: str) -> None:
    temporary = item.message[2:34]
    if item.message[:2] == OpenChannel.TYPE.to_bytes(2, "big"):
        temporary = item.message[34:66]
    # of a message that ends early: 32 zero bytes would fail all channels with this peer
    named = temporary.ljust(32, b"\xff")
    error = setup.Error(channel_id=named, data=to_peer.encode())
    step.tell("peers", ToPeer(peer=item.peer, message=error.encode()))
    negotiation = negotiations.find(step, item.peer, temporary)
    if negotiation is None and item.message[:2] == FundingSigned.TYPE.to_bytes(2, "big"):
        negotiation = _signed_one(step, item)
    if negotiation is not None:
        abandon(us, step, negotiation, why)


def abandon(us: Funder, step: Step, item: Negotiation, why: str) -> None:
    """It is forgotten on our side; an asker of ours is told."""
    if item.we_opened:
        opener.failed(us, step, item, why)
    else:
        accepter.abandon(step, item)


def peer_lost(us: Funder, step: Step, peer: bytes) -> None:
    """A negotiation lives as long as its connection."""
    for item in NEGOTIATIONS.below(step).values():
        if item.peer == peer:
            abandon(us, step, item, negotiations.LOST)


def out_of_patience(us: Funder, step: Step, at: Moment) -> None:
    """A peer that falls silent must not hold coins, nor a place that others want."""
    for item in NEGOTIATIONS.below(step).values():
        if at.unix_seconds - item.began >= PATIENCE_SECONDS:
            negotiations.tell_peer(step, item, "the opening took too long")
            abandon(us, step, item, "the peer did not answer in time")
    if NEGOTIATIONS.count(step):
        step.wake(at.unix_seconds + PATIENCE_SECONDS / 4)
