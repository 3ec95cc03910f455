"""Openings: one machine for each, both roles, from the first message until it needs no more.

Until our side has something to lose an opening lives in memory only ("~nego/...", "~group/..."): an
interrupted negotiation leaves nothing behind. From then on it is row "opening/<channel id>":

    guarding      the monitor is asked to take the channel; nothing has left the node
    guarded       the monitor has it; others in the same transaction are still guarding
    confirming    POINT OF NO RETURN: the transaction (or our signature) leaves
    locked        deep enough; the channel exchanges channel_ready
    usable        both sides are ready

The row stays as long as the channel: a reorganisation may still move its funding transaction.
"""

from __future__ import annotations

from protocol.bitcoin.transaction import parse
from protocol.chain.items import Broadcast, Tip, TxConfirmed, TxReorged, Unwatch, WatchTx
from protocol.channel.items import FundingBuried, FundingLocked
from protocol.channel.state import alias_of, short_channel_id
from protocol.errors import PeerFault
from protocol.funding import group
from protocol.funding.group import Opener
from protocol.funding.items import (
    FromPeer,
    Negotiation,
    Opening,
    PeerLost,
    There,
    ToPeer,
    TryLater,
    UnknownChannel,
)
from protocol.funding.negotiation import LOST, PATIENCE_SECONDS, Accepter, Table
from protocol.machine import Answer, Ask, Moment, Step
from protocol.monitor.items import ChannelEnded, ChannelUsable, ForgetUnfunded, Guarding
from protocol.opening import Policy
from protocol.wallet.items import (
    CoinsRefused,
    CoinsReserved,
    ReleaseCoins,
    Reservations,
    ScriptIs,
    SentCoins,
)
from protocol.wire import registry, setup
from protocol.wire.message import Message
from protocol.wire.opening import AcceptChannel, FundingCreated, FundingSigned, OpenChannel

FORGET_BLOCKS, ANNOUNCE_DEPTH = 2016, 6
UNSENT = ("guarding", "guarded")


