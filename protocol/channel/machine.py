"""The table of contents of a channel: which event is handled where."""

from __future__ import annotations

from typing import assert_never

from protocol.channel import announcing, operation, reestablish, shutdown
from protocol.channel import living as living
from protocol.channel.living import Live, Turn
from protocol.channel.messages import (
    OVER,
    WITHDRAWN,
    AddHtlc,
    Born,
    CloseRequest,
    Durable,
    Ended,
    FundingBuried,
    FundingConfirmed,
    Held,
    ResolveHtlc,
    ToChannel,
    Unheld,
)
from protocol.errors import PeerFault
from protocol.wire import closing, commitment, gossip, opening, setup
from protocol.wire.message import Message

# what a peer may say before it needs an answer of ours: 483 additions, as many removals, and more
MAX_INBOX = 1_500


def hear_monitor(turn: Turn, item: ToChannel) -> None:
    """What the monitor says; each may be said twice."""
    live = turn.live
    match item:
        case Durable():
            living.durable(turn, item.update_id)
        case AddHtlc():
            if item.origin not in _spoken_for(turn):
                turn.live = live.but(adds=live.adds | {item.origin: item})
        case ResolveHtlc():
            turn.live = live.but(resolutions=live.resolutions | {item.htlc_id: item})
        case Held():
            turn.live = live.but(holds=live.holds | {item.hold})
        case Unheld():
            turn.live = live.but(holds=live.holds - {item.hold})
        case CloseRequest():
            turn.live = live.but(close=item)
        case FundingConfirmed():
            _confirmed(turn, item)
        case FundingBuried():
            announcing.buried(turn, item)
        case Born():
            _heard_again(turn, item)
        case Ended():
            pass  # the host forgets the channel
        case _:
            assert_never(item)


def _spoken_for(turn: Turn) -> set[str]:
    """Offers that are HTLCs by now, and those whose refusal the monitor has not written yet."""
    live = turn.live
    refusals = [*live.refused, *(one for update in live.unacked for one in update.refused)]
    htlcs = {htlc.origin for htlc in live.channel.htlcs.values() if htlc.ours}
    return htlcs | {origin for origin, _, _ in refusals}


def _confirmed(turn: Turn, item: FundingConfirmed) -> None:
    core = turn.channel.core
    if core.ready_sent:
        if core.scid != item.scid:  # a reorganisation put it elsewhere
            turn.set(turn.channel.with_core(scid=item.scid))
        return
    turn.set(turn.channel.with_core(scid=item.scid, ready_sent=True))
    if turn.live.established:
        turn.send(reestablish.channel_ready(turn))


def _heard_again(turn: Turn, item: Born) -> None:
    """The monitor came back while the channel lived: only its wishes can be new to us, and of
    its holds those that it has not let go of yet."""
    # of a fulfilled forward it may not have heard; it answers when we say the preimage again
    ours = {hold for hold in turn.live.holds if hold.startswith("ours/")}
    turn.live = turn.live.but(holds=frozenset(item.holds) | ours)
    for offer in item.adds:
        hear_monitor(turn, offer)
    for settle in item.resolutions:
        hear_monitor(turn, settle)
    if item.close is not None:
        hear_monitor(turn, item.close)
    hear_facts(turn, item)


def hear_facts(turn: Turn, item: Born) -> None:
    """What the chain has said of the funding transaction so far."""
    if item.confirmed is not None:
        _confirmed(turn, item.confirmed)
    if item.buried is not None:
        announcing.buried(turn, item.buried)


