"""Our own channels in the graph: compared with the facts at every start and every day, repaired.

Edge, proof, our policy, our node: what is missing or old is made anew. A channel whose peer has
been away for a while says so (disabled), and says again when it is back.
"""

from __future__ import annotations

from protocol.chain.messages import TIP
from protocol.channel import proof
from protocol.channel.proof import Side
from protocol.crypto import secp
from protocol.crypto.keys import ChannelSecrets, NodeKey
from protocol.errors import Malformed
from protocol.gossip import announce, asking, graph, policies
from protocol.gossip.graph import Refused
from protocol.gossip.messages import OwnChannel, OwnChannels, Reconnect, ToWire
from protocol.gossip.rows import (
    AWAY,
    EDGES,
    HEARD,
    KEEPERS,
    KEPT,
    NODES,
    OFF,
    OWN,
    SILENT,
    UP,
    UPDATES,
    Facts,
    Own,
    Said,
)
from protocol.machine import Answer, Ask, Moment, Step
from protocol.scid import alias_of, scid_text
from protocol.wire.gossip import (
    DIRECTION,
    DONT_FORWARD,
    MUST_BE_ONE,
    ChannelAnnouncement,
    ChannelUpdate,
    NodeAnnouncement,
)

REFRESH_SECONDS = 12 * 24 * 3600
DISABLE_SECONDS = 20 * 60
MAX_KEPT, MAX_KEPT_BYTES = 8, 400
RECONNECT_AFTER, RECONNECT_EVERY = 2, 120  # ticks of the gossiper


