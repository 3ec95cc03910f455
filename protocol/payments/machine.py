"""The payments actor's decisions: table of contents.

Hears: `HtlcArrived`, `HtlcEnded`, `HtlcRefused`, `ClaimKept`, `ResolutionKept`, `ClaimFound`,
channels from monitors; `OwnTerms` of the gossiper; `RoutesFound` of the router; tips; questions.
Delivers to monitors: `AddHtlc`, `CancelAdd`, `ResolveHtlc`, `Claim`, `Release`. Tells: `FindRoutes`
(by way of peers, which add what our channels can take), `Learned`. Keeps: see rows.py.
"""

from __future__ import annotations

from typing import assert_never

from protocol import machine as contract
from protocol.chain.messages import TIP, Tip
from protocol.channel.messages import FORWARD, ChannelEnded, ChannelUsable
from protocol.crypto import secp
from protocol.gossip.messages import OwnTerms
from protocol.invoice import InvoiceError
from protocol.machine import Ask, Moment, Step
from protocol.monitor.messages import (
    ClaimFound,
    ClaimKept,
    HtlcArrived,
    HtlcEnded,
    HtlcRefused,
    HtlcStands,
    ResolutionKept,
    StateReported,
)
from protocol.payments import (
    channels,
    claims,
    events,
    invoices,
    pay,
    rebuild,
    receive,
    relay,
    rpc,
    send,
    sendpay,
    waiters,
)
from protocol.payments.rows import BEGUN, COUNTERS, EARLY, KEEPS, QUEUED, Counters, EarlyHtlc
from protocol.router.messages import RoutesFound

SENDING = ("pay", "xpay", "keysend", "sendpay")

Heard = (
    HtlcArrived | HtlcEnded | HtlcRefused | ClaimKept | ClaimFound | ResolutionKept | HtlcStands
    | StateReported | ChannelUsable | ChannelEnded | OwnTerms | RoutesFound | Tip | Ask
)  # fmt: skip


class Machine(contract.Machine):
    """What we pay, what we are paid, and what we relay."""

    name = "payments"
    hears = Heard
    keeps = KEEPS

    def __init__(self, network: str, node_secret: bytes) -> None:
        self.network = network
        self._node_secret = node_secret
        self.node_id = secp.public_key(node_secret)

    def resume(self, step: Step, name: str | None, at: Moment) -> None:
        if name is None:
            if BEGUN.get(step) is None:
                rebuild.begin(step, at)
            step.wake(at.unix_seconds)  # for what is under way
        elif name in ("peers", "router") and rebuild.whole(step):
            send.find_again(step, self.node_id, at)

    def wake(self, step: Step, at: Moment) -> None:
        receive.time_out(step, at)
        send.on_clock(step, self.node_id, at)
        relay.on_clock(step, at)
        waiters.time_out(step, at.unix_seconds)

    def abandoned(self, step: Step, question: str, at: Moment) -> None:
        QUEUED.drop(step, question)
        waiters.abandoned(step, question)

    def step(self, step: Step, sender: str, item: Heard, at: Moment) -> None:
        match item:
            case HtlcArrived():
                self._arrived(step, item, at)
            case ClaimKept():
                claims.kept(step, item, at)
            case ClaimFound():
                claims.found(step, item)
            case HtlcStands():
                rebuild.stands(step, item, at)
            case StateReported():
                rebuild.told(step, sender, item)
                self._look_at_early(step, at)
            case ResolutionKept():
                relay.kept(step, item)
            case HtlcEnded() if item.origin.startswith(FORWARD):
                relay.ended(step, item, at)
            case HtlcEnded():
                send.ended(step, self.node_id, item, at)
            case HtlcRefused() if item.origin.startswith(FORWARD):
                relay.refused(step, item, at)
            case HtlcRefused():
                send.refused(step, self.node_id, item, at)
            case RoutesFound():
                send.found(step, self.node_id, item, at)
            case ChannelUsable():
                channels.usable(step, item)
            case ChannelEnded():
                channels.ended(step, item.channel_id)
            case OwnTerms():
                channels.terms(step, item, at)
            case Tip():
                self._tip(step, item, at)
            case Ask():
                self._ask(step, item, at)
            case _:
                assert_never(item)

    def _arrived(self, step: Step, item: HtlcArrived, at: Moment) -> None:
        if TIP.get(step) is None or not rebuild.whole(step):
            EARLY.put(step, item.into(EarlyHtlc), item.channel_id, item.htlc_id)
            return
        receive.arrived(step, self._node_secret, item, at)

    def _tip(self, step: Step, tip: Tip, at: Moment) -> None:
        first = TIP.get(step) is None
        TIP.put(step, tip)
        receive.expire(step, tip.height)
        if first:
            self._look_at_early(step, at)

    def _look_at_early(self, step: Step, at: Moment) -> None:
        """What came before the height was known, or before all that stands was."""
        if TIP.get(step) is None or not rebuild.whole(step):
            return
        for (cid, htlc_id), early in EARLY.below(step).items():
            item = early.into(HtlcArrived, channel_id=cid, htlc_id=htlc_id)
            if not rebuild.is_known(step, self._node_secret, item):
                receive.arrived(step, self._node_secret, item, at)
            EARLY.drop(step, cid, htlc_id)
        send.find_again(step, self.node_id, at)
        for (number,), ask in QUEUED.below(step).items():
            QUEUED.drop(step, number)
            step.hear_again(ask)

    # ---- questions ----

    def _ask(self, step: Step, ask: Ask, at: Moment) -> None:
        if ask.method in SENDING and not rebuild.whole(step):
            QUEUED.put(step, ask, ask.id)  # an HTLC of the same payment may be under way
            return
        match ask.method:
            case "invoice" | "holdinvoice":
                invoices.create(step, self.network, self._node_secret, self.node_id, ask, at)
            case "listinvoices":
                waiters.answer(step, ask, invoices.listed(step, ask, at))
            case "delinvoice":
                invoices.delete(step, ask, at)
            case "waitinvoice":
                invoices.wait_one(step, ask, at)
            case "waitanyinvoice":
                invoices.wait_any(step, ask, at)
            case "holdinvoicesettle":
                invoices.settle(step, ask)
            case "holdinvoicecancel":
                invoices.cancel(step, ask)
            case "holdinvoicelookup":
                invoices.lookup(step, ask)
            case "pay" | "xpay":
                pay.ask_pay(step, self.network, self.node_id, ask, at)
            case "keysend":
                pay.ask_keysend(step, self.node_id, ask, at)
            case "sendpay":
                sendpay.sendpay(step, self.node_id, ask, at)
            case "waitsendpay":
                sendpay.waitsendpay(step, ask, at)
            case "getinfo":
                fees_msat = (COUNTERS.get(step) or Counters()).fees_msat
                waiters.answer(step, ask, {"fees_collected_msat": fees_msat})
            case "waitevent":
                events.wait(step, ask, at)
            case "listpays" | "listsendpays" | "paystatus" | "listforwards":
                try:
                    waiters.answer(step, ask, rpc.rows(step, ask))
                except InvoiceError as error:
                    waiters.refuse(step, ask, -32602, f"Invalid bolt11: {error}")
            case _:
                step.unknown(ask)
