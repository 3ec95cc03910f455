"""Openings: one machine for each, both roles, from the first message until it needs no more.

Until our side has something to lose an opening lives in memory only (negotiations, groups): an
interrupted negotiation leaves nothing behind. From then on it is a row, found by its key index, and
by that number all actors call it: channel ids are the peer's to choose.

    guarding      the monitor is asked to take the channel; nothing has left the node
    guarded       the monitor has it. We opened: when all in the same transaction are guarded, the
                  chain is asked whether it would take it; if not, nothing of it is left
    confirming    POINT OF NO RETURN: the transaction (or our signature) leaves
    locked        deep enough; the channel exchanges channel_ready
    usable        both sides are ready

The row stays as long as the channel: a reorganisation may still move its funding transaction.
"""

from __future__ import annotations

from typing import assert_never

from protocol import machine as contract
from protocol.chain.messages import Sent, Tip, TxConfirmed, TxReorged, Verdict
from protocol.channel.messages import ChannelEnded, ChannelUsable
from protocol.errors import PeerFault
from protocol.funding import openings
from protocol.funding.group import Opener
from protocol.funding.messages import FromPeer, PeerLost, PeerState, ToPeer, UnknownChannel
from protocol.funding.negotiation import (
    LOST,
    PATIENCE_SECONDS,
    Accepter,
    Table,
    by_channel,
    purpose_of,
)
from protocol.funding.policy import OpeningPolicy
from protocol.funding.rows import GROUPS, KEEPS, NEGOTIATIONS, OPENINGS, Negotiation
from protocol.machine import Ask, Moment, Step
from protocol.monitor.messages import Guarding
from protocol.wallet.messages import CoinsRefused, CoinsReserved, Reservations, ScriptIs
from protocol.wire import registry, setup
from protocol.wire.message import Message
from protocol.wire.opening import AcceptChannel, FundingCreated, FundingSigned, OpenChannel

Heard = (
    PeerState | FromPeer | PeerLost | UnknownChannel | ScriptIs | CoinsReserved | CoinsRefused
    | Guarding | Verdict | Sent | TxConfirmed | TxReorged | ChannelUsable | ChannelEnded | Tip
    | Ask
)  # fmt: skip


