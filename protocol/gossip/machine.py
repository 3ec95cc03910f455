"""The gossiper: our own channels announced, what others say of theirs, and who is told what.

Owns: the graph, our own channels' policies. Hears: monitors (`OwnChannels`, `OwnChannel`,
`ChannelEnded`), peers (gossip messages, who is there), chain (tips), the API. Says: peers (messages
to send, complaints).
Every own channel is compared with the graph at every start and every day, and repaired: edge,
proof, our policy.
"""

from __future__ import annotations

from protocol.chain.items import Tip
from protocol.crypto import secp
from protocol.crypto.keys import ChannelSecrets, NodeKey
from protocol.errors import Malformed
from protocol.gossip import announce, graph, queries, view
from protocol.gossip.announce import Policy, Side
from protocol.gossip.graph import Refused
from protocol.gossip.items import (
    Complain,
    Filter,
    FromWire,
    Own,
    OwnChannel,
    OwnChannels,
    PeerDown,
    PeerUp,
    Said,
    ToWire,
)
from protocol.machine import Answer, Ask, Moment, Step
from protocol.monitor.items import ChannelEnded
from protocol.wire import gossip
from protocol.wire.gossip import ChannelAnnouncement, NodeAnnouncement
from protocol.wire.message import Message

REFRESH_SECONDS, CHECK_SECONDS = 12 * 24 * 3600, 24 * 3600
CHANNELS_A_TURN, TURN_SECONDS = 200, 0.2
DELTA, BASE_MSAT, PPM = 80, 1000, 10
ASKED: dict[int, type[Message]] = {
    cls.TYPE: cls
    for cls in (
        gossip.QueryShortChannelIds,
        gossip.QueryChannelRange,
        gossip.GossipTimestampFilter,
    )
}


