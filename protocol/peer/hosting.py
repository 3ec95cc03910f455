"""The channels that live here: born from their monitors, what is said of them, and the defects of
ours that end such a life."""

from __future__ import annotations

from collections.abc import Callable

from protocol.chain.messages import TIP, Tip
from protocol.channel import living, machine, messages, reestablish
from protocol.channel.living import Live, Turn
from protocol.errors import PeerFault
from protocol.funding.messages import UnknownChannel
from protocol.machine import Moment, Step
from protocol.monitor.messages import Reborn
from protocol.peer import channels, connections
from protocol.peer.channels import Us
from protocol.peer.rows import DEFECTS, EARLY, LIVES, PEERS, TARGETS, UNBORN, Early, Peer
from protocol.wire.message import Message
from protocol.wire.opening import ChannelReady

MAX_DEFECTS = 3
RESTS = "a defect of ours: the channel rests"


def ended(step: Step, channel_id: bytes) -> None:
    """The channel is no more: messages about it are answered as those of an unknown one."""
    LIVES.drop(step, channel_id)
    UNBORN.drop(step, channel_id)
    DEFECTS.drop(step, channel_id)


def hear_monitor(us: Us, step: Step, item: messages.ToLiving, at: Moment) -> None:
    """What the monitor says to a channel; one that is not born yet hears it with its birth."""
    row = LIVES.get(step, item.channel_id)
    if row is not None:
        turn(us, step, at, row, lambda turn: machine.hear_monitor(turn, item))
        unheld(us, step, item.channel_id, at)


def born(us: Us, step: Step, item: messages.Born, at: Moment) -> None:
    """A monitor gives a channel: it lives from now on, and reestablishes if the peer is there."""
    cid, node = item.channel.id, item.channel.setup.peer
    UNBORN.drop(step, cid)
    row = LIVES.get(step, cid)
    if row is not None:
        channels.turn(us, step, row, lambda turn: machine.hear_monitor(turn, item))
        unheld(us, step, item.channel.id, at)
        return
    peer = PEERS.get(step, node)
    row = living.born(item)
    events: list[Callable[[Turn], None]] = [lambda turn: machine.hear_facts(turn, item)]
    if peer is not None and peer.ready:
        row = row.but(features=peer.features)
        if item.channel.core.our_number == 0 and peer.negotiations:
            # opened on this very connection: nothing to reestablish
            row = row.but(online=True, established=True)
            early = EARLY.get(step, cid)
            EARLY.drop(step, cid)
            if early is not None and early.peer == node:
                events.append(lambda turn: _hear(turn, early.message))
        else:
            events.append(reestablish.on_connected)
    channels.turn(us, step, row, *events)
    target = TARGETS.get(step, node)
    if peer is None and target is not None:
        connections.want(step, node, target.host, target.port)


def rests(us: Us, step: Step, cid: bytes, at: Moment) -> None:
    """Until it is born again, what its peer says of it is not heard."""
    row = LIVES.get(step, cid)
    LIVES.drop(step, cid)
    UNBORN.drop(step, cid)
    DEFECTS.put(step, MAX_DEFECTS, cid)
    if row is not None:
        connections.let_go(us, step, row.channel.setup.peer, at, RESTS)


def channel_message(us: Us, step: Step, peer: Peer, message: Message, at: Moment) -> None:
    """A message about a channel, to that channel, if it is one with this peer."""
    channel_id: bytes = getattr(message, "channel_id", b"")
    row = LIVES.get(step, channel_id)
    if row is None or row.channel.setup.peer != peer.node_id:
        if (DEFECTS.get(step, channel_id) or 0) >= MAX_DEFECTS:
            return
        if isinstance(message, ChannelReady) and peer.negotiations:
            # without confirmation it follows funding_signed at once, and we may not be so far
            EARLY.put(step, Early(peer=peer.node_id, message=message), channel_id)
            return
        if peer.negotiations or UNBORN.get(step, channel_id) is not None:
            connections.hang_up(us, step, peer, at, "the channel is not here yet")
            return
        step.tell("funding", UnknownChannel(peer=peer.node_id, channel_id=channel_id))
        return
    turn(us, step, at, row, lambda turn: _hear(turn, message))


def unheld(us: Us, step: Step, channel_id: bytes, at: Moment) -> None:
    """What waited behind the blocking action is heard now, as if it had just come."""
    row = LIVES.get(step, channel_id)
    if row is None:
        return
    row, waiting = machine.unheld(row)
    if not waiting:
        return
    LIVES.put(step, row, channel_id)
    node = row.channel.setup.peer
    for message in waiting:
        peer = PEERS.get(step, node)
        if peer is None:
            return  # it had to be told something else: on the next connection it begins anew
        try:
            channel_message(us, step, peer, message, at)
        except PeerFault as fault:
            connections.complain(us, step, node, str(fault), at)


def turn(us: Us, step: Step, at: Moment, row: Live, event: Callable[[Turn], None]) -> None:
    """A defect of ours ends one channel's life, not its neighbours': it is born again."""
    try:
        channels.turn(us, step, row, event)
    except PeerFault:
        raise
    except Exception as error:
        _defect(us, step, at, row, error)


def _defect(us: Us, step: Step, at: Moment, row: Live, error: Exception) -> None:
    cid, node = row.channel.id, row.channel.setup.peer
    times = (DEFECTS.get(step, cid) or 0) + 1
    DEFECTS.put(step, times, cid)
    step.log(f"channel={cid.hex()} met a defect, time {times}: {type(error).__name__}: {error}")
    LIVES.drop(step, cid)
    if times < MAX_DEFECTS:
        UNBORN.put(step, True, cid)
        step.tell("monitors", Reborn(channel_id=row.channel.id))
    else:
        text = "rests until the node starts again: please report the defect"
        step.log(f"channel={cid.hex()} {text}")
    peer = PEERS.get(step, node)
    if peer is not None:
        connections.hang_up(us, step, peer, at, "a defect; the channel starts again")


def _hear(turn: Turn, message: Message) -> None:
    try:
        machine.hear_peer(turn, message)
    except PeerFault as fault:
        if not fault.fatal:
            raise
        turn.fail(str(fault))


def tip(us: Us, step: Step, tip: Tip) -> None:
    """A block, or a feerate: offers may be too late now, and an opener may want another fee."""
    TIP.put(step, tip)
    for row in LIVES.below(step).values():
        wanted = tip.feerate_per_kw if row.channel.setup.we_opened else None
        if row.adds or row.feerate_wanted != wanted:
            channels.turn(us, step, row.but(feerate_wanted=wanted))