class Machine:
    """The funding actor's decisions."""

    name = "funding"

    def __init__(self, network: str, channel_secret: bytes, policy: Policy) -> None:
        table = Table(network, channel_secret, policy)
        self.opener, self.accepter = Opener(table), Accepter(table)
        self.table = table

    def resume(self, step: Step, name: str | None, at: Moment) -> None:
        if name in (None, "wallet"):
            alive = [item.purpose for item in step.scan("opening/").values()]
            alive += [key.removeprefix("~group/") for key in step.scan("~group/")]
            alive += [key.removeprefix("~nego/") for key in step.scan("~nego/")]
            step.say("wallet", Reservations(alive=tuple(dict.fromkeys(alive))))
        if name == "wallet":
            self.opener.ask_wallet(step)
            for item in step.scan("~nego/").values():
                self.accepter.ask_wallet(step, item)
        if name == "peers":
            for item in step.scan("~nego/").values():
                self._abandon(step, item, LOST)
            for waiting in step.scan("~group/").values():
                self.opener.look_for_peers(step, waiting)

    def wake(self, step: Step, at: Moment) -> None:
        """A peer that falls silent must not hold coins, nor a place that others want."""
        for item in step.scan("~nego/").values():
            if at.unix_seconds - item.began >= PATIENCE_SECONDS:
                self.table.tell_peer(step, item, "the opening took too long")
                self._abandon(step, item, "the peer did not answer in time")
        if step.rows.segment("~nego"):
            step.wake(at.unix_seconds + PATIENCE_SECONDS / 4)

    def drain(self, step: Step, at: Moment) -> None:
        pass

    def step(self, step: Step, sender: str, item: object, at: Moment) -> None:
        match item:
            case There():
                self.opener.there(step, item, at)
                step.wake(at.unix_seconds + PATIENCE_SECONDS)
            case FromPeer():
                self._from_peer(step, item, at)
            case PeerLost():
                for negotiation in step.scan("~nego/").values():
                    if negotiation.peer == item.peer:
                        self._abandon(step, negotiation, LOST)
            case ScriptIs():
                self._script(step, item)
            case CoinsReserved():
                self.opener.coins(step, item)
            case CoinsRefused():
                self.opener.refused(step, item)
            case UnknownChannel():
                self._unknown(step, item)
            case Guarding():
                self._guarding(step, item)
            case TxConfirmed():
                self._confirmed(step, item)
            case TxReorged():
                self._reorged(step, item)
            case ChannelUsable():
                self._usable(step, item)
            case ChannelEnded():
                self._ended(step, item)
            case Tip():
                self._tip(step, item)
            case Ask():
                self._ask(step, item, at)
            case _:
                raise AssertionError(type(item).__name__)

    # ---- negotiations ----

    def _from_peer(self, step: Step, item: FromPeer, at: Moment) -> None:
        try:
            self._dispatch(step, item, at)
        except PeerFault as fault:
            temporary = item.message[2:34]
            if item.message[:2] == OpenChannel.TYPE.to_bytes(2, "big"):
                temporary = item.message[34:66]
            # of a message that ends early: 32 zero bytes would fail all channels with this peer
            named = temporary.ljust(32, b"\xff")
            error = setup.Error(channel_id=named, data=str(fault).encode())
            step.say("peers", ToPeer(peer=item.peer, message=error.encode()))
            negotiation = step.get(f"~nego/{temporary.hex()}") or self._signed_one(step, item)
            if negotiation is not None and negotiation.peer == item.peer:
                self._abandon(step, negotiation, f"the peer broke a rule: {fault}")

    def _dispatch(self, step: Step, item: FromPeer, at: Moment) -> None:
        message = registry.decode(item.message)
        if isinstance(message, OpenChannel):
            self.accepter.on_open(step, item, message, at)
            step.wake(at.unix_seconds + PATIENCE_SECONDS)
            return
        negotiation = self._negotiation(step, item, message)
        if negotiation is None:
            if not isinstance(message, setup.Error):
                raise PeerFault("a message for an opening that we do not know")
            self._refused_late(step, item, message)
            return
        match message:
            case AcceptChannel():
                self.opener.on_accept(step, negotiation, message)
            case FundingCreated():
                self.accepter.on_created(step, negotiation, message)
            case FundingSigned():
                self.opener.on_signed(step, negotiation, message)
            case setup.Error():
                text = message.data.decode("ascii", "replace")[:200]
                self._abandon(step, negotiation, f"the peer refused: {text!r}")

    def _negotiation(
        self, step: Step, item: FromPeer, message: Message | None
    ) -> Negotiation | None:
        """funding_signed names the channel by its real id, everything else by the temporary one."""
        found = step.get(f"~nego/{item.message[2:34].hex()}")
        if isinstance(message, FundingSigned | setup.Error):
            found = found or self._signed_one(step, item)
        return found if found is not None and found.peer == item.peer else None

    def _refused_late(self, step: Step, item: FromPeer, message: setup.Error) -> None:
        """The peer takes its signature back; nothing has left the node yet."""
        record = step.get(f"opening/{message.channel_id.hex()}")
        if record is not None and record.peer == item.peer and record.state in UNSENT:
            text = message.data.decode("ascii", "replace")[:200]
            self._give_up(step, record, f"the peer refused: {text!r}")

    @staticmethod
    def _signed_one(step: Step, item: FromPeer) -> Negotiation | None:
        """The negotiation whose channel has the id that stands first in the message."""
        begun = [row for _, row in step.each("~nego") if row.channel is not None]
        found = [row for row in begun if row.channel.id == item.message[2:34]]
        return found[0] if found else None

    def _script(self, step: Step, item: ScriptIs) -> None:
        waiting, negotiation = (step.get(f"~{kind}/{item.purpose}") for kind in ("group", "nego"))
        if waiting is not None:
            self.opener.script(step, waiting, item.script)
        elif negotiation is not None:
            try:
                self.accepter.script(step, negotiation, item.script)
            except PeerFault as fault:
                self.table.tell_peer(step, negotiation, str(fault))
                self._abandon(step, negotiation, str(fault))

    def _abandon(self, step: Step, item: Negotiation, why: str) -> None:
        if item.we_opened:
            self.opener.failed(step, item, why)
        else:
            self.accepter.abandon(step, item)

    # ---- durable openings ----

    def _siblings(self, step: Step, record: Opening) -> list[Opening]:
        """All channels of ours in the same transaction, this one too."""
        if not record.we_opened:
            return [step.get(f"opening/{record.channel_id.hex()}")]
        return [row for row in step.scan("opening/").values() if row.purpose == record.purpose]

    def _guarding(self, step: Step, item: Guarding) -> None:
        key = f"opening/{item.channel_id.hex()}"
        record = step.get(key)
        if record is None or record.state != "guarding":
            return
        step.put(key, record.but(state="guarded"))
        siblings = self._siblings(step, record)
        if all(sibling.state == "guarded" for sibling in siblings):
            self._leave(step, siblings)

    def _leave(self, step: Step, records: list[Opening]) -> None:
        """The point of no return: only now does anything leave that could bind us."""
        for record in records:
            step.put(f"opening/{record.channel_id.hex()}", record.but(state="confirming"))
            if record.zeroconf:
                alias = alias_of(record.channel_id)
                step.tell("monitors", FundingLocked(channel_id=record.channel_id, scid=alias))
        first = records[0]
        self._watch(step, first)
        if first.we_opened:
            step.tell("wallet", SentCoins(purpose=first.purpose))
            step.tell("chain", Broadcast(raw=first.raw))
            group.answer(step, self._siblings(step, first))
        else:
            signed = FundingSigned(channel_id=first.channel_id, signature=first.signature)
            step.say("peers", ToPeer(peer=first.peer, message=signed.encode()))

    def _watch(self, step: Step, record: Opening) -> None:
        """The least depth that any channel in this transaction waits for."""
        depths = [max(1, row.minimum_depth) for row in self._by_txid(step, record.funding_txid)]
        watch = WatchTx(txid=record.funding_txid, depth=min(depths), since=record.since)
        step.tell("chain", watch)

    def _unknown(self, step: Step, item: UnknownChannel) -> None:
        """An error would make the peer forget a channel whose transaction may still be sent."""
        record = step.get(f"opening/{item.channel_id.hex()}")
        if record is not None and record.peer == item.peer:
            step.say("peers", TryLater(peer=item.peer))
            return
        error = setup.Error(channel_id=item.channel_id, data=b"we do not know this channel")
        step.say("peers", ToPeer(peer=item.peer, message=error.encode()))

    def _by_txid(self, step: Step, txid: bytes) -> list[Opening]:
        records = step.scan("opening/").values()
        return [record for record in records if record.funding_txid == txid]

    def _confirmed(self, step: Step, item: TxConfirmed) -> None:
        for record in self._by_txid(step, item.txid):
            outputs = parse(item.raw).outputs
            index = record.funding_index
            good = index < len(outputs) and (
                outputs[index].script == record.script
                and outputs[index].amount_sat == record.amount_sat
            )
            if not good:
                # "funding output missing, short or to another script": never usable
                self._drop(step, record)
                continue
            scid = short_channel_id(item.height, item.position, index)
            if item.depth >= record.minimum_depth:
                if record.state == "confirming":
                    step.put(f"opening/{record.channel_id.hex()}", record.but(state="locked"))
                step.tell("monitors", FundingLocked(channel_id=record.channel_id, scid=scid))
            if item.depth >= ANNOUNCE_DEPTH and not record.private:
                step.tell("monitors", FundingBuried(channel_id=record.channel_id, scid=scid))
        self._watch_on(step, item)

    def _watch_on(self, step: Step, item: TxConfirmed) -> None:
        """The next depth that any channel in this transaction waits for."""
        records = self._by_txid(step, item.txid)
        depths = {max(1, record.minimum_depth) for record in records}
        depths |= {ANNOUNCE_DEPTH for record in records if not record.private}
        deeper = sorted(depth for depth in depths if depth > item.depth)
        if deeper:
            since = records[0].since
            step.tell("chain", WatchTx(txid=item.txid, depth=deeper[0], since=since))

    def _reorged(self, step: Step, item: TxReorged) -> None:
        records = self._by_txid(step, item.txid)
        for record in records:
            if record.state == "locked":
                step.put(f"opening/{record.channel_id.hex()}", record.but(state="confirming"))
        if records:
            self._watch(step, records[0])
        for record in [record for record in records if record.we_opened][:1]:
            step.tell("chain", Broadcast(raw=record.raw))

    def _usable(self, step: Step, item: ChannelUsable) -> None:
        key = f"opening/{item.channel_id.hex()}"
        record = step.get(key)
        if record is not None:
            step.put(key, record.but(state="usable"))

    def _ended(self, step: Step, item: ChannelEnded) -> None:
        record = step.get(f"opening/{item.channel_id.hex()}")
        if record is None:
            return
        if record.state in UNSENT:
            self._give_up(step, record, "one of the channels could not be kept")
        elif item.reason == "failed" and record.state == "confirming":
            self._drop(step, record)
        elif item.reason != "failed":
            step.drop(f"opening/{item.channel_id.hex()}")
            self._unwatch(step, record)

    def _give_up(self, step: Step, record: Opening, why: str) -> None:
        """Before anything has left: the transaction pays to all of its channels, so without one of
        them it must never be sent."""
        for sibling in self._siblings(step, record):
            self._drop(step, sibling)
            error = setup.Error(channel_id=sibling.channel_id, data=why.encode())
            step.say("peers", ToPeer(peer=sibling.peer, message=error.encode()))
        if record.we_opened:
            step.say("wallet", ReleaseCoins(purpose=record.purpose))
            if record.ask:
                step.say("api", Answer(id=record.ask, code=-1, text=why))

    def _unwatch(self, step: Step, record: Opening) -> None:
        """Unless another opening waits for the same transaction; this one's row is gone already."""
        if not self._by_txid(step, record.funding_txid):
            step.tell("chain", Unwatch(txid=record.funding_txid))

    def _drop(self, step: Step, record: Opening) -> None:
        """The channel never came to be."""
        step.drop(f"opening/{record.channel_id.hex()}")
        self._unwatch(step, record)
        step.tell("monitors", ForgetUnfunded(channel_id=record.channel_id))

    def _tip(self, step: Step, tip: Tip) -> None:
        step.put("~tip", tip)
        for record in step.scan("opening/").values():
            late = tip.height - record.since > FORGET_BLOCKS
            if late and not record.we_opened and record.state == "confirming":
                self._drop(step, record)

    def _ask(self, step: Step, ask: Ask, at: Moment) -> None:
        if ask.method in ("fundchannel", "multifundchannel"):
            self.opener.ask(step, ask, at)
            return
        rows = [
            {
                "peer_id": item.peer.hex(),
                "state": "OPENINGD",
                "opener": "local" if item.we_opened else "remote",
                "total_msat": item.opened.funding_satoshis * 1000,
                "private": not item.opened.channel_flags & 1,
                "status": [_waits_for(item)],
            }
            for item in step.scan("~nego/").values()
        ]
        step.say("api", Answer(id=ask.id, result=rows))


def _waits_for(item: Negotiation) -> str:
    if item.accepted is None:
        return "negotiating: waiting for the peer's accept_channel"
    if item.we_opened:
        sent = item.channel is not None
        return f"negotiating: waiting for {'funding_signed' if sent else 'the other channels'}"
    return "negotiating: waiting for the peer's funding_created"
