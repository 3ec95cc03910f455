"""Connections: dial and dial again, init, ping, and what the API asks about them (BOLT 1)."""

from __future__ import annotations

from protocol import features
from protocol.channel import living, reestablish
from protocol.errors import Malformed
from protocol.funding.messages import IsConnected, PeerLost, PeerState
from protocol.gossip.asking import news_from
from protocol.gossip.messages import PeerDown, PeerUp
from protocol.machine import Ask, Moment, Step
from protocol.monitor.messages import Addresses, PeerAddress
from protocol.networks import CHAIN_HASH
from protocol.peer import channels
from protocol.peer.channels import Us
from protocol.peer.port import Connected, Dial, Hangup, Listen, Write
from protocol.peer.rows import ADOPTED, EARLY, LISTENING, LIVES, PEERS, TARGETS, Peer, Target
from protocol.wire import setup
from protocol.wire.message import Message

REDIAL_SECONDS = (0.05, 0.2, 0.5, 1.0, 2.0, 5.0)
PING_SECONDS, SILENCE_SECONDS, TICK_SECONDS = 20.0, 60.0, 1.0
REQUIRED = ("option_data_loss_protect", "var_onion_optin", "option_static_remotekey")


def adopted(step: Step, monitor: str, item: Addresses) -> None:
    """Once all channels of all monitors are born the world may come in."""
    ADOPTED.put(step, item, monitor)
    said = list(ADOPTED.below(step).values())
    if len(said) < item.of:
        return
    first = LISTENING.get(step) is None
    LISTENING.put(step, True)
    if first:
        step.do(Listen())
    for address in [address for one in (said if first else [item]) for address in one.known]:
        known(step, address)


def known(step: Step, item: PeerAddress) -> None:
    """Dialled if we have a channel with it, else kept."""
    node, host, port = item.node_id, item.host, item.port
    if channels.of_peer(step, node):
        want(step, node, host, port)
    elif TARGETS.get(step, node) is None:
        TARGETS.put(step, Target(node_id=node, host=host, port=port), node)


def want(step: Step, node: bytes, host: str, port: int) -> None:
    """Keep a connection to this node, beginning now."""
    target = TARGETS.get(step, node) or Target(node_id=node, host=host, port=port)
    target = target.but(host=host, port=port, keep=True)
    if PEERS.get(step, node) is None and target.at is None:
        step.do(Dial(node_id=node, host=host, port=port))
    TARGETS.put(step, target, node)


def connected(us: Us, step: Step, item: Connected, at: Moment) -> None:
    """The port has a connection whose handshake is done: we say init."""
    if PEERS.get(step, item.node_id) is not None:
        _forget_session(us, step, item.node_id, "it has connected anew")
    if item.inbound:
        _make_place(us, step, item.node_id, at)
    peer = Peer(
        node_id=item.node_id,
        inbound=item.inbound,
        host=item.host,
        port=item.port,
        heard_at=at.unix_seconds,
    )
    PEERS.put(step, peer, item.node_id)
    init = setup.Init(
        globalfeatures=b"",
        features=features.encode(features.OUR_INIT),
        networks=bytes.fromhex(CHAIN_HASH[us.network]),
    )
    write(step, item.node_id, init)


def _make_place(us: Us, step: Step, node: bytes, at: Moment) -> None:
    """Peers with a channel always have one. Of the others there are a few, and the oldest
    goes: somebody who holds all places could else keep everybody out for ever."""
    with_channel = {row.channel.setup.peer for _, row in LIVES.each(step)}
    if node in with_channel or TARGETS.get(step, node) is not None:
        return
    guests = [
        peer for _, peer in PEERS.each(step) if peer.inbound and peer.node_id not in with_channel
    ]
    if len(guests) < us.guests:
        return
    goes = next((peer for peer in guests if not peer.negotiations), guests[0])
    hang_up(us, step, goes, at, "its place is needed: there are too many without a channel")


def write(step: Step, node: bytes, message: Message) -> None:
    """A message to a peer that is connected."""
    step.do(Write(node_id=node, message=message.encode()))


def _forget_session(us: Us, step: Step, node: bytes, why: str) -> None:
    if (peer := PEERS.get(step, node)) is not None and peer.ready:
        step.log(f"peer={node.hex()} disconnected: {why}")
    PEERS.drop(step, node)
    for key, early in EARLY.below(step).items():
        if early.peer == node:
            EARLY.drop(step, *key)
    for row in channels.of_peer(step, node):
        channels.turn(us, step, row, living.disconnected)
    step.tell("funding", PeerLost(peer=node))
    step.tell("gossiper", PeerDown(peer=node))