def hear_peer(turn: Turn, message: Message) -> None:
    """What the peer says about this channel. Raises `PeerFault`."""
    if turn.channel.core.failed is not None:
        return  # "SHOULD retransmit the error packet and ignore any other packets"
    if isinstance(message, setup.Error):
        text = message.data.decode("ascii", "replace")[:200]
        turn.set(turn.channel.with_core(failed=f"the peer sent an error: {text!r}"))
        return
    if isinstance(message, commitment.ChannelReestablish):
        reestablish.on_reestablish(turn, message)
        if turn.live.established and turn.channel.core.failed is None:
            shutdown.resend_shutdown(turn)
        return
    # "MUST wait to receive the other node's channel_reestablish message before sending any other
    # messages for that channel"
    if not turn.live.established:
        raise PeerFault("a channel message before channel_reestablish", fatal=False)
    if waits(turn.live, message):
        # ours: no honest peer says so much before its turn
        if len(turn.live.inbox) >= MAX_INBOX:
            raise PeerFault("too much was said without a revoke_and_ack of ours", fatal=False)
        turn.live = turn.live.but(inbox=(*turn.live.inbox, message))
        return
    _operate(turn, message)


def waits(live: Live, message: Message) -> bool:
    """The blocking action: while a claim or a forwarded preimage is not durable wherever it has to
    be, no revoke_and_ack is applied, nor anything behind it. Unapplied, it is as if it had not
    come: a crash loses nothing, for the peer says it again."""
    return bool(live.inbox or live.holds and isinstance(message, commitment.RevokeAndAck))


def unheld(live: Live) -> tuple[Live, tuple[Message, ...]]:
    """What waited behind a hold, if there is none any more; it is to be heard now, in order."""
    if live.holds or not live.inbox:
        return live, ()
    return live.but(inbox=()), live.inbox


def _operate(turn: Turn, message: Message) -> None:
    match message:
        case opening.ChannelReady():
            operation.on_channel_ready(turn, message)
        case commitment.UpdateAddHtlc():
            operation.on_add(turn, message)
        case commitment.UpdateFulfillHtlc():
            operation.on_fulfill(turn, message)
        case commitment.UpdateFailHtlc():
            operation.on_fail(turn, message)
        case commitment.UpdateFailMalformedHtlc():
            operation.on_fail_malformed(turn, message)
        case commitment.UpdateFee():
            operation.on_fee(turn, message)
        case commitment.CommitmentSigned():
            operation.on_commitment_signed(turn, message)
        case commitment.RevokeAndAck():
            operation.on_revoke_and_ack(turn, message)
        case gossip.AnnouncementSignatures():
            announcing.on_announcement_signatures(turn, message)
        case _:
            _close(turn, message)


def _close(turn: Turn, message: Message) -> None:
    match message:
        case closing.Shutdown():
            shutdown.on_shutdown(turn, message)
        case closing.ClosingSigned():
            shutdown.on_closing_signed(turn, message)
        case closing.ClosingComplete():
            shutdown.on_closing_complete(turn, message)
        case closing.ClosingSig():
            shutdown.on_closing_sig(turn, message)
        case _:
            # a message of the opening, or of what was not negotiated
            raise PeerFault(f"{type(message).__name__} is not for a funded channel", fatal=False)


def drain(turn: Turn) -> None:
    """The end of a turn: say what waits, sign once, and give the monitor one update."""
    _refuse_what_is_over(turn)
    if turn.live.established and turn.channel.core.failed is None:
        operation.propose(turn)
        operation.commit(turn)
        announcing.say_half(turn)
        shutdown.shutdown(turn)
        shutdown.negotiate(turn)
    elif turn.channel.core.failed is not None or turn.channel.core.closing_tx is not None:
        _refuse_all(turn, turn.channel.core.failed or "the channel is closing")
    living.persist(turn)


def _refuse_what_is_over(turn: Turn) -> None:
    """Also while nobody is connected. What was proposed is committed to in the same turn."""
    known = {htlc.origin for htlc in turn.channel.htlcs.values() if htlc.ours}
    for offer in list(turn.live.adds.values()):
        if offer.origin in known:
            continue
        if offer.withdrawn:
            operation.refuse(turn, offer.origin, WITHDRAWN, final=False)
        elif turn.height is not None and turn.height > offer.last_height:
            operation.refuse(turn, offer.origin, OVER, final=False)


def _refuse_all(turn: Turn, reason: str) -> None:
    known = {htlc.origin for htlc in turn.channel.htlcs.values()}
    for origin in [origin for origin in turn.live.adds if origin not in known]:
        operation.refuse(turn, origin, reason, final=True)
