"""The peers: connections, init, ping, and the channels of each (`protocol/channel`).

Owns: nothing durable. Hears: its port (connections and their messages), monitors (channels are
born from them), funding, chain, the API. Tells: monitors (updates), funding (opening messages).
Nothing is dialled or accepted before the monitors have given all channels.
"""

from __future__ import annotations

from collections.abc import Callable

from protocol import features
from protocol.chain import Tip
from protocol.channel import items, live, machine, reestablish
from protocol.channel.live import Live, Turn
from protocol.crypto.keys import ChannelSecrets
from protocol.errors import Malformed, PeerFault
from protocol.features import Features
from protocol.funding import FromPeer, Open, PeerLost, ToPeer
from protocol.machine import Answer, Ask, Moment, Step
from protocol.monitor import Addresses, PeerAddress, Reborn
from protocol.opening import CHAIN_HASH
from protocol.values import Value
from protocol.wire import registry, setup
from protocol.wire.message import Message
from protocol.wire.opening import OpenChannel

REDIAL_SECONDS = (0.05, 0.2, 0.5, 1.0, 2.0, 5.0)
PING_SECONDS, SILENCE_SECONDS, TICK_SECONDS = 20.0, 60.0, 1.0
_OPENING = frozenset({32, 33, 34, 35})
_SESSION = frozenset({1, 16, 17, 18, 19})
REQUIRED = ("option_data_loss_protect", "var_onion_optin", "option_static_remotekey")

# ---- between the machine and its port -----------------------------------------------------------


class Listen(Value, frozen=True, kw_only=True):
    """Begin to accept connections."""


class Dial(Value, frozen=True, kw_only=True):
    node_id: bytes
    host: str
    port: int


class Hangup(Value, frozen=True, kw_only=True):
    """Close the connection after what was written has left."""

    node_id: bytes


class Write(Value, frozen=True, kw_only=True):
    node_id: bytes
    message: bytes


class Connected(Value, frozen=True, kw_only=True):
    """The handshake is done; a connection to the same node that was there before is gone."""

    node_id: bytes
    inbound: bool
    host: str
    port: int


class Received(Value, frozen=True, kw_only=True):
    node_id: bytes
    message: bytes


class Disconnected(Value, frozen=True, kw_only=True):
    """Also the answer to a `Dial` that failed; `reason` is for people."""

    node_id: bytes
    reason: str


# ---- rows, all volatile -------------------------------------------------------------------------


class Peer(Value, frozen=True, kw_only=True):
    """Row "~peer/<node>": a connection. `negotiations`: openings that hang on it."""

    node_id: bytes
    inbound: bool
    host: str
    port: int
    heard_at: float
    features: Features = frozenset()
    ready: bool = False
    pinged: bool = False
    negotiations: tuple[bytes, ...] = ()


class Target(Value, frozen=True, kw_only=True):
    """Row "~dial/<node>": where to dial, how often it failed, when to try again."""

    node_id: bytes
    host: str
    port: int
    tries: int = 0
    at: float | None = None
    asks: tuple[str, ...] = ()
    keep: bool = False