def disconnected(us: Us, step: Step, node: bytes, reason: str, at: Moment) -> None:
    """A connection has ended, or none came about: whoever waits is told, and it is tried again
    if we have a reason to."""
    if PEERS.get(step, node) is not None:
        _forget_session(us, step, node, reason)
    target = TARGETS.get(step, node)
    if target is None:
        return
    for ask in target.asks:
        text = f"cannot connect: {reason}"
        step.refuse(ask, 401, text)
    if not target.keep and not channels.of_peer(step, node):
        TARGETS.drop(step, node)
        return
    pause = REDIAL_SECONDS[min(target.tries, len(REDIAL_SECONDS) - 1)]
    again = at.unix_seconds + pause
    TARGETS.put(step, target.but(tries=target.tries + 1, at=again, asks=()), node)
    step.wake(again)


def hang_up(us: Us, step: Step, peer: Peer, at: Moment, why: str) -> None:
    """We end it; `why` is for the log, and for who waits."""
    step.do(Hangup(node_id=peer.node_id))
    step.log(f"peer={peer.node_id.hex()} hung up: {why!r}")
    disconnected(us, step, peer.node_id, why, at)


def let_go(us: Us, step: Step, node: bytes, at: Moment, why: str) -> None:
    """As `hang_up`, of a peer that may be gone already."""
    peer = PEERS.get(step, node)
    if peer is not None:
        hang_up(us, step, peer, at, why)


def complain(us: Us, step: Step, node: bytes, text: str, at: Moment) -> None:
    """A warning, and the end of the connection."""
    peer = PEERS.get(step, node)
    if peer is not None:
        warning = setup.Warning_(channel_id=bytes(32), data=text.encode())
        write(step, node, warning)
        hang_up(us, step, peer, at, text)


def wake(us: Us, step: Step, at: Moment) -> None:
    """The tick: dial whom we want to reach, ping who is silent (BOLT 1)."""
    for key, target in TARGETS.below(step).items():
        if target.at is not None and target.at <= at.unix_seconds:
            TARGETS.put(step, target.but(at=None), *key)
            if PEERS.get(step, target.node_id) is None:
                node, host = target.node_id, target.host
                step.do(Dial(node_id=node, host=host, port=target.port))
    for peer in PEERS.below(step).values():
        _keep_alive(us, step, peer, at)
    step.wake(at.unix_seconds + TICK_SECONDS)


def _keep_alive(us: Us, step: Step, peer: Peer, at: Moment) -> None:
    silent = at.unix_seconds - peer.heard_at
    if silent > SILENCE_SECONDS:
        hang_up(us, step, peer, at, "the peer is silent")
    elif silent > PING_SECONDS and peer.ready and not peer.pinged:
        PEERS.put(step, peer.but(pinged=True), peer.node_id)
        write(step, peer.node_id, setup.Ping(num_pong_bytes=1, ignored=b""))


def init(us: Us, step: Step, peer: Peer, message: setup.Init, at: Moment) -> None:
    """BOLT 1, init: unknown even features, or no common chain, end the connection."""
    if peer.ready:
        return
    theirs = features.decode(message.globalfeatures) | features.decode(message.features)
    # "upon receiving unknown even feature bits that are non-zero: MUST close the connection"
    unknown = features.unknown_even(theirs)
    if unknown:
        raise Malformed(f"the peer needs a feature that we do not know (bit {unknown[0]})")
    # BOLT 9: what we set as even we need of the peer
    for name in REQUIRED:
        if not features.has(theirs, name):
            raise Malformed(f"the peer lacks {name}")
    # "upon receiving networks containing no common chains: MAY close the connection"
    chain = bytes.fromhex(CHAIN_HASH[us.network])
    chains = message.networks or chain
    if chain not in [chains[i : i + 32] for i in range(0, len(chains), 32)]:
        raise Malformed("the peer is on another network")
    peer = peer.but(ready=True, features=theirs)
    step.log(f"peer={peer.node_id.hex()} connected, {'in' if peer.inbound else 'out'}bound")
    PEERS.put(step, peer, peer.node_id)
    target = TARGETS.get(step, peer.node_id)
    if not peer.inbound:
        step.tell("monitors", _address(peer))
        target = target or Target(node_id=peer.node_id, host=peer.host, port=peer.port)
    if target is not None:
        for ask in target.asks:
            step.answer(ask, _connect_result(peer))
        TARGETS.put(step, target.but(tries=0, at=None, asks=()), peer.node_id)
    rows = channels.of_peer(step, peer.node_id)
    asked = bool(rows) and features.has(theirs, "gossip_queries")
    if asked:
        # in front of everything about the channels: some say their policy once, as soon as the
        # channel is announced, and not to who has not asked for gossip before
        write(step, peer.node_id, news_from(chain, at.unix_seconds))
    step.tell("gossiper", PeerUp(peer=peer.node_id, features=peer.features, asked=asked))
    for row in rows:
        channels.turn(us, step, row.but(features=theirs), reestablish.on_connected)


