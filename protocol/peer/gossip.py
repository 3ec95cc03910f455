"""Gossip on its way between the wire and the gossiper, which alone reads it."""

from __future__ import annotations

from typing import assert_never

from protocol.gossip.messages import Complain, Digested, FromWire, PeerUp, Reconnect, ToWire
from protocol.machine import Moment, Step
from protocol.peer import connections
from protocol.peer.channels import Us
from protocol.peer.port import Pause, WhenDrained, Write
from protocol.peer.rows import PEERS, TARGETS, Peer
from protocol.wire.gossip import GossipTimestampFilter

MAX_UNDIGESTED, MAX_FILTER = 128 << 10, 200


def gossiper_restarted(step: Step) -> None:
    """It hears of all peers again, and of what each has asked for; the rest it has digested."""
    for peer in PEERS.below(step).values():
        digested(step, peer.node_id, peer.undigested)
        if peer.ready:
            step.tell("gossiper", PeerUp(peer=peer.node_id, features=peer.features))
            if peer.filter:
                step.tell("gossiper", FromWire(peer=peer.node_id, message=peer.filter))


def heard(step: Step, peer: Peer, message: bytes) -> None:
    """To the gossiper; who sends faster than it can check is left unread for a while."""
    kind = int.from_bytes(message[:2], "big")
    if kind == GossipTimestampFilter.TYPE and len(message) <= MAX_FILTER:
        peer = peer.but(filter=message)
    size = peer.undigested + len(message)
    paused = peer.paused or size > MAX_UNDIGESTED
    if paused and not peer.paused:
        step.do(Pause(node_id=peer.node_id, paused=True))
    PEERS.put(step, peer.but(undigested=size, paused=paused), peer.node_id)
    step.tell("gossiper", FromWire(peer=peer.node_id, message=message))


def digested(step: Step, node: bytes, size: int) -> None:
    """The gossiper has done with so many bytes of a peer: we may read on."""
    peer = PEERS.get(step, node)
    if peer is None:
        return
    left = max(0, peer.undigested - size)
    paused = peer.paused and left > MAX_UNDIGESTED // 2
    if peer.paused and not paused:
        step.do(Pause(node_id=node, paused=False))
    PEERS.put(step, peer.but(undigested=left, paused=paused), node)


def ordered(us: Us, step: Step, item: ToWire | Digested | Reconnect | Complain, at: Moment) -> None:
    """What the gossiper orders."""
    match item:
        case ToWire():
            for message in item.messages:
                step.do(Write(node_id=item.peer, message=message, lossy=item.lossy))
            if item.more:
                step.do(WhenDrained(node_id=item.peer))
        case Digested():
            digested(step, item.peer, item.size)
        case Reconnect():
            if TARGETS.get(step, item.peer) is not None:
                connections.let_go(us, step, item.peer, at, "it has not said its policy")
        case Complain():
            connections.complain(us, step, item.peer, item.text, at)
        case _:
            assert_never(item)
