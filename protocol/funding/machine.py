"""Openings: one machine for each, both roles, from the first message until it needs no more.

Until our side has something to lose an opening lives in memory only ("~nego/..."): an interrupted
negotiation leaves nothing behind. From then on it is row "opening/<channel id>":

    guarding      the monitor is asked to take the channel; nothing has left the node
    confirming    the monitor has it. POINT OF NO RETURN: the transaction (or our signature) leaves
    locked        deep enough; the channel exchanges channel_ready
    usable        both sides are ready; a private channel needs no more, and its row goes
"""

from __future__ import annotations

from protocol.bitcoin.transaction import display, parse
from protocol.chain.items import Broadcast, Tip, TxConfirmed, TxReorged, Unwatch, WatchTx
from protocol.channel.items import FundingBuried, FundingLocked
from protocol.channel.state import short_channel_id
from protocol.funding.items import FromPeer, Open, Opening, PeerLost, ToPeer
from protocol.funding.negotiation import Negotiator
from protocol.machine import Answer, Ask, Moment, Step
from protocol.monitor.items import ChannelEnded, ChannelUsable, ForgetUnfunded, Guarding
from protocol.opening import Policy
from protocol.wallet import CoinsRefused, CoinsReserved, Reservations, ScriptIs, SentCoins
from protocol.wire.opening import FundingSigned

FORGET_BLOCKS, ANNOUNCE_DEPTH = 2016, 6
LOST = "the connection to the peer was lost"


class Machine:
    """The funding actor's decisions."""

    name = "funding"

    def __init__(self, network: str, channel_secret: bytes, policy: Policy) -> None:
        self.negotiator = Negotiator(network, channel_secret, policy)

    def resume(self, step: Step, name: str | None, at: Moment) -> None:
        negotiations = step.scan("~nego/").values()
        if name in (None, "wallet"):
            alive = [item.purpose for item in step.scan("opening/").values()]
            alive += [item.temporary_id.hex() for item in negotiations]
            step.say("wallet", Reservations(alive=tuple(alive)))
        if name == "wallet":
            for item in negotiations:
                self.negotiator.ask_wallet(step, item)
        if name == "peers":
            for item in negotiations:
                self.negotiator.abandon(step, item, LOST)

    def wake(self, step: Step, at: Moment) -> None:
        pass

    def drain(self, step: Step, at: Moment) -> None:
        pass

    def step(self, step: Step, sender: str, item: object, at: Moment) -> None:
        match item:
            case Open():
                self.negotiator.open(step, item, at)
            case FromPeer():
                self.negotiator.from_peer(step, item, at)
            case PeerLost():
                for negotiation in step.scan("~nego/").values():
                    if negotiation.peer == item.peer:
                        self.negotiator.abandon(
                            step, negotiation, "the connection to the peer was lost"
                        )
            case ScriptIs():
                self.negotiator.script(step, item)
            case CoinsReserved():
                self.negotiator.coins(step, item)
            case CoinsRefused():
                self.negotiator.refused(step, item)
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
                self._ask(step, item)
            case _:
                raise AssertionError(type(item).__name__)

    def _guarding(self, step: Step, item: Guarding) -> None:
        key = f"opening/{item.channel_id.hex()}"
        record = step.get(key)
        if record is None or record.state != "guarding":
            return
        # the point of no return: only now does anything leave that could bind us
        record = record.but(state="confirming")
        step.put(key, record)
        watch = WatchTx(txid=record.funding_txid, depth=record.minimum_depth, since=record.since)
        step.tell("chain", watch)
        if record.we_opened:
            step.tell("wallet", SentCoins(purpose=record.purpose))
            step.tell("chain", Broadcast(raw=record.raw))
            self.negotiator.answer_asker(step, record)
        else:
            signed = FundingSigned(channel_id=record.channel_id, signature=record.signature)
            step.say("peers", ToPeer(peer=record.peer, message=signed.encode()))

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
            if record.state == "confirming":
                step.put(f"opening/{record.channel_id.hex()}", record.but(state="locked"))
            step.tell("monitors", FundingLocked(channel_id=record.channel_id, scid=scid))
            if record.private:
                continue
            if item.depth >= ANNOUNCE_DEPTH:
                step.tell("monitors", FundingBuried(channel_id=record.channel_id, scid=scid))
            else:
                again = WatchTx(txid=item.txid, depth=ANNOUNCE_DEPTH, since=record.since)
                step.tell("chain", again)

    def _reorged(self, step: Step, item: TxReorged) -> None:
        for record in self._by_txid(step, item.txid):
            if record.state == "locked":
                step.put(f"opening/{record.channel_id.hex()}", record.but(state="confirming"))
            watch = WatchTx(txid=item.txid, depth=record.minimum_depth, since=record.since)
            step.tell("chain", watch)
            if record.we_opened:
                step.tell("chain", Broadcast(raw=record.raw))

    def _usable(self, step: Step, item: ChannelUsable) -> None:
        key = f"opening/{item.channel_id.hex()}"
        record = step.get(key)
        if record is None:
            return
        if record.private:
            step.drop(key)
            self._unwatch(step, record)
        else:
            step.put(key, record.but(state="usable"))

    def _ended(self, step: Step, item: ChannelEnded) -> None:
        record = step.get(f"opening/{item.channel_id.hex()}")
        if record is None:
            return
        if item.reason == "failed" and record.state in ("guarding", "confirming"):
            self._drop(step, record)
        elif item.reason != "failed":
            step.drop(f"opening/{item.channel_id.hex()}")
            self._unwatch(step, record)

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

    def _ask(self, step: Step, ask: Ask) -> None:
        if ask.method == "fundchannel":
            if not self.negotiator.under_way(step, ask):
                step.say("peers", ask)  # is the peer there? it answers with `Open`
            return
        rows = [
            {
                "channel_id": record.channel_id.hex(),
                "peer_id": record.peer.hex(),
                "state": record.state,
                "funding_txid": display(record.funding_txid),
                "amount_msat": record.amount_sat * 1000,
            }
            for record in step.scan("opening/").values()
        ]
        step.say("api", Answer(id=ask.id, result=rows))
