"""The gossiper: our own channels announced, what others say of theirs, and who is told what.

Owns: the graph, our own channels' policies. Hears: monitors (`OwnChannels`, `OwnChannel`,
`ChannelEnded`), peers (gossip messages, who is there), chain (tips, blocks, `OutputsFound`), router
(`Since`), the API. Tells: peers (messages to send, complaints), chain (`LookUp`, `NextBlock`),
router (`News`).
"""

from __future__ import annotations

from contextlib import suppress
from typing import assert_never

from protocol import machine as contract
from protocol.bitcoin.transaction import parse_block
from protocol.chain.messages import TIP, LostBlock, NewBlock, NextBlock, OutputsFound, Tip
from protocol.channel.messages import ChannelEnded
from protocol.crypto.keys import NodeKey
from protocol.errors import Malformed
from protocol.gossip import asking, feeding, graph, rpc, serving, strangers
from protocol.gossip.graph import Refused
from protocol.gossip.messages import (
    Complain,
    Digested,
    FromWire,
    OwnChannel,
    OwnChannels,
    PeerDown,
    PeerUp,
    Since,
    WireDrained,
)
from protocol.gossip.own_channels import Owner
from protocol.gossip.rows import (
    CHECKED,
    DIGESTED,
    EDGES,
    EPOCH,
    FOLLOWED,
    KEEPERS,
    KEEPS,
    KEPT,
    OWN,
    STRIKES,
    TICKED,
    UP,
    Epoch,
    Followed,
)
from protocol.machine import Ask, Moment, Step
from protocol.wire import gossip
from protocol.wire.gossip import (
    ChannelAnnouncement,
    ChannelUpdate,
    NodeAnnouncement,
    ReplyChannelRange,
    ReplyShortChannelIdsEnd,
)

CHECK_SECONDS, TICK_SECONDS = 24 * 3600, 30.0
REORG_BLOCKS = 100  # read again after a reorganisation, however deep it was
QUERIES: dict[int, type[serving.Query]] = {
    cls.TYPE: cls
    for cls in (
        gossip.QueryShortChannelIds,
        gossip.QueryChannelRange,
        gossip.GossipTimestampFilter,
    )
}

Heard = (
    OwnChannel | OwnChannels | ChannelEnded | FromWire | PeerUp | PeerDown | WireDrained | Tip
    | NewBlock | LostBlock | OutputsFound | Since | Ask
)  # fmt: skip