class Machine:
    """The gossiper's decisions. `shown`: alias (text) and rgb (3 bytes) of our announcement."""

    name = "gossiper"

    def __init__(
        self, channel_secret: bytes, node: NodeKey, features: bytes, alias: str, rgb: bytes
    ) -> None:
        self._master, self.node = channel_secret, node
        self.features, self.alias, self.rgb = features, alias, rgb

    def resume(self, step: Step, name: str | None, at: Moment) -> None:
        if name is None:
            self._check_all(step, at)
            step.wake(at.unix_seconds + CHECK_SECONDS)
        elif name == "peers":
            for key in [*step.scan("~up/"), *step.scan("~filter/"), *step.scan("~backlog/")]:
                step.drop(key)

    def wake(self, step: Step, at: Moment) -> None:
        for key in step.scan("~backlog/"):
            self._next_of_backlog(step, bytes.fromhex(key.removeprefix("~backlog/")), at)
        checked = step.get("~checked") or 0.0
        if at.unix_seconds - checked >= CHECK_SECONDS:
            self._check_all(step, at)
            step.wake(at.unix_seconds + CHECK_SECONDS)

    def drain(self, step: Step, at: Moment) -> None:
        pass

    def step(self, step: Step, sender: str, item: object, at: Moment) -> None:
        match item:
            case OwnChannel():
                self._own(step, item, at)
            case OwnChannels():
                self._all_own(step, item, at)
            case ChannelEnded():
                self._ended(step, item.channel_id)
            case FromWire():
                self._from_wire(step, item, at)
            case PeerUp():
                step.put(f"~up/{item.peer.hex()}", item)
                for own in step.scan("own/").values():
                    if own.facts.theirs.node_id == item.peer:
                        self._ask_for_theirs(step, own)
            case PeerDown():
                for kind in ("up", "filter", "backlog"):
                    step.drop(f"~{kind}/{item.peer.hex()}")
            case Tip():
                self._tip(step, item)
            case Ask():
                self._ask(step, item)
            case _:
                raise AssertionError(type(item).__name__)

    # ---- our own channels ----

    def _all_own(self, step: Step, item: OwnChannels, at: Moment) -> None:
        alive = {facts.channel_id for facts in item.all}
        for own in step.scan("own/").values():
            if own.facts.channel_id not in alive:
                self._ended(step, own.facts.channel_id)
        for facts in item.all:
            self._own(step, facts, at)

    def _own(self, step: Step, facts: OwnChannel, at: Moment) -> None:
        key = f"own/{facts.channel_id.hex()}"
        known = step.get(key)
        if known is not None and known.facts.scid != facts.scid:
            graph.forget_edge(step, known.facts.scid)  # a reorganisation put it elsewhere
        policy = known.policy if known is not None else _default(facts)
        own = Own(facts=facts, policy=policy)
        if own != known:
            step.put(key, own)
        self._check(step, own, at)

    def _check_all(self, step: Step, at: Moment) -> None:
        step.put("~checked", at.unix_seconds)
        for own in step.scan("own/").values():
            self._check(step, own, at)

    def _check(self, step: Step, own: Own, at: Moment) -> None:
        """Edge with its proof, our policy, our node: what is missing or old is made anew."""
        scid = own.facts.scid
        new: list[bytes] = []
        edge = step.get(graph.edge_key(scid))
        if edge is None or not _is_proved(edge.raw):
            raw = self._whole(own.facts)
            graph.add_edge(step, raw, own.facts.capacity_sat)
            new.append(raw)
        new += self._renewed_update(step, own, at) + self._renewed_node(step, at)
        self._tell_all(step, new)
        self._ask_for_theirs(step, own)

    def _ask_for_theirs(self, step: Step, own: Own) -> None:
        """The peer may have said it before we knew the channel, or on a connection that broke."""
        peer = own.facts.theirs.node_id
        way = announce.direction(peer, self.node.id)
        keys = (graph.update_key(own.facts.scid, way), graph.node_key(peer))
        missing = any(step.get(key) is None for key in keys)
        if missing and step.get(f"~up/{peer.hex()}") is not None:
            query = gossip.QueryShortChannelIds(
                chain_hash=self.node.chain_hash,
                encoded_short_ids=gossip.encode_ids([own.facts.scid]),
            )
            self._send(step, peer, [query.encode()])

    def _whole(self, facts: OwnChannel) -> bytes:
        secret = ChannelSecrets(self._master, facts.key_index).funding
        ours = Side(node_id=self.node.id, funding_key=secp.public_key(secret))
        bare = announce.unsigned(self.node.chain_hash, facts.scid, ours, facts.theirs)
        half = announce.sign_half(bare, self.node.secret, secret)
        return announce.whole(bare, ours, half, facts.their_half)

    def _renewed_update(self, step: Step, own: Own, at: Moment) -> list[bytes]:
        way = announce.direction(self.node.id, own.facts.theirs.node_id)
        key = graph.update_key(own.facts.scid, way)
        known = step.get(key)
        if known is not None and not _is_old(known, at):
            message = gossip.ChannelUpdate.decode(known.raw[2:])
            if announce.policy_of(message) == own.policy:
                return []
        timestamp = _later(known, at)
        scid, policy = own.facts.scid, own.policy
        raw = announce.update(self.node.chain_hash, scid, way, timestamp, policy, self.node.secret)
        step.put(key, Said(raw=raw, timestamp=timestamp))
        return [raw]

    def _renewed_node(self, step: Step, at: Moment) -> list[bytes]:
        known = step.get(graph.node_key(self.node.id))
        if known is not None and not _is_old(known, at):
            return []
        timestamp = _later(known, at)
        message = NodeAnnouncement(
            signature=bytes(64),
            features=self.features,
            timestamp=timestamp,
            node_id=self.node.id,
            rgb_color=self.rgb,
            alias=self.alias.encode()[:32].ljust(32, b"\0"),
            addresses=b"",
        )
        raw = announce.node_announcement(message, self.node.secret)
        step.put(graph.node_key(self.node.id), Said(raw=raw, timestamp=timestamp))
        return [raw]

    def _ended(self, step: Step, channel_id: bytes) -> None:
        own = step.get(f"own/{channel_id.hex()}")
        if own is None:
            return
        step.drop(f"own/{channel_id.hex()}")
        edge, tip = step.get(graph.edge_key(own.facts.scid)), step.get("~tip")
        if edge is not None:
            spent = edge.but(spent_height=tip.height if tip is not None else 0)
            step.put(graph.edge_key(own.facts.scid), spent)

    def _tip(self, step: Step, tip: Tip) -> None:
        """ "SHOULD forget a channel after a 72-block delay"."""
        step.put("~tip", tip)
        for key, edge in step.scan("edge/").items():
            spent = edge.spent_height
            if spent is not None and tip.height - spent >= graph.FORGET_BLOCKS:
                graph.forget_edge(step, bytes.fromhex(key.removeprefix("edge/")))

    # ---- what others say ----

    def _from_wire(self, step: Step, item: FromWire, at: Moment) -> None:
        kind = int.from_bytes(item.message[:2], "big")
        try:
            if kind in ASKED:
                self._asked(step, item.peer, ASKED[kind].decode(item.message[2:]), at)
            elif kind == gossip.ChannelUpdate.TYPE:
                now = at.unix_seconds
                graph.hear_update(step, item.message, self.node.chain_hash, now)
                self._pass_on(step, item, at)
            elif kind == NodeAnnouncement.TYPE:
                graph.hear_node(step, item.message, at.unix_seconds)
                self._pass_on(step, item, at)
        except Refused as refused:
            if refused.text:
                step.say("peers", Complain(peer=item.peer, text=refused.text))
        except Malformed as malformed:
            step.say("peers", Complain(peer=item.peer, text=str(malformed)))

    def _asked(self, step: Step, peer: bytes, query: Message, at: Moment) -> None:
        chain_hash = self.node.chain_hash
        match query:
            case gossip.QueryShortChannelIds():
                self._send(step, peer, queries.answer_ids(step, query, chain_hash))
            case gossip.QueryChannelRange():
                self._send(step, peer, queries.answer_range(step, query, chain_hash))
            case gossip.GossipTimestampFilter():
                if query.chain_hash == chain_hash:
                    first = query.first_timestamp
                    wanted = Filter(first=first, last=first + query.timestamp_range)
                    step.put(f"~filter/{peer.hex()}", wanted)
                    step.put(f"~backlog/{peer.hex()}", Said(raw=b"", timestamp=0))
                    self._next_of_backlog(step, peer, at)

    # ---- who is told ----

    def _send(self, step: Step, peer: bytes, messages: list[bytes]) -> None:
        if messages:
            step.say("peers", ToWire(peer=peer, messages=tuple(messages)))

    def _tell_all(self, step: Step, messages: list[bytes]) -> None:
        """ "SHOULD send gossip messages as it generates them regardless of timestamp"."""
        for up in step.scan("~up/").values():
            self._send(step, up.peer, messages)

    def _pass_on(self, step: Step, item: FromWire, at: Moment) -> None:
        """To those who have asked for gossip of this time, and not back."""
        for key, wanted in step.scan("~filter/").items():
            peer = bytes.fromhex(key.removeprefix("~filter/"))
            if peer != item.peer and wanted.first <= at.unix_seconds < wanted.last:
                self._send(step, peer, [item.message])

    def _next_of_backlog(self, step: Step, peer: bytes, at: Moment) -> None:
        """Some channels for a peer that has asked: a turn has an end, and so has our memory."""
        key = f"~backlog/{peer.hex()}"
        after, wanted = step.get(key).raw, step.get(f"~filter/{peer.hex()}")
        scids = sorted(bytes.fromhex(name.removeprefix("edge/")) for name in step.scan("edge/"))
        waiting = [scid for scid in scids if scid > after]
        messages: list[bytes] = []
        for scid in waiting[:CHANNELS_A_TURN]:
            updates = [step.get(graph.update_key(scid, way)) for way in (0, 1)]
            times = [update.timestamp for update in updates if update is not None]
            if any(wanted.first <= time < wanted.last for time in times):
                edge = step.get(graph.edge_key(scid))
                messages += graph.of_channel(step, scid)
                messages += graph.of_nodes(step, list(edge.nodes))
        self._send(step, peer, messages)
        if len(waiting) > CHANNELS_A_TURN:
            step.put(key, Said(raw=waiting[CHANNELS_A_TURN - 1], timestamp=0))
            step.wake(at.unix_seconds + TURN_SECONDS)
        else:
            step.drop(key)

    # ---- questions ----

    def _ask(self, step: Step, ask: Ask) -> None:
        match ask.method:
            case "listchannels":
                result = view.listchannels(step, ask.params)
            case "listnodes":
                result = view.listnodes(step, ask.params)
            case _:
                raise AssertionError(ask.method)
        step.say("api", Answer(id=ask.id, result=result))


def _default(facts: OwnChannel) -> Policy:
    return Policy(
        cltv_expiry_delta=DELTA,
        htlc_minimum_msat=facts.least_msat,
        htlc_maximum_msat=min(facts.most_msat, facts.capacity_sat * 1000),
        fee_base_msat=BASE_MSAT,
        fee_proportional_millionths=PPM,
    )


def _is_proved(raw: bytes) -> bool:
    try:
        return announce.announcement_is_signed(raw, ChannelAnnouncement.decode(raw[2:]))
    except Malformed:
        return False


def _is_old(said: Said, at: Moment) -> bool:
    return at.unix_seconds - said.timestamp > REFRESH_SECONDS


def _later(known: Said | None, at: Moment) -> int:
    """Ours must rise, whatever the clock says."""
    return max(int(at.unix_seconds), known.timestamp + 1 if known is not None else 0)
