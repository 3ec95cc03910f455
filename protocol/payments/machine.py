"""The payments actor's decisions: table of contents.

Hears: `HtlcArrived`, `HtlcEnded`, `HtlcRefused`, `ClaimKept`, `SettleKept`, `ClaimFound`, channels
from monitors; `OwnTerms` from the gossiper; `RoutesFound` from the router; tips; questions.
Tells monitors: `Offer`, `Withdraw`, `Settle`, `Claim`, `Release`. Says: `FindRoutes` (by way of
peers, which add what our channels can take), `Learned`. Keeps: see rows.py.
"""

from __future__ import annotations

from protocol.chain.items import Tip
from protocol.channel.items import FORWARD
from protocol.crypto import secp
from protocol.gossip.items import OwnTerms
from protocol.machine import Ask, Moment, Step
from protocol.monitor.items import (
    ChannelEnded,
    ChannelUsable,
    ClaimFound,
    ClaimKept,
    HtlcArrived,
    HtlcEnded,
    HtlcRefused,
    SettleKept,
    WhatStands,
)
from protocol.payments import (
    channels,
    claims,
    events,
    invoices,
    listing,
    manual,
    receive,
    relay,
    send,
    waiters,
)
from protocol.payments.rows import Begun, Early
from protocol.router.items import RoutesFound


class Machine:
    name = "payments"

    def __init__(self, network: str, node_secret: bytes) -> None:
        self.network = network
        self._node_secret = node_secret
        self.node_id = secp.public_key(node_secret)

    def resume(self, step: Step, name: str | None, at: Moment) -> None:
        if name is None:
            if step.get("begun") is None:
                self._begin(step, at)
            send.resume(step, at)
            relay.resume(step, at)
        elif name in ("peers", "router"):
            send.find_again(step, self.node_id, at)

    def _begin(self, step: Step, at: Moment) -> None:
        """A new snapshot: of a new node, or after a loss. Its pay_index begins above all that an
        earlier one can have given, and the monitors say what they have."""
        now = int(at.unix_seconds)
        step.put("begun", Begun(at=now))
        step.tell("monitors", WhatStands())

    def drain(self, step: Step, at: Moment) -> None:
        pass

    def wake(self, step: Step, at: Moment) -> None:
        receive.time_out(step, at)
        send.on_clock(step, self.node_id, at)
        relay.on_clock(step, at)
        waiters.time_out(step, at.unix_seconds)

    def step(self, step: Step, sender: str, item: object, at: Moment) -> None:
        match item:
            case HtlcArrived():
                self._arrived(step, item, at)
            case ClaimKept():
                claims.kept(step, item, at)
            case ClaimFound():
                claims.found(step, item)
            case SettleKept():
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
                raise AssertionError(type(item).__name__)

    def _arrived(self, step: Step, item: HtlcArrived, at: Moment) -> None:
        if step.get("~tip") is None:
            key = f"early/{item.channel_id.hex()}/{item.htlc_id}"
            step.put(key, Early(item=item))
            return
        receive.arrived(step, self._node_secret, item, at)

    def _tip(self, step: Step, tip: Tip, at: Moment) -> None:
        first = step.get("~tip") is None
        step.put("~tip", tip)
        receive.expire(step, tip.height)
        if first:
            for key, early in step.scan("early/").items():
                item = early.item
                receive.arrived(step, self._node_secret, item, at)
                step.drop(key)
            send.find_again(step, self.node_id, at)

    # ---- questions ----

    def _ask(self, step: Step, ask: Ask, at: Moment) -> None:
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
                send.ask_pay(step, self.network, self.node_id, ask, at)
            case "keysend":
                send.ask_keysend(step, self.node_id, ask, at)
            case "sendpay":
                manual.sendpay(step, self.node_id, ask, at)
            case "waitsendpay":
                manual.waitsendpay(step, ask, at)
            case "waitevent":
                events.wait(step, ask, at)
            case _:
                waiters.answer(step, ask, listing.rows(step, ask))