class Owner:
    """`shown`: features (bytes), alias (text), rgb (3 bytes) and addresses of our announcement."""

    def __init__(
        self,
        channel_secret: bytes,
        node: NodeKey,
        features: bytes,
        alias: str,
        rgb: bytes,
        addresses: bytes = b"",
    ) -> None:
        self._master, self.node = channel_secret, node
        self.features, self.alias, self.rgb, self.addresses = features, alias, rgb, addresses

    # ---- what monitors say ----

    def all(self, step: Step, monitor: str, item: OwnChannels, at: Moment) -> None:
        """A channel that its monitor does not have any more is gone; one that no monitor has
        spoken of is gone when all have spoken."""
        HEARD.put(step, True, monitor)
        all_said = len(HEARD.below(step)) >= item.of
        alive = {facts.channel_id for facts in item.all}
        for own in OWN.below(step).values():
            cid = own.facts.channel_id
            keeper = monitor if cid in alive else KEEPERS.get(step, cid)
            if keeper == monitor and cid not in alive or keeper is None and all_said:
                self.ended(step, cid)
        for facts in item.all:
            KEEPERS.put(step, monitor, facts.channel_id)
        for facts in item.all:
            self.one(step, facts, at)

    def one(self, step: Step, item: OwnChannel, at: Moment) -> None:
        """A monitor says what it knows of a channel of ours: announced as soon as both halves
        are here."""
        facts = item.into(Facts)
        known = OWN.get(step, facts.channel_id)
        if known is not None and known.facts.scid != facts.scid:
            graph.forget_edge(step, known.facts.scid)  # a reorganisation put it elsewhere
        own = Own(facts=facts, policy=policies.default_policy(facts))
        if known is not None:
            own = known.but(facts=facts)
        if own != known:
            OWN.put(step, own, facts.channel_id)
            policies.tell_payments(step, own)
        self.check(step, own, at)

    def ended(self, step: Step, channel_id: bytes) -> None:
        """A channel of ours has ended: it is forgotten, its announcement as that of any other."""
        own = OWN.get(step, channel_id)
        if own is not None:
            OWN.drop(step, channel_id)
            if EDGES.get(step, own.facts.scid) is None:
                for way in (0, 1):
                    UPDATES.drop(step, own.facts.scid, way)
            tip = TIP.get(step)
            graph.spend(step, own.facts.scid, tip.height if tip is not None else 0)

    def tell_payments(self, step: Step) -> None:
        """Fees and limits of all our channels, for payments that has restarted."""
        for own in OWN.below(step).values():
            policies.tell_payments(step, own)

    # ---- the comparison ----

    def check_all(self, step: Step, at: Moment) -> None:
        """As `check`, all of them."""
        for own in OWN.below(step).values():
            self.check(step, own, at)

    def check(self, step: Step, own: Own, at: Moment) -> None:
        """What should be known of a channel of ours is said, and put right where it is not."""
        scid = own.facts.scid
        if own.facts.their_half is None:
            self._tell_peer_alone(step, own, at)
            return
        funding = (own.facts.txid, own.facts.capacity_sat)
        if not _is_right(step, scid, funding):
            raw = self._whole(own.facts)
            message = ChannelAnnouncement.decode(raw[2:])
            graph.add_edge(step, raw, message, funding, at.unix_seconds)
        for node in (self.node.id, own.facts.theirs.node_id):
            if graph.said(step, node) is None:
                NODES.drop(step, node)
        self._renew_update(step, own, at)
        self._renew_node(step, at)
        self.ask_for_theirs(step, own)

    def _tell_peer_alone(self, step: Step, own: Own, at: Moment) -> None:
        """ "MAY create a channel_update to communicate the channel parameters to the channel peer,
        even though the channel has not yet been announced"."""
        peer = own.facts.theirs.node_id
        if UP.get(step, peer) is None:
            return
        way = announce.direction(self.node.id, peer)
        timestamp = _later(own.told_at, at)
        OWN.put(step, own.but(told_at=timestamp), own.facts.channel_id)
        raw = announce.update(
            self.node.chain_hash, own.facts.called, way, timestamp, own.policy, self.node.secret,
            message_flags=MUST_BE_ONE | DONT_FORWARD,
        )  # fmt: skip
        step.tell("peers", ToWire(peer=peer, messages=(raw,)))

    def keep_for_later(self, step: Step, peer: bytes, raw: bytes) -> None:
        """An update of a channel that we know nothing of. The peer may be faster than our own
        monitors; some never say it again, so the last few are kept."""
        if len(raw) <= MAX_KEPT_BYTES:
            known = KEPT.get(step, peer) or ()
            KEPT.put(step, (*known, raw)[-MAX_KEPT:], peer)

    def kept(self, step: Step, peer: bytes) -> tuple[bytes, ...]:
        """Given once."""
        found = KEPT.get(step, peer) or ()
        KEPT.drop(step, peer)
        return found

    def hear_update(
        self, step: Step, peer: bytes, raw: bytes, message: ChannelUpdate, now: float
    ) -> bool:
        """Of a channel of ours that is not announced, from its peer: kept, and not passed on.

        It counts in the graph as soon as the channel stands there: nobody may say it again.
        """
        for own in OWN.below(step).values():
            facts, theirs = own.facts, announce.policy_of(message)
            if facts.theirs.node_id != peer or facts.their_half is not None:
                continue
            if message.short_channel_id not in (facts.scid, alias_of(facts.channel_id)):
                continue
            if message.channel_flags & DIRECTION != announce.direction(peer, self.node.id):
                return True  # our own, which the peer gives back
            # "if signature is not a valid signature ...: MUST NOT process the message further"
            if not announce.is_signed_by(raw, peer, message.signature):
                raise Refused("channel_update with a wrong signature")
            way = announce.direction(peer, self.node.id)
            before = _update(graph.said(step, facts.scid, way))
            graph.check_time(message.timestamp, before.timestamp if before is not None else 0, now)
            most_msat = facts.capacity_sat * 1000
            # "if htlc_maximum_msat < htlc_minimum_msat", "is greater than channel capacity"
            if not theirs.htlc_minimum_msat <= theirs.htlc_maximum_msat <= most_msat:
                raise Refused
            if theirs != own.theirs:
                own = own.but(theirs=theirs)
                OWN.put(step, own, facts.channel_id)
                policies.tell_payments(step, own)
            if message.short_channel_id == facts.scid and not message.message_flags & DONT_FORWARD:
                UPDATES.put(step, Said(raw=raw), facts.scid, way)
            return True
        return False

    # ---- questions ----

    def set_channel(self, step: Step, ask: Ask, at: Moment) -> Answer:
        """Core Lightning's `setchannel`: of one channel, of all with a peer, or of "all"."""
        wanted = ask.params["id"]
        rows = []
        for key, own in OWN.below(step).items():
            facts = own.facts
            names = (facts.channel_id.hex(), scid_text(facts.scid), facts.theirs.node_id.hex())
            if wanted != "all" and wanted not in names:
                continue
            own = own.but(policy=policies.changed(own, ask.params))
            OWN.put(step, own, *key)
            policies.tell_payments(step, own)
            self.check(step, own, at)
            rows.append(policies.shown(own))
        if not rows:
            text = "id: there is no such usable channel"
            return Answer(id=ask.id, code=-32602, text=text)
        return Answer(id=ask.id, result={"channels": rows})

    def policies(self, step: Step) -> dict[str, dict[str, object]]:
        """By channel id: what both ends ask for, as `listpeerchannels` shows it."""
        found = {}
        for own in OWN.below(step).values():
            theirs = own.theirs
            way = announce.direction(own.facts.theirs.node_id, self.node.id)
            if theirs is None:
                said = _update(graph.said(step, own.facts.scid, way))
                theirs = announce.policy_of(said) if said is not None else None
            row: dict[str, object] = {
                "fee_base_msat": own.policy.fee_base_msat,
                "fee_proportional_millionths": own.policy.fee_proportional_millionths,
                "updates": {"local": policies.listed(own.policy)},
            }
            if theirs is not None:
                row["updates"] = {
                    "local": policies.listed(own.policy),
                    "remote": policies.listed(theirs),
                }
            found[own.facts.channel_id.hex()] = row
        return found

    def ask_for_theirs(self, step: Step, own: Own) -> None:
        """The peer may have said it before we knew the channel, or on a connection that broke."""
        peer, scid = own.facts.theirs.node_id, own.facts.scid
        way = announce.direction(peer, self.node.id)
        if graph.said(step, scid, way) is None or graph.said(step, peer) is None:
            asking.wish(step, peer, scid)

    def _whole(self, facts: Facts) -> bytes:
        assert facts.their_half is not None
        secret = ChannelSecrets(self._master, facts.key_index).funding
        ours = Side(node_id=self.node.id, funding_key=secp.public_key(secret))
        bare = proof.unsigned(self.node.chain_hash, facts.scid, ours, facts.theirs)
        half = proof.sign_half(bare, self.node.secret, secret)
        return proof.whole(bare, ours, half, facts.their_half)

    def _renew_update(self, step: Step, own: Own, at: Moment) -> None:
        scid, way = own.facts.scid, announce.direction(self.node.id, own.facts.theirs.node_id)
        known = graph.said(step, scid, way)
        edge = EDGES.need(step, scid)
        policy = own.policy.but(disabled=self._is_off(step, own))
        said = _update(known)
        if said is not None and not _is_old(said.timestamp, at):
            same = announce.policy_of(said) == policy
            if same and edge.times[way] == said.timestamp:
                return
        last = max(edge.times[way], said.timestamp if said is not None else 0, own.told_at)
        raw = announce.update(
            self.node.chain_hash, scid, way, _later(last, at), policy, self.node.secret
        )
        graph.put_update(step, raw, ChannelUpdate.decode(raw[2:]), policy)

    def _renew_node(self, step: Step, at: Moment) -> None:
        known, raw = NODES.get(step, self.node.id), graph.said(step, self.node.id)
        last = known.timestamp if known is not None else 0
        message = NodeAnnouncement(
            signature=bytes(64),
            features=self.features,
            timestamp=last,
            node_id=self.node.id,
            rgb_color=self.rgb,
            alias=self.alias.encode()[:32].ljust(32, b"\0"),
            addresses=self.addresses,
        )
        if raw is not None and not _is_old(last, at):
            said = NodeAnnouncement.decode(raw[2:])
            if said.but(signature=message.signature) == message:
                return
        message = message.but(timestamp=_later(last, at))
        raw = announce.node_announcement(message, self.node.secret)
        graph.put_node(step, raw, NodeAnnouncement.decode(raw[2:]))

    # ---- the peer's absence ----

    def _is_off(self, step: Step, own: Own) -> bool:
        return OFF.get(step, own.facts.theirs.node_id) is not None

    def peer_up(self, step: Step, peer: bytes, at: Moment) -> None:
        """It is told what we say of our channels with it, also when it was told before: either
        side may have died with it in hand."""
        AWAY.drop(step, peer)
        OFF.drop(step, peer)
        messages: list[bytes | None] = []
        for own in OWN.below(step).values():
            if own.facts.theirs.node_id == peer:
                self.check(step, own, at)
                if own.facts.their_half is not None:
                    way = announce.direction(self.node.id, peer)
                    messages += [graph.said(step, own.facts.scid, one) for one in (None, way)]
        if messages:
            messages.append(graph.said(step, self.node.id))
            known = tuple(raw for raw in messages if raw is not None)
            step.tell("peers", ToWire(peer=peer, messages=known))

    def ask_for_what_is_missing(self, step: Step) -> None:
        """Again and again: a question may have been lost. Some answer none, but give all that they
        know on a new connection: that is tried once in a while."""
        for own in OWN.below(step).values():
            peer, scid = own.facts.theirs.node_id, own.facts.scid
            way = announce.direction(peer, self.node.id)
            if own.facts.their_half is None or graph.said(step, scid, way) is not None:
                continue
            self.ask_for_theirs(step, own)
            times = (SILENT.get(step, peer) or 0) + 1
            SILENT.put(step, times % RECONNECT_EVERY, peer)
            if times == RECONNECT_AFTER:
                step.tell("peers", Reconnect(peer=peer))

    def peer_down(self, step: Step, peer: bytes, at: Moment) -> None:
        """Said only when it lasts: connections break all the time."""
        for own in OWN.below(step).values():
            if own.facts.theirs.node_id == peer:
                AWAY.put(step, at.unix_seconds, peer)
                step.wake(at.unix_seconds + DISABLE_SECONDS)

    def all_away(self, step: Step, at: Moment) -> None:
        """A start: nobody is connected yet."""
        for own in OWN.below(step).values():
            self.peer_down(step, own.facts.theirs.node_id, at)

    def look_who_is_away(self, step: Step, at: Moment) -> None:
        """Channels of a peer that was away for long are called disabled."""
        for (peer,), since in list(AWAY.each(step)):
            if at.unix_seconds - since >= DISABLE_SECONDS:
                AWAY.drop(step, peer)
                OFF.put(step, True, peer)
                for own in OWN.below(step).values():
                    if own.facts.theirs.node_id == peer and own.facts.their_half:
                        self._renew_update(step, own, at)


def _is_right(step: Step, scid: bytes, funding: tuple[bytes, int]) -> bool:
    """The edge as it should be, with a proof that holds, and every update that it counts."""
    edge, raw = EDGES.get(step, scid), graph.said(step, scid)
    if edge is None or raw is None or (edge.txid, edge.capacity_sat) != funding:
        return False
    if any(time and graph.said(step, scid, way) is None for way, time in enumerate(edge.times)):
        return False
    try:
        return announce.announcement_is_signed(raw, ChannelAnnouncement.decode(raw[2:]))
    except Malformed:
        return False


def _update(raw: bytes | None) -> ChannelUpdate | None:
    return ChannelUpdate.decode(raw[2:]) if raw is not None else None


def _is_old(timestamp: int, at: Moment) -> bool:
    return at.unix_seconds - timestamp > REFRESH_SECONDS


def _later(known: int, at: Moment) -> int:
    """Ours must rise, whatever the clock says."""
    return max(int(at.unix_seconds), known + 1)
