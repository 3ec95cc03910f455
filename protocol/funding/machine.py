"""Openings: one machine for each, both roles, from the first message until it needs no more.

Until our side has something to lose an opening lives in memory only (negotiations, groups): an
interrupted negotiation leaves nothing behind. From then on it is a row, found by its key index, and
by that number all actors call it: channel ids are the peer's to choose.

    guarding      the monitor is asked to take the channel; nothing has left the node
    guarded       the monitor has it. We opened: when all in the same transaction are guarded, the
                  chain is asked whether it would take it; if not, nothing of it is left
    confirming    POINT OF NO RETURN: the transaction (or our signature) leaves
    confirmed     deep enough; the channel exchanges channel_ready
    usable        both sides are ready

The row stays as long as the channel: a reorganisation may still move its funding transaction.
"""

from __future__ import annotations

from typing import assert_never

from protocol import machine as contract
from protocol.chain.messages import Sent, Tip, TxConfirmed, TxReorged, Verdict
from protocol.channel.messages import ChannelEnded, ChannelUsable
from protocol.errors import PeerFault
from protocol.funding import accepter, dialogue, negotiations, opener, openings, rpc
from protocol.funding.messages import FromPeer, PeerLost, PeerState, UnknownChannel
from protocol.funding.negotiations import LOST, PATIENCE_SECONDS, Funder, purpose_of
from protocol.funding.policy import OpeningPolicy
from protocol.funding.rows import GROUPS, KEEPS, NEGOTIATIONS, OPENINGS
from protocol.machine import Ask, Moment, Step
from protocol.monitor.messages import Guarding
from protocol.wallet.messages import CoinsRefused, CoinsReserved, Reservations, ScriptIs

Heard = (
    PeerState | FromPeer | PeerLost | UnknownChannel | ScriptIs | CoinsReserved | CoinsRefused
    | Guarding | Verdict | Sent | TxConfirmed | TxReorged | ChannelUsable | ChannelEnded | Tip
    | Ask
)  # fmt: skip


class Machine(contract.Machine):
    """The funding actor's decisions: a table of contents."""

    name = "funding"
    hears = Heard
    keeps = KEEPS

    def __init__(self, network: str, channel_secret: bytes, policy: OpeningPolicy) -> None:
        self.us = Funder(network, channel_secret, policy)

    def resume(self, step: Step, name: str | None, at: Moment) -> None:
        if name in (None, "wallet"):
            alive = [item.purpose for item in OPENINGS.below(step).values()]
            alive += [purpose for (purpose,) in GROUPS.below(step)]
            alive += [purpose_of(item) for item in NEGOTIATIONS.below(step).values()]
            step.tell("wallet", Reservations(alive=tuple(dict.fromkeys(alive))))
        match name:
            case "chain":
                openings.watch_again(step)
            case "wallet":
                opener.ask_wallet(self.us, step)
                for item in NEGOTIATIONS.below(step).values():
                    accepter.ask_wallet(step, item)
            case "peers":
                for item in NEGOTIATIONS.below(step).values():
                    dialogue.abandon(self.us, step, item, LOST)
                for waiting in GROUPS.below(step).values():
                    opener.look_for_peers(step, waiting)

    def wake(self, step: Step, at: Moment) -> None:
        dialogue.out_of_patience(self.us, step, at)

    def step(self, step: Step, sender: str, item: Heard, at: Moment) -> None:
        match item:
            case Ask():
                self._ask(step, item, at)
            # a negotiation: in memory only
            case PeerState():
                opener.there(self.us, step, item, at)
                step.wake(at.unix_seconds + PATIENCE_SECONDS)
            case FromPeer():
                dialogue.from_peer(self.us, step, item, at)
            case ScriptIs():
                self._script(step, item)
            case CoinsReserved():
                opener.coins(self.us, step, item)
            case CoinsRefused():
                opener.refused(step, item)
            case PeerLost():
                dialogue.peer_lost(self.us, step, item.peer)
                if item.refused:
                    openings.take_back(step, item.peer)
            # an opening: durable
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
            case UnknownChannel():
                openings.unknown(step, item)
            case Tip():
                openings.on_tip(step, item)
            case _:
                assert_never(item)

    def _script(self, step: Step, item: ScriptIs) -> None:
        """The wallet's answer, for a group of ours or for one opening of a peer's."""
        waiting = GROUPS.get(step, item.purpose)
        if waiting is not None:
            opener.script(self.us, step, waiting, item.script)
            return
        for negotiation in negotiations.asked_for(step, item.purpose):
            try:
                accepter.script(self.us, step, negotiation, item.script)
            except PeerFault as fault:
                negotiations.tell_peer(step, negotiation, str(fault))
                dialogue.abandon(self.us, step, negotiation, str(fault))

    def _ask(self, step: Step, ask: Ask, at: Moment) -> None:
        match ask.method:
            case "fundchannel" | "multifundchannel":
                opener.ask(step, ask, at)
            case "listopenings":
                step.answer(ask.id, rpc.listed(step))
            case _:
                step.unknown(ask)