def say_addresses(step: Step) -> None:
    """Where those answered whom we dialled: the monitors may have lost it."""
    for peer in PEERS.below(step).values():
        if peer.ready and not peer.inbound:
            step.tell("monitors", _address(peer))


def negotiating(step: Step, peer: Peer, temporary_id: bytes) -> None:
    """The peer has an opening under way with this temporary id (32 bytes)."""
    if temporary_id not in peer.negotiations:
        more = (*peer.negotiations, temporary_id)[-8:]
        PEERS.put(step, peer.but(negotiations=more), peer.node_id)


def ask(us: Us, step: Step, ask: Ask, at: Moment) -> None:
    """`connect`, `disconnect` and `listpeers`."""
    match ask.method:
        case "connect":
            _connect(us, step, ask, at)
        case "disconnect":
            _disconnect(us, step, ask)
        case "listpeers":
            rows = [_peer_row(step, peer) for peer in PEERS.below(step).values()]
            step.answer(ask.id, [row for row in rows if row])
        case _:
            step.unknown(ask)


def _connect(us: Us, step: Step, ask: Ask, at: Moment) -> None:
    node = bytes.fromhex(ask.params["id"])
    peer = PEERS.get(step, node)
    if node == us.node.id:
        step.refuse(ask.id, 402, "that is our own id")
    elif peer is not None and peer.ready:
        step.answer(ask.id, _connect_result(peer))
    else:
        host, port = ask.params.get("host"), ask.params.get("port")
        known = TARGETS.get(step, node)
        if known is None and host is None:
            text = "no address known for that peer: give id@host:port"
            step.refuse(ask.id, 400, text)
            return
        target = known or Target(node_id=node, host="", port=0)
        host, port = host or target.host, port or target.port
        asks = (*target.asks, ask.id)
        TARGETS.put(step, target.but(host=host, port=port, asks=asks, at=None), node)
        if peer is None and not target.asks:  # else it is being dialled
            step.do(Dial(node_id=node, host=host, port=port))


def abandoned(step: Step, question: str) -> None:
    """Nobody waits for this connection any more; it may come to be all the same."""
    for key, target in TARGETS.below(step).items():
        if question in target.asks:
            asks = tuple(ask for ask in target.asks if ask != question)
            TARGETS.put(step, target.but(asks=asks), *key)


def _disconnect(us: Us, step: Step, ask: Ask) -> None:
    node = bytes.fromhex(ask.params["id"])
    peer = PEERS.get(step, node)
    target = TARGETS.get(step, node)
    if peer is None:
        step.refuse(ask.id, -1, "the peer is not connected")
        return
    if channels.of_peer(step, node) and not ask.params.get("force"):
        text = "the peer has an open channel: use force=true"
        step.refuse(ask.id, -1, text)
        return
    TARGETS.drop(step, node)
    for waiting in target.asks if target is not None else ():
        step.refuse(waiting, 402, "disconnected meanwhile")
    _forget_session(us, step, node, "as asked for")
    step.do(Hangup(node_id=node))
    step.answer(ask.id, {})


def is_there(step: Step, item: IsConnected) -> None:
    """Funding wants to open a channel with this peer."""
    answer = PeerState(peer=item.peer, purpose=item.purpose, place=item.place)
    peer = PEERS.get(step, item.peer)
    if peer is None or not peer.ready:
        text = "the peer is not connected: connect first"
        step.tell("funding", answer.but(absent=text))
        return
    if not peer.inbound:
        want(step, peer.node_id, peer.host, peer.port)
    step.tell("funding", answer.but(features=peer.features, address=peer.address))


def _address(peer: Peer) -> PeerAddress:
    return PeerAddress(node_id=peer.node_id, host=peer.host, port=peer.port)


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
    count = sum(row.channel.setup.peer == peer.node_id for row in LIVES.below(step).values())
    return {
        "id": peer.node_id.hex(),
        "connected": True,
        "num_channels": count,
        "netaddr": [f"{peer.host}:{peer.port}"],
        "features": features.encode(peer.features).hex(),
        "established": [
            row.channel.id.hex()
            for row in LIVES.below(step).values()
            if row.channel.setup.peer == peer.node_id and row.established
        ],
    }
