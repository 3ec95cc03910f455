"""What a connected peer says (BOLT 1): of a channel, of an opening, gossip, or to ourselves."""

from __future__ import annotations

from protocol.channel import machine
from protocol.errors import Malformed, PeerFault
from protocol.funding.messages import FromPeer, PeerLost, ToPeer
from protocol.machine import Moment, Step
from protocol.peer import channels, connections, gossip, hosting
from protocol.peer.channels import Us
from protocol.peer.port import Received, Write
from protocol.peer.rows import PEERS, Peer
from protocol.wire import registry, setup
from protocol.wire.message import Message
from protocol.wire.opening import OpenChannel

_OPENING = frozenset({32, 33, 34, 35})
_SESSION = frozenset({1, 16, 17, 18, 19})


def received(us: Us, step: Step, item: Received, at: Moment) -> None:
    """One message of a peer, taken whole or not at all. A breach of the protocol, or a defect of
    ours, costs the one who said it the connection."""
    peer = PEERS.get(step, item.node_id)
    if peer is None:
        return  # said before it learned that we had hung up
    if peer.pinged or at.unix_seconds - peer.heard_at > 1:
        peer = peer.but(heard_at=at.unix_seconds, pinged=False)
        PEERS.put(step, peer, item.node_id)
    kind = int.from_bytes(item.message[:2], "big")
    if peer.ready and kind in registry.GOSSIP:
        gossip.heard(step, peer, item.message)
        return
    try:
        message = registry.decode(item.message)
        if message is not None:
            with step.all_or_nothing():
                _dispatch(us, step, peer, message, item.message, at)
    except PeerFault as fault:
        connections.complain(us, step, item.node_id, str(fault), at)
    except Exception as error:
        # it costs the one who said it: the same message may come on each connection
        step.log(f"a message of type {kind} met a defect: {type(error).__name__}: {error}")
        connections.let_go(us, step, item.node_id, at, "a defect of ours")


def _dispatch(us: Us, step: Step, peer: Peer, message: Message, raw: bytes, at: Moment) -> None:
    if isinstance(message, setup.Init):
        connections.init(us, step, peer, message, at)
    elif not peer.ready:
        # BOLT 1: "MUST send init as the first Lightning message for any connection"
        raise Malformed("a message before init")
    elif message.TYPE in _OPENING:
        if isinstance(message, OpenChannel):
            connections.negotiating(step, peer, message.temporary_channel_id)
        step.tell("funding", _from(peer, raw))
    elif message.TYPE in _SESSION:
        _session(us, step, peer, message, raw)
    else:
        hosting.channel_message(us, step, peer, message, at)


def _session(us: Us, step: Step, peer: Peer, message: Message, raw: bytes) -> None:
    match message:
        case setup.Ping():
            if message.num_pong_bytes <= setup.MAX_PONG:
                pong = setup.Pong(ignored=bytes(message.num_pong_bytes))
                connections.write(step, peer.node_id, pong)
        case setup.Error():
            step.log(f"peer={peer.node_id.hex()} sent an error: {_words(message.data)}")
            _error(us, step, peer, message, raw)
        case setup.Warning_():
            step.log(f"peer={peer.node_id.hex()} sent a warning: {_words(message.data)}")
        case _:
            pass  # a pong: that it was heard is all


def _error(us: Us, step: Step, peer: Peer, message: setup.Error, raw: bytes) -> None:
    """For one channel, for all of the peer's (32 zero bytes), or for an opening."""
    hit = [
        row
        for row in channels.of_peer(step, peer.node_id)
        if message.channel_id in (row.channel.id, setup.ALL_CHANNELS)
    ]
    for row in hit:
        channels.turn(us, step, row, lambda turn: machine.hear_peer(turn, message))
    if message.channel_id == setup.ALL_CHANNELS:
        step.tell("funding", PeerLost(peer=peer.node_id, refused=True))
    elif not hit:
        step.tell("funding", _from(peer, raw))


def to_peer(step: Step, item: ToPeer) -> None:
    """Funding speaks to a peer; nothing is said to one that has left."""
    peer = PEERS.get(step, item.peer)
    if peer is None:
        return
    if item.negotiation is not None:
        connections.negotiating(step, peer, item.negotiation)
    step.do(Write(node_id=item.peer, message=item.message))


def _from(peer: Peer, raw: bytes) -> FromPeer:
    node, known = peer.node_id, peer.features
    return FromPeer(peer=node, features=known, message=raw, address=peer.address)


def _words(data: bytes) -> str:
    """What a peer says of its troubles, for the log."""
    return repr(data[:200].decode("utf-8", "replace"))