class Machine(contract.Machine):
    """What the network says of its channels, and what we say of ours (BOLT 7)."""

    name = "gossiper"
    hears = Heard
    keeps = KEEPS

    def __init__(
        self,
        channel_secret: bytes,
        node: NodeKey,
        features: bytes,
        alias: str,
        rgb: bytes,
        addresses: bytes = b"",
    ) -> None:
        self.node = node
        self.own = Owner(channel_secret, node, features, alias, rgb, addresses)

    def resume(self, step: Step, name: str | None, at: Moment) -> None:
        match name:
            case None:
                if EPOCH.get(step) is None:
                    EPOCH.put(step, Epoch(value=at.entropy[:8]))
                graph.count(step)
                CHECKED.put(step, at.unix_seconds)
                self.own.check_all(step, at)
                self.own.all_away(step, at)
                step.wake(at.unix_seconds + TICK_SECONDS)
            case "peers":
                for _, up in list(UP.each(step)):
                    self._peer_down(step, up.peer, at)
            case "payments":
                self.own.tell_payments(step)
            case "chain":
                strangers.ask_again(step)
                self._follow(step)

    def wake(self, step: Step, at: Moment) -> None:
        feeding.go_on(step, at)
        self.own.look_who_is_away(step, at)
        if at.unix_seconds - (TICKED.get(step) or 0.0) < TICK_SECONDS:
            return
        TICKED.put(step, at.unix_seconds)
        step.wake(at.unix_seconds + TICK_SECONDS)
        asking.give_up_waiting(step, at)
        self.own.ask_for_what_is_missing(step)
        if at.unix_seconds - CHECKED.need(step) >= CHECK_SECONDS:
            CHECKED.put(step, at.unix_seconds)
            self._forget_stale(step, at)
            self.own.check_all(step, at)

    def drain(self, step: Step, at: Moment) -> None:
        serving.serve(step, at)
        strangers.look_up(step)
        asking.ask(step, self.node.chain_hash, at)
        feeding.pass_on(step, at)
        feeding.tell_router(step)
        self._digested(step)

    def _digested(self, step: Step) -> None:
        """Peers may send more. While too many channels wait for the chain, only those may that we
        have a channel with: their connection carries money too, and what is too much is dropped."""
        full = strangers.waiting(step) > strangers.MAX_PENDING // 2
        ours = {own.facts.theirs.node_id for own in OWN.below(step).values()} if full else set()
        for (peer,), size in list(DIGESTED.each(step)):
            if not full or peer in ours:
                DIGESTED.drop(step, peer)
                step.tell("peers", Digested(peer=peer, size=size))

    def step(self, step: Step, sender: str, item: Heard, at: Moment) -> None:
        match item:
            case FromWire():
                self._from_wire(step, item, at)
            case OutputsFound():
                strangers.found(step, item, at.unix_seconds)
            case WireDrained():
                serving.drained(step, item.peer)
            case OwnChannel():
                KEEPERS.put(step, sender, item.channel_id)
                self.own.one(step, item, at)
                self._hear_kept(step, item.theirs.node_id, at)
            case OwnChannels():
                self.own.all(step, sender, item, at)
            case ChannelEnded():
                self.own.ended(step, item.channel_id)
            case PeerUp():
                asking.peer_up(step, item, self.node.chain_hash, at)
                self.own.peer_up(step, item.peer, at)
            case PeerDown():
                self._peer_down(step, item.peer, at)
            case Tip():
                self._tip(step, item)
            case NewBlock():
                self._block(step, item)
            case LostBlock():
                self._lost_block(step, item)
            case Since():
                feeding.catch_up(step, item, at)
            case Ask():
                self._ask(step, item, at)
            case _:
                assert_never(item)

    def _peer_down(self, step: Step, peer: bytes, at: Moment) -> None:
        serving.gone(step, peer)
        for known in (STRIKES, DIGESTED, KEPT):
            known.drop(step, peer)
        asking.peer_down(step, peer)
        self.own.peer_down(step, peer, at)

    # ---- what others say ----

    def _from_wire(self, step: Step, item: FromWire, at: Moment) -> None:
        size = (DIGESTED.get(step, item.peer) or 0) + len(item.message)
        DIGESTED.put(step, size, item.peer)
        try:
            self._hear(step, item.peer, item.message, at)
        except Refused as refused:
            if refused.text:
                step.tell("peers", Complain(peer=item.peer, text=refused.text))
        except Malformed as malformed:
            step.tell("peers", Complain(peer=item.peer, text=str(malformed)))

    def _hear(self, step: Step, peer: bytes, raw: bytes, at: Moment) -> None:
        kind, body = int.from_bytes(raw[:2], "big"), raw[2:]
        if kind == ChannelUpdate.TYPE:
            self._hear_update(step, peer, raw, at.unix_seconds)
        elif kind == ChannelAnnouncement.TYPE:
            strangers.hear_channel(step, peer, raw, self.node.chain_hash)
        elif kind == NodeAnnouncement.TYPE:
            node = NodeAnnouncement.decode(body)
            if graph.degree(step, node.node_id):
                graph.hear_node(step, raw, node, at.unix_seconds, peer)
            else:
                strangers.hear_node(step, raw, node, at.unix_seconds)
        elif kind in QUERIES:
            query = QUERIES[kind].decode(body)
            serving.asked(step, peer, query, self.node.chain_hash)
        elif kind == ReplyChannelRange.TYPE:
            asking.hear_range(step, peer, ReplyChannelRange.decode(body), at)
        elif kind == ReplyShortChannelIdsEnd.TYPE:
            asking.hear_end(step, peer, ReplyShortChannelIdsEnd.decode(body))

    def _hear_update(self, step: Step, peer: bytes, raw: bytes, now: float) -> None:
        message = ChannelUpdate.decode(raw[2:])
        if message.chain_hash != self.node.chain_hash:
            raise Refused
        if EDGES.get(step, message.short_channel_id) is not None:
            graph.hear_update(step, raw, message, now, peer)
        elif self.own.hear_update(step, peer, raw, message, now):
            pass
        elif not strangers.hear_update(step, raw, message, now):
            self.own.keep_for_later(step, peer, raw)

    def _hear_kept(self, step: Step, peer: bytes, at: Moment) -> None:
        """What the peer said of a channel before our own monitors did."""
        for raw in self.own.kept(step, peer):
            with suppress(Refused):
                self._hear_update(step, peer, raw, at.unix_seconds)

    # ---- the chain ----

    def _tip(self, step: Step, tip: Tip) -> None:
        """ "SHOULD forget a channel after a 72-block delay"."""
        TIP.put(step, tip)
        strangers.grown(step, tip.height)
        self._follow(step)
        for (scid,), edge in list(EDGES.each(step)):
            spent = edge.spent_height
            if spent is not None and tip.height - spent >= graph.FORGET_BLOCKS:
                graph.forget_edge(step, scid)

    def _follow(self, step: Step) -> None:
        """Block by block, from the one that was read last; the first one is the tip."""
        last, tip = FOLLOWED.get(step), TIP.get(step)
        if tip is not None and (last is None or last.hash != tip.hash):
            height, block = (-1, bytes(32)) if last is None else (last.height, last.hash)
            step.tell("chain", NextBlock(height=height, hash=block))

    def _block(self, step: Step, item: NewBlock) -> None:
        """Which channels does this block end?"""
        block = parse_block(item.raw)
        last = FOLLOWED.get(step)
        if last is not None and last.hash not in (b"", block.previous):
            return
        spent = {
            (spend.outpoint.txid, spend.outpoint.vout)
            for tx in block.transactions[1:]
            for spend in tx.inputs
        }
        for (scid,), edge in list(EDGES.each(step)) if spent else ():
            if edge.spent_height is None and (edge.txid, graph.vout(scid)) in spent:
                graph.spend(step, scid, item.height)
        FOLLOWED.put(step, Followed(height=item.height, hash=block.hash))
        self._follow(step)

    def _lost_block(self, step: Step, item: LostBlock) -> None:
        """A reorganisation: what these blocks ended lives again, and they are read anew."""
        last = FOLLOWED.get(step)
        if last is None or last.height != item.height:
            return
        back = max(0, item.height - REORG_BLOCKS)
        for (scid,), edge in list(EDGES.each(step)):
            if edge.spent_height is not None and edge.spent_height > back:
                graph.spend(step, scid, None)
        FOLLOWED.put(step, Followed(height=back, hash=b""))
        self._follow(step)

    def _forget_stale(self, step: Step, at: Moment) -> None:
        """ "MAY prune a channel should the timestamp of the latest channel_update in either
        direction be older than two weeks"."""
        ours = {own.facts.scid for own in OWN.below(step).values()}
        for (scid,), edge in list(EDGES.each(step)):
            newest = max(edge.heard, *edge.times)
            if at.unix_seconds - newest >= graph.STALE_SECONDS and scid not in ours:
                graph.forget_edge(step, scid)

    # ---- questions ----

    def _ask(self, step: Step, ask: Ask, at: Moment) -> None:
        match ask.method:
            case "listchannels":
                step.answer(ask.id, rpc.listchannels(step, ask.params))
            case "listnodes":
                step.answer(ask.id, rpc.listnodes(step, ask.params))
            case "listpolicies":
                step.answer(ask.id, self.own.policies(step))
            case "setchannel":
                step.reply(self.own.set_channel(step, ask, at))
            case _:
                step.unknown(ask)