class Machine(contract.Machine):
    """The funding actor's decisions."""

    name = "funding"
    hears = Heard
    keeps = KEEPS

    def __init__(self, network: str, channel_secret: bytes, policy: OpeningPolicy) -> None:
        table = Table(network, channel_secret, policy)
        self.opener, self.accepter = Opener(table), Accepter(table)
        self.table = table

    def resume(self, step: Step, name: str | None, at: Moment) -> None:
        if name in (None, "wallet"):
            alive = [item.purpose for item in OPENINGS.below(step).values()]
            alive += [purpose for (purpose,) in GROUPS.below(step)]
            alive += [purpose_of(item) for item in NEGOTIATIONS.below(step).values()]
            step.tell("wallet", Reservations(alive=tuple(dict.fromkeys(alive))))
        if name == "chain":
            openings.watch_again(step)
        if name == "wallet":
            self.opener.ask_wallet(step)
            for item in NEGOTIATIONS.below(step).values():
                self.accepter.ask_wallet(step, item)
        if name == "peers":
            for item in NEGOTIATIONS.below(step).values():
                self._abandon(step, item, LOST)
            for waiting in GROUPS.below(step).values():
                self.opener.look_for_peers(step, waiting)

    def wake(self, step: Step, at: Moment) -> None:
        """A peer that falls silent must not hold coins, nor a place that others want."""
        for item in NEGOTIATIONS.below(step).values():
            if at.unix_seconds - item.began >= PATIENCE_SECONDS:
                self.table.tell_peer(step, item, "the opening took too long")
                self._abandon(step, item, "the peer did not answer in time")
        if NEGOTIATIONS.count(step):
            step.wake(at.unix_seconds + PATIENCE_SECONDS / 4)

    def step(self, step: Step, sender: str, item: Heard, at: Moment) -> None:
        match item:
            case PeerState():
                self.opener.there(step, item, at)
                step.wake(at.unix_seconds + PATIENCE_SECONDS)
            case FromPeer():
                self._from_peer(step, item, at)
            case PeerLost():
                for negotiation in NEGOTIATIONS.below(step).values():
                    if negotiation.peer == item.peer:
                        self._abandon(step, negotiation, LOST)
                if item.refused:
                    openings.take_back(step, item.peer)
            case ScriptIs():
                self._script(step, item)
            case CoinsReserved():
                self.opener.coins(step, item)
            case CoinsRefused():
                self.opener.refused(step, item)
            case UnknownChannel():
                openings.unknown(step, item)
            case Guarding():
                openings.guarding(step, item)
            case Verdict():
                openings.judged(step, item)
            case Sent():
                openings.sent(step, item)
            case TxConfirmed():
                openings.confirmed(step, item)
            case TxReorged():
                openings.reorged(step, item)
            case ChannelUsable():
                openings.usable(step, item)
            case ChannelEnded():
                openings.ended(step, item)
            case Tip():
                openings.on_tip(step, item)
            case Ask():
                self._ask(step, item, at)
            case _:
                assert_never(item)

    # ---- negotiations ----

    def _from_peer(self, step: Step, item: FromPeer, at: Moment) -> None:
        """A fault, theirs or ours, ends the negotiation that it is about, and no other."""
        try:
            with step.all_or_nothing():
                self._dispatch(step, item, at)
        except PeerFault as fault:
            self._end_negotiation(step, item, str(fault), f"the peer broke a rule: {fault}")
        except Exception as defect:
            step.log(f"an opening met a defect of ours: {type(defect).__name__}: {defect}")
            text = "a defect of ours ended the opening: please report the log"
            self._end_negotiation(step, item, "internal error", text)

    def _end_negotiation(self, step: Step, item: FromPeer, to_peer: str, why: str) -> None:
        temporary = item.message[2:34]
        if item.message[:2] == OpenChannel.TYPE.to_bytes(2, "big"):
            temporary = item.message[34:66]
        # of a message that ends early: 32 zero bytes would fail all channels with this peer
        named = temporary.ljust(32, b"\xff")
        error = setup.Error(channel_id=named, data=to_peer.encode())
        step.tell("peers", ToPeer(peer=item.peer, message=error.encode()))
        negotiation = self.table.find(step, item.peer, temporary)
        if negotiation is None and item.message[:2] == FundingSigned.TYPE.to_bytes(2, "big"):
            negotiation = _signed_one(step, item)
        if negotiation is not None:
            self._abandon(step, negotiation, why)

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
        if not isinstance(message, (setup.Error, *_awaited(negotiation))):
            raise PeerFault(f"{type(message).__name__} is not what this opening waits for")
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
        if isinstance(message, FundingSigned):
            return _signed_one(step, item)
        found = self.table.find(step, item.peer, item.message[2:34])
        if isinstance(message, setup.Error):
            found = found or _signed_one(step, item)
        return found

    def _refused_late(self, step: Step, item: FromPeer, message: setup.Error) -> None:
        """The peer takes its signature back; nothing has left the node yet."""
        record = by_channel(step, item.peer, message.channel_id)
        if record is not None and record.state in openings.UNSENT:
            text = message.data.decode("ascii", "replace")[:200]
            openings.give_up(step, record, f"the peer refused: {text!r}")

    def _script(self, step: Step, item: ScriptIs) -> None:
        waiting = GROUPS.get(step, item.purpose)
        if waiting is not None:
            self.opener.script(step, waiting, item.script)
            return
        for negotiation in _asked_for(step, item.purpose):
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

    # ---- questions ----

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
            for item in NEGOTIATIONS.below(step).values()
        ]
        step.answer(ask.id, rows)


def _awaited(item: Negotiation) -> tuple[type[Message], ...]:
    """What the peer may say next in this opening, by our role and how far it has come."""
    if item.we_opened and item.accepted is None:
        return (AcceptChannel,)
    if item.we_opened:
        return (FundingSigned,) if item.channel is not None and not item.signed else ()
    return (FundingCreated,) if item.created is None else ()


def _signed_one(step: Step, item: FromPeer) -> Negotiation | None:
    """This peer's negotiation whose channel has the id that stands first in the message."""
    for _, row in NEGOTIATIONS.each(step):
        known = row.channel.id if row.channel is not None else None
        if row.peer == item.peer and known == item.message[2:34]:
            return row
    return None


def _asked_for(step: Step, purpose: str) -> list[Negotiation]:
    """Those that the wallet's answer is for: one, or none."""
    rows = [row for _, row in NEGOTIATIONS.each(step)]
    return [row for row in rows if not row.we_opened and purpose_of(row) == purpose]


def _waits_for(item: Negotiation) -> str:
    if item.accepted is None:
        return "negotiating: waiting for the peer's accept_channel"
    if item.we_opened:
        sent = item.channel is not None
        return f"negotiating: waiting for {'funding_signed' if sent else 'the other channels'}"
    return "negotiating: waiting for the peer's funding_created"
