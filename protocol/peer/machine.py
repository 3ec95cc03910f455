"""The peers: connections, init, ping, and the channels of each (`protocol/channel`).

Owns: nothing durable. Hears: its port (connections and their messages), monitors (channels are
born from them), funding, chain, the API. Delivers: monitors (updates), funding (opening messages).
Nothing is dialled or accepted before the monitors have given all channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from protocol import machine as contract
from protocol.chain.messages import TIP, Tip
from protocol.channel import living, machine, messages, reestablish
from protocol.channel.living import Live, Turn
from protocol.crypto.keys import NodeKey
from protocol.errors import Malformed, PeerFault
from protocol.funding.messages import (
    FromPeer,
    IsConnected,
    PeerLost,
    ToPeer,
    TryLater,
    UnknownChannel,
)
from protocol.gossip.messages import (
    Complain,
    Digested,
    FromWire,
    PeerUp,
    Reconnect,
    ToWire,
    WireDrained,
)
from protocol.machine import Ask, Moment, Step
from protocol.monitor.messages import Addresses, PeerAddress, Reborn
from protocol.networks import CHAIN_HASH
from protocol.peer import channels
from protocol.peer.channels import Channels
from protocol.peer.connections import TICK_SECONDS, Connections
from protocol.peer.port import Connected, Disconnected, Drained, Hold, Received, WhenDrained, Write
from protocol.peer.rows import DEFECTS, EARLY, LIVES, PEERS, TARGETS, TOUCHED, UNBORN, Early, Peer
from protocol.router.messages import FindRoutes
from protocol.wire import registry, setup
from protocol.wire.gossip import GossipTimestampFilter
from protocol.wire.message import Message
from protocol.wire.opening import ChannelReady, OpenChannel

_OPENING = frozenset({32, 33, 34, 35})
_SESSION = frozenset({1, 16, 17, 18, 19})
MAX_DEFECTS = 3
MAX_UNDIGESTED, MAX_FILTER = 128 << 10, 200

Heard = (
    messages.Born | messages.Ended | messages.Durable | messages.AddHtlc | messages.ResolveHtlc
    | messages.Held | messages.Unheld | messages.CloseRequest | messages.FundingConfirmed
    | messages.FundingBuried | Addresses | PeerAddress | ToPeer | IsConnected | TryLater | ToWire
    | Digested | Reconnect | Complain | FindRoutes | Tip | Ask | messages.Rests
)  # fmt: skip
Report = Connected | Received | Disconnected | Drained


class Machine(contract.Machine):
    """The peers actor's decisions."""

    name = "peers"
    hears = Heard
    reports = Report
    keeps = ()

    def __init__(
        self, network: str, channel_secret: bytes, node_secret: bytes, guests: int
    ) -> None:
        """`guests`: so many may be connected that we have no channel with."""
        node = NodeKey(node_secret, bytes.fromhex(CHAIN_HASH[network]))
        self.channels = Channels(channel_secret, node)
        self.connections = Connections(network, node.id, self.channels, guests)

    def drain(self, step: Step, at: Moment) -> None:
        for row in self.channels.touched(step):
            self._turn(step, at, row, machine.drain)
            TOUCHED.drop(step, row.channel.id)

    def wake(self, step: Step, at: Moment) -> None:
        self.connections.wake(step, at)

    def resume(self, step: Step, name: str | None, at: Moment) -> None:
        if name is None:
            step.wake(at.unix_seconds + TICK_SECONDS)
        elif name == "monitors":
            for row in LIVES.below(step).values():
                self.channels.turn(step, row, living.monitor_restarted)
            for (channel_id,) in UNBORN.below(step):
                step.tell("monitors", Reborn(channel_id=channel_id))
            self.connections.say_addresses(step)
        elif name == "gossiper":
            for peer in PEERS.below(step).values():
                self._digested(step, peer.node_id, peer.undigested)
                if peer.ready:
                    step.tell("gossiper", PeerUp(peer=peer.node_id, features=peer.features))
                    if peer.filter:
                        step.tell("gossiper", FromWire(peer=peer.node_id, message=peer.filter))
        elif name == "funding":
            # its negotiations are forgotten: a new connection tells the peers so
            for peer in PEERS.below(step).values():
                if peer.negotiations:
                    self.connections.hang_up(step, peer, at, "the opening was interrupted")

    def step(self, step: Step, sender: str, item: Heard | Report, at: Moment) -> None:
        match item:
            case Received():
                self._received(step, item, at)
            case Connected():
                self.connections.connected(step, item, at)
            case Disconnected():
                self.connections.disconnected(step, item.node_id, item.reason, at)
            case messages.Born():
                self._born(step, item, at)
            case messages.Ended():
                LIVES.drop(step, item.channel_id)
                UNBORN.drop(step, item.channel_id)
                DEFECTS.drop(step, item.channel_id)
            case messages.Rests():
                self._rests(step, item.channel_id, at)
            case (
                messages.Durable() | messages.AddHtlc() | messages.ResolveHtlc() | messages.Held()
                | messages.Unheld() | messages.CloseRequest() | messages.FundingConfirmed()
                | messages.FundingBuried()
            ):  # fmt: skip
                row = LIVES.get(step, item.channel_id)
                if row is not None:
                    self._turn(step, at, row, lambda turn: machine.hear_monitor(turn, item))
                    self._unheld(step, item.channel_id, at)
            case Addresses():
                self.connections.adopted(step, sender, item)
            case PeerAddress():
                self.connections.known(step, item)
            case ToPeer():
                self._to_peer(step, item)
            case IsConnected():
                self.connections.is_there(step, item)
            case TryLater():
                self._hang_up(step, item.peer, at, "the channel is not here yet")
            case ToWire() | Digested() | Reconnect() | Complain():
                self._for_gossip(step, item, at)
            case Drained():
                step.tell("gossiper", WireDrained(peer=item.node_id))
            case FindRoutes():
                channels.fill_in(step, item)
            case Tip():
                self._tip(step, item)
            case Ask():
                self.connections.ask(step, item, at)
            case _:
                assert_never(item)

    def _rests(self, step: Step, cid: bytes, at: Moment) -> None:
        """Until it is born again, what its peer says of it is not heard."""
        row = LIVES.get(step, cid)
        LIVES.drop(step, cid)
        UNBORN.drop(step, cid)
        DEFECTS.put(step, MAX_DEFECTS, cid)
        if row is not None:
            self._hang_up(step, row.channel.setup.peer, at, "a defect of ours: the channel rests")

    def _born(self, step: Step, item: messages.Born, at: Moment) -> None:
        cid, node = item.channel.id, item.channel.setup.peer
        UNBORN.drop(step, cid)
        row = LIVES.get(step, cid)
        if row is not None:
            self.channels.turn(step, row, lambda turn: machine.hear_monitor(turn, item))
            self._unheld(step, item.channel.id, at)
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
                    events.append(lambda turn: self._hear(turn, early.message))
            else:
                events.append(reestablish.on_connected)
        self.channels.turn(step, row, *events)
        target = TARGETS.get(step, node)
        if peer is None and target is not None:
            self.connections.want(step, node, target.host, target.port)

    def _received(self, step: Step, item: Received, at: Moment) -> None:
        peer = PEERS.get(step, item.node_id)
        if peer is None:
            return  # said before it learned that we had hung up
        if peer.pinged or at.unix_seconds - peer.heard_at > 1:
            peer = peer.but(heard_at=at.unix_seconds, pinged=False)
            PEERS.put(step, peer, item.node_id)
        if peer.ready and int.from_bytes(item.message[:2], "big") in registry.GOSSIP:
            self._gossip(step, peer, item.message)
            return
        try:
            message = registry.decode(item.message)
            if message is not None:
                self._dispatch(step, peer, message, item.message, at)
        except PeerFault as fault:
            self._complain(step, item.node_id, str(fault), at)

    def _for_gossip(
        self, step: Step, item: ToWire | Digested | Reconnect | Complain, at: Moment
    ) -> None:
        """What the gossiper orders."""
        match item:
            case ToWire():
                for message in item.messages:
                    step.do(Write(node_id=item.peer, message=message, lossy=item.lossy))
                if item.more:
                    step.do(WhenDrained(node_id=item.peer))
            case Digested():
                self._digested(step, item.peer, item.size)
            case Reconnect():
                if TARGETS.get(step, item.peer) is not None:
                    self._hang_up(step, item.peer, at, "it has not said its policy")
            case Complain():
                self._complain(step, item.peer, item.text, at)

    def _gossip(self, step: Step, peer: Peer, message: bytes) -> None:
        """To the gossiper; who sends faster than it can check is left unread for a while."""
        kind = int.from_bytes(message[:2], "big")
        if kind == GossipTimestampFilter.TYPE and len(message) <= MAX_FILTER:
            peer = peer.but(filter=message)
        size = peer.undigested + len(message)
        held = peer.held or size > MAX_UNDIGESTED
        if held and not peer.held:
            step.do(Hold(node_id=peer.node_id, held=True))
        PEERS.put(step, peer.but(undigested=size, held=held), peer.node_id)
        step.tell("gossiper", FromWire(peer=peer.node_id, message=message))

    def _digested(self, step: Step, node: bytes, size: int) -> None:
        peer = PEERS.get(step, node)
        if peer is None:
            return
        left = max(0, peer.undigested - size)
        held = peer.held and left > MAX_UNDIGESTED // 2
        if peer.held and not held:
            step.do(Hold(node_id=node, held=False))
        PEERS.put(step, peer.but(undigested=left, held=held), node)

    def _hang_up(self, step: Step, node: bytes, at: Moment, why: str) -> None:
        peer = PEERS.get(step, node)
        if peer is not None:
            self.connections.hang_up(step, peer, at, why)

    def _complain(self, step: Step, node: bytes, text: str, at: Moment) -> None:
        """A warning, and the end of the connection."""
        peer = PEERS.get(step, node)
        if peer is not None:
            warning = setup.Warning_(channel_id=bytes(32), data=text.encode())
            self.connections.write(step, node, warning)
            self.connections.hang_up(step, peer, at, text)

    def _dispatch(self, step: Step, peer: Peer, message: Message, raw: bytes, at: Moment) -> None:
        if isinstance(message, setup.Init):
            self.connections.init(step, peer, message, at)
        elif not peer.ready:
            raise Malformed("a message before init")
        elif message.TYPE in _OPENING:
            if isinstance(message, OpenChannel):
                self.connections.negotiating(step, peer, message.temporary_channel_id)
            step.tell("funding", _from(peer, raw))
        elif message.TYPE in _SESSION:
            self._session(step, peer, message, raw)
        else:
            self._channel_message(step, peer, message, at)

    def _session(self, step: Step, peer: Peer, message: Message, raw: bytes) -> None:
        match message:
            case setup.Ping():
                if message.num_pong_bytes <= setup.MAX_PONG:
                    pong = setup.Pong(ignored=bytes(message.num_pong_bytes))
                    self.connections.write(step, peer.node_id, pong)
            case setup.Error():
                step.log(f"peer={peer.node_id.hex()} sent an error: {_words(message.data)}")
                self._error(step, peer, message, raw)
            case setup.Warning_():
                step.log(f"peer={peer.node_id.hex()} sent a warning: {_words(message.data)}")
            case _:
                pass  # pong and warning: heard

    def _error(self, step: Step, peer: Peer, message: setup.Error, raw: bytes) -> None:
        """For one channel, for all of the peer's (32 zero bytes), or for an opening."""
        hit = [
            row
            for row in self.channels.of_peer(step, peer.node_id)
            if message.channel_id in (row.channel.id, setup.ALL_CHANNELS)
        ]
        for row in hit:
            self.channels.turn(step, row, lambda turn: machine.hear_peer(turn, message))
        if message.channel_id == setup.ALL_CHANNELS:
            step.tell("funding", PeerLost(peer=peer.node_id, refused=True))
        elif not hit:
            step.tell("funding", _from(peer, raw))

    def _channel_message(self, step: Step, peer: Peer, message: Message, at: Moment) -> None:
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
                self.connections.hang_up(step, peer, at, "the channel is not here yet")
                return
            step.tell("funding", UnknownChannel(peer=peer.node_id, channel_id=channel_id))
            return
        self._turn(step, at, row, lambda turn: self._hear(turn, message))

    def _unheld(self, step: Step, channel_id: bytes, at: Moment) -> None:
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
                self._channel_message(step, peer, message, at)
            except PeerFault as fault:
                self._complain(step, node, str(fault), at)

    def _turn(self, step: Step, at: Moment, row: Live, event: Callable[[Turn], None]) -> None:
        """A defect of ours ends one channel's life, not its neighbours': it is born again."""
        try:
            self.channels.turn(step, row, event)
        except PeerFault:
            raise
        except Exception as error:
            self._defect(step, at, row, error)

    def _defect(self, step: Step, at: Moment, row: Live, error: Exception) -> None:
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
            self.connections.hang_up(step, peer, at, "a defect; the channel starts again")

    @staticmethod
    def _hear(turn: Turn, message: Message) -> None:
        try:
            machine.hear_peer(turn, message)
        except PeerFault as fault:
            if not fault.fatal:
                raise
            turn.fail(str(fault))

    def _to_peer(self, step: Step, item: ToPeer) -> None:
        peer = PEERS.get(step, item.peer)
        if peer is None:
            return
        if item.negotiation is not None:
            self.connections.negotiating(step, peer, item.negotiation)
        step.do(Write(node_id=item.peer, message=item.message))

    def _tip(self, step: Step, tip: Tip) -> None:
        TIP.put(step, tip)
        for row in LIVES.below(step).values():
            wanted = tip.feerate_per_kw if row.channel.setup.we_opened else None
            if row.offers or row.feerate_wanted != wanted:
                self.channels.turn(step, row.but(feerate_wanted=wanted))


def _from(peer: Peer, raw: bytes) -> FromPeer:
    node, known = peer.node_id, peer.features
    return FromPeer(peer=node, features=known, message=raw, address=peer.address)


def _words(data: bytes) -> str:
    """What a peer says of its troubles, for the log."""
    return repr(data[:200].decode("utf-8", "replace"))
