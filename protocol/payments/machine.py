"""The payments actor's decisions: table of contents, invoices, and questions of the API.

Hears: `HtlcArrived`, `HtlcEnded`, `HtlcRefused`, `ClaimKept`, channels from monitors; tips;
questions. Tells monitors: `Offer`, `Withdraw`, `Settle`, `Claim`. Keeps: see rows.py.
"""

from __future__ import annotations

from protocol import features
from protocol.chain.items import Tip
from protocol.crypto import secp
from protocol.crypto.hashes import sha256
from protocol.invoice import Invoice, encode
from protocol.machine import Ask, Moment, Step
from protocol.monitor.items import (
    ChannelEnded,
    ChannelUsable,
    ClaimKept,
    HtlcArrived,
    HtlcEnded,
    HtlcRefused,
)
from protocol.payments import receive, send, view, waiters
from protocol.payments.rows import ChannelRow, Counters, Early, InvoiceRow, Label
from protocol.payments.waiters import answer, refuse

DEFAULT_INVOICE_EXPIRY = 604800
MAX_DESCRIPTION = 639
EXPIRED = "Invoice expired during wait"


class Machine:
    name = "payments"

    def __init__(self, network: str, node_secret: bytes) -> None:
        self.network = network
        self._node_secret = node_secret
        self.node_id = secp.public_key(node_secret)

    def resume(self, step: Step, name: str | None, at: Moment) -> None:
        if name is None:
            send.resume(step)
            step.wake(at.unix_seconds)

    def drain(self, step: Step, at: Moment) -> None:
        pass

    def wake(self, step: Step, at: Moment) -> None:
        receive.time_out(step, at)
        send.on_clock(step, at)
        waiters.time_out(step, at.unix_seconds)

    def step(self, step: Step, sender: str, item: object, at: Moment) -> None:
        match item:
            case HtlcArrived():
                self._arrived(step, item, at)
            case ClaimKept():
                receive.kept(step, item, at)
            case HtlcEnded():
                send.ended(step, item, at)
            case HtlcRefused():
                send.refused(step, item, at)
            case ChannelUsable():
                row = ChannelRow(peer=item.peer, scid=item.scid)
                step.put(f"channel/{item.channel_id.hex()}", row)
                step.drop("~channels")
            case ChannelEnded():
                step.drop(f"channel/{item.channel_id.hex()}")
                step.drop("~channels")
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
        if first:
            for key, early in step.scan("early/").items():
                item = early.item
                receive.arrived(step, self._node_secret, item, at)
                step.drop(key)
            send.on_clock(step, at)

    # ---- questions ----

    def _ask(self, step: Step, ask: Ask, at: Moment) -> None:
        match ask.method:
            case "invoice":
                self._invoice(step, ask, at)
            case "listinvoices":
                answer(step, ask, self._listed(step, ask, at))
            case "delinvoice":
                self._delete(step, ask, at)
            case "waitinvoice":
                self._wait_one(step, ask, at)
            case "waitanyinvoice":
                self._wait_any(step, ask, at)
            case "pay" | "xpay":
                send.ask_pay(step, self.network, self.node_id, ask, at)
            case "keysend":
                send.ask_keysend(step, self.node_id, ask, at)
            case "listpays" | "listsendpays":
                self._list_payments(step, ask)
            case _:
                raise AssertionError(ask.method)

    def _invoice(self, step: Step, ask: Ask, at: Moment) -> None:
        params = ask.params
        known = step.get(f"invoice/{params['label']}")
        if known is not None and known.ask != ask.id:
            refuse(step, ask, 900, f"Duplicate label {params['label']!r}")
            return
        if len(params["description"].encode()) > MAX_DESCRIPTION and not params.get("deschashonly"):
            text = f"description: longer than {MAX_DESCRIPTION} bytes: use deschashonly"
            refuse(step, ask, -32602, text)
            return
        if known is None:
            preimage = bytes.fromhex(params["preimage"]) if params.get("preimage") else None
            preimage = preimage or sha256(b"preimage" + at.entropy)
            if step.get(f"hash/{sha256(preimage).hex()}") is not None:
                refuse(step, ask, 901, "Invoice with that preimage exists")
                return
            known = self._make(step, ask, preimage, at)
        shown = {
            "payment_hash": known.payment_hash.hex(),
            "expires_at": known.expires_at,
            "bolt11": known.bolt11,
            "payment_secret": known.payment_secret.hex(),
            "created_index": known.created_index,
        }
        answer(step, ask, shown)

    def _make(self, step: Step, ask: Ask, preimage: bytes, at: Moment) -> InvoiceRow:
        params, now = ask.params, int(at.unix_seconds)
        counters = step.get("counters") or Counters()
        step.put("counters", counters.but(created=counters.created + 1))
        payment_hash = sha256(preimage)
        description = params["description"]
        expiry = params.get("expiry", DEFAULT_INVOICE_EXPIRY)
        invoice = Invoice(
            network=self.network,
            amount_msat=params["amount_msat"],
            timestamp=now,
            payment_hash=payment_hash,
            payment_secret=sha256(b"payment secret" + at.entropy),
            payee=self.node_id,
            description=None if params.get("deschashonly") else description,
            description_hash=sha256(description.encode()) if params.get("deschashonly") else None,
            expiry_seconds=expiry,
            min_final_cltv_expiry=params.get("cltv", receive.FINAL_CLTV),
            features=features.OUR_INVOICE,
        )
        row = InvoiceRow(
            label=params["label"],
            bolt11=encode(invoice, self._node_secret),
            payment_hash=payment_hash,
            preimage=preimage,
            payment_secret=invoice.payment_secret,
            amount_msat=invoice.amount_msat,
            description=description,
            created_at=now,
            expires_at=now + expiry,
            min_final_cltv=invoice.min_final_cltv_expiry,
            created_index=counters.created + 1,
            ask=ask.id,
        )
        step.put(f"invoice/{row.label}", row)
        step.put(f"hash/{payment_hash.hex()}", Label(label=row.label))
        return row

    def _listed(self, step: Step, ask: Ask, at: Moment) -> list[dict[str, object]]:
        label, wanted = ask.params.get("label"), ask.params.get("payment_hash")
        if label is not None:
            found = [step.get(f"invoice/{label}")]
        elif wanted is not None:
            found = [receive.by_hash(step, bytes.fromhex(wanted))]
        else:
            found = list(step.scan("invoice/").values())
        rows = sorted((row for row in found if row), key=lambda row: row.created_index)
        start = ask.params.get("start", 0)
        rows = [row for row in rows if row.created_index >= start]
        return [view.invoice(row, at.unix_seconds) for row in rows[: ask.params.get("limit")]]

    def _delete(self, step: Step, ask: Ask, at: Moment) -> None:
        label = ask.params["label"]
        row = step.get(f"invoice/{label}")
        if row is None:
            refuse(step, ask, 905, "Unknown invoice")
            return
        shown = view.invoice(row, at.unix_seconds)
        claiming = step.get(f"claim/{receive.payment_id(row.payment_hash)}") is not None
        if shown["status"] != ask.params["status"] or claiming:
            refuse(
                step, ask, 906, f"Invoice status is {shown['status']} not {ask.params['status']}"
            )
            return
        step.drop(f"invoice/{label}")
        step.drop(f"hash/{row.payment_hash.hex()}")
        if row.pay_index is not None:
            step.drop(f"paid/{row.pay_index:016d}")
        waiters.invoice_deleted(step, row)
        answer(step, ask, shown)

    def _wait_one(self, step: Step, ask: Ask, at: Moment) -> None:
        row = step.get(f"invoice/{ask.params['label']}")
        if row is None:
            refuse(step, ask, -1, "Label not found")
        elif row.status == "paid":
            answer(step, ask, view.invoice(row, at.unix_seconds))
        elif at.unix_seconds > row.expires_at:
            refuse(step, ask, 903, EXPIRED)
        else:
            topic = f"invoice/{row.payment_hash.hex()}"
            waiters.wait(step, topic, ask, row.expires_at, code=903, text=EXPIRED)

    def _wait_any(self, step: Step, ask: Ask, at: Moment) -> None:
        """The first invoice with a pay_index above the given one."""
        counters = step.get("counters") or Counters()
        for index in range(ask.params.get("lastpay_index", 0) + 1, counters.paid + 1):
            label = step.get(f"paid/{index:016d}")
            if label is not None:
                row = step.get(f"invoice/{label.label}")
                answer(step, ask, view.invoice(row, at.unix_seconds))
                return
        timeout = ask.params.get("timeout")
        waiters.wait(step, "any", ask, at.unix_seconds + timeout if timeout is not None else None)

    def _list_payments(self, step: Step, ask: Ask) -> None:
        wanted = ask.params.get("payment_hash")
        if wanted is not None:
            found = [step.get(f"payment/{wanted}")]
        else:
            found = list(step.scan("payment/").values())
        rows = sorted((row for row in found if row), key=lambda row: row.created_index)
        bolt11, status = ask.params.get("bolt11"), ask.params.get("status")
        rows = [row for row in rows if bolt11 in (None, row.bolt11)]
        rows = [row for row in rows if status in (None, row.status)]
        shape = view.listpays if ask.method == "listpays" else view.listsendpays
        answer(step, ask, [shape(row) for row in rows])