class Machine:
    """The peers actor's decisions."""

    name = "peers"

    def __init__(self, network: str, channel_secret: bytes, node_id: bytes) -> None:
        self.network = network
        self.node_id = node_id
        self._master = channel_secret
        self._secrets: dict[int, ChannelSecrets] = {}

    def _secrets_of(self, channel: Live) -> ChannelSecrets:
        index = channel.channel.setup.key_index
        if index not in self._secrets:
            self._secrets[index] = ChannelSecrets(self._master, index)
        return self._secrets[index]

    def resume(self, step: Step, name: str | None, at: Moment) -> None:
        if name is None:
            step.wake(at.unix_seconds + TICK_SECONDS)
        elif name == "monitors":
            for row in step.scan("~live/").values():
                self._turn(step, row, live.monitor_restarted)
        elif name == "funding":
            # its negotiations are forgotten: a new connection tells the peers so
            for peer in step.scan("~peer/").values():
                if peer.negotiations:
                    self._hang_up(step, peer, at, "the opening was interrupted")

    def step(self, step: Step, sender: str, item: object, at: Moment) -> None:
        match item:
            case Received():
                self._received(step, item, at)
            case Connected():
                self._connected(step, item, at)
            case Disconnected():
                self._disconnected(step, item.node_id, item.reason, at)
            case items.Born():
                self._born(step, item)
            case items.Ended():
                step.drop(f"~live/{item.channel_id.hex()}")
            case (
                items.Durable() | items.Offer() | items.Withdraw() | items.Settle()
                | items.CloseRequest() | items.FundingLocked()
            ):  # fmt: skip
                self._from_monitor(step, item)
            case Addresses():
                self._adopted(step, item)
            case ToPeer():
                self._to_peer(step, item)
            case Tip():
                self._tip(step, item)
            case Ask():
                self._ask(step, item, at)
            case _:
                raise AssertionError(type(item).__name__)

    # ---- channels ----

    def _turn(self, step: Step, row: Live, *events: Callable[[Turn], None]) -> None:
        """Some events on one channel; what the peer gets now is written, the rest is held."""
        turn = Turn(row, self._secrets_of(row))
        for event in events:
            event(turn)
        for item in turn.to_monitor:
            step.say("monitors", item)
        node = row.channel.setup.peer
        for message in turn.to_peer:
            step.do(Write(node_id=node, message=message.encode()))
        cid = row.channel.id.hex()
        step.put(f"~live/{cid}", turn.live)
        step.put(f"~dirty/{cid}", True)

    def drain(self, step: Step, at: Moment) -> None:
        for key in step.scan("~dirty/"):
            cid = key.removeprefix("~dirty/")
            row = step.get(f"~live/{cid}")
            if row is not None:
                self._turn(step, row, machine.drain)
            step.drop(key)

    def _from_monitor(self, step: Step, item: items.ToChannel) -> None:
        assert not isinstance(item, items.Born)
        row = step.get(f"~live/{item.channel_id.hex()}")
        if row is not None:
            self._turn(step, row, lambda turn: machine.hear_monitor(turn, item))

    def _born(self, step: Step, item: items.Born) -> None:
        cid, node = item.channel.id.hex(), item.channel.setup.peer
        row = step.get(f"~live/{cid}")
        if row is not None:
            self._turn(step, row, lambda turn: machine.hear_monitor(turn, item))
            return
        peer = step.get(f"~peer/{node.hex()}")
        row = live.born(item)
        events: list[Callable[[Turn], None]] = []
        if item.locked is not None:
            locked = item.locked
            events.append(lambda turn: machine.hear_monitor(turn, locked))
        if peer is not None and peer.ready:
            row = row.but(features=peer.features)
            if item.channel.core.our_number == 0 and peer.negotiations:
                # opened on this very connection: nothing to reestablish
                row = row.but(online=True, established=True)
            else:
                events.append(reestablish.on_connected)
        self._turn(step, row, *events)
        target = step.get(f"~dial/{node.hex()}")
        if peer is None and target is not None:
            self._want(step, node, target.host, target.port)

    def _channels(self, step: Step, node: bytes) -> list[Live]:
        return [row for row in step.scan("~live/").values() if row.channel.setup.peer == node]

    # ---- connections ----

    def _adopted(self, step: Step, item: Addresses) -> None:
        """All channels are born: the world may come in."""
        step.do(Listen())
        with_channels = {row.channel.setup.peer for row in step.scan("~live/").values()}
        for known in item.known:
            node, host, port = known.node_id, known.host, known.port
            if node in with_channels:
                self._want(step, node, host, port)
            elif step.get(f"~dial/{node.hex()}") is None:
                target = Target(node_id=node, host=host, port=port)
                step.put(f"~dial/{node.hex()}", target)

    def _want(self, step: Step, node: bytes, host: str, port: int) -> None:
        """Keep a connection to this node, beginning now."""
        key = f"~dial/{node.hex()}"
        target = step.get(key) or Target(node_id=node, host=host, port=port)
        target = target.but(host=host, port=port, keep=True)
        if step.get(f"~peer/{node.hex()}") is None and target.at is None:
            step.do(Dial(node_id=node, host=host, port=port))
        step.put(key, target)

    def _connected(self, step: Step, item: Connected, at: Moment) -> None:
        if step.get(f"~peer/{item.node_id.hex()}") is not None:
            self._forget_session(step, item.node_id)
        peer = Peer(
            node_id=item.node_id,
            inbound=item.inbound,
            host=item.host,
            port=item.port,
            heard_at=at.unix_seconds,
        )
        step.put(f"~peer/{item.node_id.hex()}", peer)
        init = setup.Init(
            globalfeatures=b"",
            features=features.encode(features.OUR_INIT),
            networks=bytes.fromhex(CHAIN_HASH[self.network]),
        )
        self._write(step, item.node_id, init)

    def _write(self, step: Step, node: bytes, message: Message) -> None:
        step.do(Write(node_id=node, message=message.encode()))

    def _forget_session(self, step: Step, node: bytes) -> None:
        step.drop(f"~peer/{node.hex()}")
        for row in self._channels(step, node):
            self._turn(step, row, live.disconnected)
        step.say("funding", PeerLost(peer=node))

    def _disconnected(self, step: Step, node: bytes, reason: str, at: Moment) -> None:
        if step.get(f"~peer/{node.hex()}") is not None:
            self._forget_session(step, node)
        target = step.get(f"~dial/{node.hex()}")
        if target is None:
            return
        for ask in target.asks:
            text = f"cannot connect: {reason}"
            step.say("api", Answer(id=ask, code=401, text=text))
        if not target.keep and not self._channels(step, node):
            step.drop(f"~dial/{node.hex()}")
            return
        pause = REDIAL_SECONDS[min(target.tries, len(REDIAL_SECONDS) - 1)]
        again = at.unix_seconds + pause
        step.put(f"~dial/{node.hex()}", target.but(tries=target.tries + 1, at=again, asks=()))
        step.wake(again)

    def _hang_up(self, step: Step, peer: Peer, at: Moment, why: str) -> None:
        step.do(Hangup(node_id=peer.node_id))
        self._disconnected(step, peer.node_id, why, at)

    def wake(self, step: Step, at: Moment) -> None:
        for key, target in step.scan("~dial/").items():
            if target.at is not None and target.at <= at.unix_seconds:
                step.put(key, target.but(at=None))
                if step.get(f"~peer/{target.node_id.hex()}") is None:
                    node, host = target.node_id, target.host
                    step.do(Dial(node_id=node, host=host, port=target.port))
        for peer in step.scan("~peer/").values():
            self._keep_alive(step, peer, at)
        step.wake(at.unix_seconds + TICK_SECONDS)

    def _keep_alive(self, step: Step, peer: Peer, at: Moment) -> None:
        silent = at.unix_seconds - peer.heard_at
        if silent > SILENCE_SECONDS:
            self._hang_up(step, peer, at, "the peer is silent")
        elif silent > PING_SECONDS and peer.ready and not peer.pinged:
            step.put(f"~peer/{peer.node_id.hex()}", peer.but(pinged=True))
            self._write(step, peer.node_id, setup.Ping(num_pong_bytes=1, ignored=b""))

    # ---- messages ----

    def _received(self, step: Step, item: Received, at: Moment) -> None:
        peer = step.get(f"~peer/{item.node_id.hex()}")
        if peer is None:
            return  # said before it learned that we had hung up
        if peer.pinged or at.unix_seconds - peer.heard_at > 1:
            peer = peer.but(heard_at=at.unix_seconds, pinged=False)
            step.put(f"~peer/{item.node_id.hex()}", peer)
        try:
            message = registry.decode(item.message)
            if message is not None:
                self._dispatch(step, peer, message, item.message, at)
        except PeerFault as fault:
            warning = setup.Warning_(channel_id=bytes(32), data=str(fault).encode())
            self._write(step, item.node_id, warning)
            self._hang_up(step, peer, at, str(fault))

    def _dispatch(self, step: Step, peer: Peer, message: Message, raw: bytes, at: Moment) -> None:
        if isinstance(message, setup.Init):
            self._init(step, peer, message, at)
        elif not peer.ready:
            raise Malformed("a message before init")
        elif message.TYPE in _OPENING:
            if isinstance(message, OpenChannel):
                self._negotiating(step, peer, message.temporary_channel_id)
            step.say("funding", FromPeer(peer=peer.node_id, features=peer.features, message=raw))
        elif message.TYPE in _SESSION:
            self._session(step, peer, message, raw)
        else:
            self._channel_message(step, peer, message, at)

    def _init(self, step: Step, peer: Peer, message: setup.Init, at: Moment) -> None:
        """BOLT 1, init: unknown even features, or no common chain, end the connection."""
        if peer.ready:
            return
        theirs = features.decode(message.globalfeatures) | features.decode(message.features)
        unknown = features.unknown_even(theirs)
        if unknown:
            raise Malformed(f"the peer needs a feature that we do not know (bit {unknown[0]})")
        for name in REQUIRED:
            if not features.has(theirs, name):
                raise Malformed(f"the peer lacks {name}")
        chain = bytes.fromhex(CHAIN_HASH[self.network])
        chains = message.networks or chain
        if chain not in [chains[i : i + 32] for i in range(0, len(chains), 32)]:
            raise Malformed("the peer is on another network")
        peer = peer.but(ready=True, features=theirs)
        step.put(f"~peer/{peer.node_id.hex()}", peer)
        key = f"~dial/{peer.node_id.hex()}"
        target = step.get(key)
        if target is not None:
            for ask in target.asks:
                step.say("api", Answer(id=ask, result=_connect_result(peer)))
            step.put(key, target.but(tries=0, at=None, asks=()))
            if not peer.inbound:
                address = PeerAddress(node_id=peer.node_id, host=peer.host, port=peer.port)
                step.say("monitors", address)
        for row in self._channels(step, peer.node_id):
            self._turn(step, row.but(features=theirs), reestablish.on_connected)

    def _session(self, step: Step, peer: Peer, message: Message, raw: bytes) -> None:
        match message:
            case setup.Ping():
                if message.num_pong_bytes <= setup.MAX_PONG:
                    pong = setup.Pong(ignored=bytes(message.num_pong_bytes))
                    self._write(step, peer.node_id, pong)
            case setup.Error():
                self._error(step, peer, message, raw)
            case _:
                pass  # pong and warning: heard

    def _error(self, step: Step, peer: Peer, message: setup.Error, raw: bytes) -> None:
        """For one channel, for all of the peer's (32 zero bytes), or for an opening."""
        hit = [
            row
            for row in self._channels(step, peer.node_id)
            if message.channel_id in (row.channel.id, setup.ALL_CHANNELS)
        ]
        for row in hit:
            self._turn(step, row, lambda turn: machine.hear_peer(turn, message))
        if not hit:
            step.say("funding", FromPeer(peer=peer.node_id, features=peer.features, message=raw))

    def _channel_message(self, step: Step, peer: Peer, message: Message, at: Moment) -> None:
        channel_id: bytes = getattr(message, "channel_id", b"")
        row = step.get(f"~live/{channel_id.hex()}")
        if row is None or row.channel.setup.peer != peer.node_id:
            if peer.negotiations:
                self._hang_up(step, peer, at, "an opening is under way")
                return
            error = setup.Error(channel_id=channel_id, data=b"we do not know this channel")
            self._write(step, peer.node_id, error)
            return
        try:
            self._turn(step, row, lambda turn: self._hear(turn, message))
        except PeerFault:
            raise
        except Exception:
            # a defect of ours ends one channel's life, not its neighbours': it is born again
            step.drop(f"~live/{channel_id.hex()}")
            step.say("monitors", Reborn(channel_id=channel_id))
            self._hang_up(step, peer, at, "a defect; the channel starts again")

    @staticmethod
    def _hear(turn: Turn, message: Message) -> None:
        try:
            machine.hear_peer(turn, message)
        except PeerFault as fault:
            if not fault.fatal:
                raise
            turn.fail(str(fault))

    def _to_peer(self, step: Step, item: ToPeer) -> None:
        peer = step.get(f"~peer/{item.peer.hex()}")
        if peer is None:
            return
        if item.negotiation is not None:
            self._negotiating(step, peer, item.negotiation)
        step.do(Write(node_id=item.peer, message=item.message))

    def _negotiating(self, step: Step, peer: Peer, temporary_id: bytes) -> None:
        if temporary_id not in peer.negotiations:
            more = (*peer.negotiations, temporary_id)[-8:]
            step.put(f"~peer/{peer.node_id.hex()}", peer.but(negotiations=more))

    def _tip(self, step: Step, tip: Tip) -> None:
        for row in step.scan("~live/").values():
            if row.channel.setup.we_opened and row.feerate_wanted != tip.feerate_per_kw:
                self._turn(step, row.but(feerate_wanted=tip.feerate_per_kw))

    # ---- questions ----

    def _ask(self, step: Step, ask: Ask, at: Moment) -> None:
        match ask.method:
            case "connect":
                self._connect(step, ask, at)
            case "disconnect":
                self._disconnect(step, ask)
            case "fundchannel":
                self._fund(step, ask)
            case _:
                rows = [_peer_row(step, peer) for peer in step.scan("~peer/").values()]
                step.say("api", Answer(id=ask.id, result=[row for row in rows if row]))

    def _connect(self, step: Step, ask: Ask, at: Moment) -> None:
        node = bytes.fromhex(ask.params["id"])
        peer = step.get(f"~peer/{node.hex()}")
        if node == self.node_id:
            step.say("api", Answer(id=ask.id, code=402, text="that is our own id"))
        elif peer is not None and peer.ready:
            step.say("api", Answer(id=ask.id, result=_connect_result(peer)))
        else:
            key = f"~dial/{node.hex()}"
            known = step.get(key)
            if ask.params.get("host") is None and known is None:
                text = "no address known for that peer: give id@host:port"
                step.say("api", Answer(id=ask.id, code=400, text=text))
                return
            host = ask.params.get("host") or known.host
            port = ask.params.get("port") or known.port
            target = known or Target(node_id=node, host=host, port=port)
            asks = (*target.asks, ask.id)
            step.put(key, target.but(host=host, port=port, asks=asks, at=None))
            if peer is None:
                step.do(Dial(node_id=node, host=host, port=port))

    def _disconnect(self, step: Step, ask: Ask) -> None:
        node = bytes.fromhex(ask.params["id"])
        peer = step.get(f"~peer/{node.hex()}")
        if peer is None:
            step.say("api", Answer(id=ask.id, code=-1, text="the peer is not connected"))
            return
        if self._channels(step, node) and not ask.params.get("force"):
            text = "the peer has an open channel: use force=true"
            step.say("api", Answer(id=ask.id, code=-1, text=text))
            return
        step.drop(f"~dial/{node.hex()}")
        self._forget_session(step, node)
        step.do(Hangup(node_id=node))
        step.say("api", Answer(id=ask.id, result={}))

    def _fund(self, step: Step, ask: Ask) -> None:
        node = bytes.fromhex(ask.params["id"])
        peer = step.get(f"~peer/{node.hex()}")
        if peer is None or not peer.ready:
            text = "the peer is not connected: connect first"
            step.say("api", Answer(id=ask.id, code=-1, text=text))
            return
        if not peer.inbound:
            self._want(step, node, peer.host, peer.port)
        step.say("funding", Open(peer=node, features=peer.features, ask=ask))


def _connect_result(peer: Peer) -> dict[str, object]:
    return {
        "id": peer.node_id.hex(),
        "features": features.encode(peer.features).hex(),
        "direction": "in" if peer.inbound else "out",
        "address": {"type": "ipv4", "address": peer.host, "port": peer.port},
    }


def _peer_row(step: Step, peer: Peer) -> dict[str, object] | None:
    if not peer.ready:
        return None
    count = sum(row.channel.setup.peer == peer.node_id for row in step.scan("~live/").values())
    return {
        "id": peer.node_id.hex(),
        "connected": True,
        "num_channels": count,
        "netaddr": [f"{peer.host}:{peer.port}"],
        "features": features.encode(peer.features).hex(),
        "established": [
            row.channel.id.hex()
            for row in step.scan("~live/").values()
            if row.channel.setup.peer == peer.node_id and row.established
        ],
    }
