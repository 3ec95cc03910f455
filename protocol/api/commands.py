"""The methods: usage, parameters, whom each asks, and how the answers become the reply.

`stages` are functions of the parameters and of what was answered so far; each gives the questions
(actor, method, parameters) that are asked at once. `shape` makes the reply of all answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from protocol import invoice
from protocol.api import letters, opening, rpc
from protocol.api import params as p
from protocol.api.params import Param
from protocol.errors import Refusal
from protocol.machine import UNKNOWN_METHOD

Question = tuple[str, str, dict[str, Any]]
Values = dict[str, Any]
Answers = list[Any]
Stage = Callable[[Values, Answers], list[Question]]


class Command(NamedTuple):
    """`local`: the port answers it by itself, for it holds the tree of processes."""

    name: str
    category: str
    text: str
    params: tuple[Param, ...]
    stages: tuple[Stage, ...]
    shape: Callable[[Values, Answers], Any]
    local: bool = False

    @property
    def usage(self) -> str:
        """The command with its parameters, those in brackets may be left away."""
        words = [param.name if param.required else f"[{param.name}]" for param in self.params]
        return " ".join([self.name, *words])


def one(actor: str, method: str | None = None, **more: Any) -> tuple[Stage, ...]:
    """A single question with the parameters as they are."""

    def stage(values: Values, answers: Answers) -> list[Question]:
        return [(actor, method or values["~method"], {**more, **_clean(values)})]

    return (stage,)


def _clean(values: Values) -> Values:
    return {name: value for name, value in values.items() if not name.startswith("~")}


def first(values: Values, answers: Answers) -> Any:
    """The reply is what was answered first."""
    return answers[0]


def last(values: Values, answers: Answers) -> Any:
    """The reply is what was answered last."""
    return answers[-1]


def listed(name: str) -> Callable[[Values, Answers], Any]:
    """The reply is one list, under this name."""
    return lambda values, answers: {name: answers[0]}


def _connect(values: Values, answers: Answers) -> list[Question]:
    node, host, port = values["id"]
    host, port = values.get("host", host), values.get("port", port) or 9735
    return [("peers", "connect", {"id": node, "host": host, "port": port})]


def _find_channel(values: Values, answers: Answers) -> list[Question]:
    return [("monitors", "listpeerchannels", {}), ("wallet", "newaddr", {"kind": "bech32"}),
            ("chain", "getinfo", {})]  # fmt: skip


def _close(values: Values, answers: Answers) -> list[Question]:
    channel = rpc.find_channel(values["id"], answers[0])
    script = rpc.destination(values, answers[1], values["~network"])
    rate = answers[2]["feerate_per_kw"] or 253
    chosen = "destination" in values
    asked = {"channel_id": channel, "script": script, "feerate_per_kw": rate, "chosen": chosen}
    return [("monitors", "close", asked)]


def _generate(values: Values, answers: Answers) -> list[Question]:
    if not answers:
        return [("wallet", "newaddr", {"kind": "bech32"})]
    address = values.get("address") or answers[0]["bech32"]
    return [("chain", "generate", {"count": values["blocks"], "address": address})]


def _everything(values: Values, answers: Answers) -> list[Question]:
    return [*_channels(values, answers), ("chain", "getinfo", {}), ("payments", "getinfo", {})]


def _funds(values: Values, answers: Answers) -> list[Question]:
    return [("wallet", "listfunds", {}), *_channels(values, answers)]


def _channels(values: Values, answers: Answers) -> list[Question]:
    return [("monitors", "listpeerchannels", {}), ("peers", "listpeers", {})]


def _openings(values: Values, answers: Answers) -> list[Question]:
    more: list[Question] = [("funding", "listopenings", {}), ("gossiper", "listpolicies", {})]
    return [*_channels(values, answers), *more]


def _help(values: Values, answers: Answers) -> Any:
    wanted: str = values.get("command", "")
    rows = [
        {
            "command": command.usage,
            "category": command.category,
            "description": command.text,
            "verbose": command.text,
        }
        for command in COMMANDS
        if wanted in ("", command.name)
    ]
    if not rows:
        raise Refusal(f"Unknown command '{wanted[:40]}'", code=UNKNOWN_METHOD)
    return {"help": sorted(rows, key=lambda row: row["command"])}


def _decode(values: Values, answers: Answers) -> Any:
    try:
        return rpc.decoded(invoice.decode(values["string"]))
    except invoice.InvoiceError as error:
        raise Refusal(f"Invalid bolt11: {error}", code=-32602) from None


_PAY = (
    Param("bolt11", p.text, required=True), Param("amount_msat", p.msat), Param("label", p.text),
    Param("riskfactor", p.number), Param("maxfeepercent", p.number),
    Param("retry_for", p.u32), Param("maxdelay", p.u32),
    Param("exemptfee", p.msat), Param("localinvreqid", p.unsupported),
    Param("exclude", p.unsupported), Param("maxfee", p.msat), Param("description", p.text),
    Param("partial_msat", p.unsupported),
)  # fmt: skip
_XPAY = (
    Param("invstring", p.text, required=True), Param("amount_msat", p.msat),
    Param("maxfee", p.msat), Param("layers", p.unsupported), Param("retry_for", p.u32),
    Param("partial_msat", p.unsupported), Param("maxdelay", p.u32),
    Param("payer_note", p.unsupported),
)  # fmt: skip


def _xpay(values: Values, answers: Answers) -> list[Question]:
    asked = {**_clean(values), "bolt11": values["invstring"]}
    return [("payments", "xpay", asked)]


_ID = Param("id", p.address, required=True)
_TERMS = (
    Param("close_to", p.text), Param("request_amt", p.unsupported),
    Param("compact_lease", p.unsupported), Param("mindepth", p.depth), Param("reserve", p.sat),
)  # fmt: skip
_FUNDCHANNEL = (
    _ID, Param("amount", p.sat_or_all, required=True), Param("feerate", p.feerate),
    Param("announce", p.boolean), Param("minconf", p.u32), Param("push_msat", p.msat),
    *_TERMS[:3], Param("utxos", p.utxos), *_TERMS[3:], Param("channel_type", p.bits),
)  # fmt: skip
_DESTINATION = (
    _ID, Param("amount", p.sat_or_all, required=True), Param("announce", p.boolean),
    Param("push_msat", p.msat), *_TERMS,
)  # fmt: skip
_HOP = (
    Param("amount_msat", p.msat, required=True), Param("id", p.node_id, required=True),
    Param("delay", p.u32, required=True), Param("channel", p.text, required=True),
    Param("direction", p.u32), Param("style", p.text),
)  # fmt: skip
_LABEL = Param("label", p.text, required=True)

COMMANDS: tuple[Command, ...] = (
    Command("getinfo", "utility", "Show information about this node", (), (_everything,),
            rpc.getinfo),
    Command("newaddr", "bitcoin", "Get a new address of the wallet",
            (Param("addresstype", p.only("bech32")),),
            one("wallet", "newaddr", kind="bech32"), first),
    Command("listfunds", "utility", "Show coins on the chain and in channels",
            (Param("spent", p.only(False)),), (_funds,), rpc.listfunds),
    Command("connect", "network", "Connect to id at host and port",
            (_ID, Param("host", p.text), Param("port", p.port)), (_connect,), first),
    Command("disconnect", "network", "Disconnect from a peer",
            (Param("id", p.node_id, required=True), Param("force", p.boolean)),
            one("peers"), first),
    Command("listpeers", "network", "Show connected peers",
            (Param("id", p.node_id), Param("level", p.text)), (_channels,), rpc.listpeers),
    Command("listpeerchannels", "network", "Show channels with peers",
            (Param("id", p.node_id), Param("short_channel_id", p.text)),
            (_openings,), rpc.listpeerchannels),
    Command("listclosedchannels", "network", "Show channels that are no more",
            (Param("id", p.node_id),), one("monitors"), rpc.listclosedchannels),
    Command("fundchannel", "channels", "Open a channel with a peer", _FUNDCHANNEL,
            (opening.connect, opening.count_coins, opening.fund), last),
    Command("multifundchannel", "channels", "Open several channels in one transaction",
            (Param("destinations", p.rows(_DESTINATION), required=True),
             Param("feerate", p.feerate), Param("minconf", p.u32), Param("utxos", p.utxos),
             Param("minchannels", p.u32), Param("commitment_feerate", p.feerate)),
            (opening.connect, opening.count_coins, opening.fund), last),
    Command("setchannel", "channels", "Set what a channel asks for relaying",
            (Param("id", p.text, required=True), Param("feebase", p.fee_msat),
             Param("feeppm", p.u32), Param("htlcmin", p.msat), Param("htlcmax", p.msat),
             Param("enforcedelay", p.only(600)), Param("ignorefeelimits", p.only(False))),
            one("gossiper"), first),
    Command("close", "channels", "Close a channel together with the peer",
            (Param("id", p.text, required=True), Param("unilateraltimeout", p.only(0)),
             Param("destination", p.text), Param("fee_negotiation_step", p.unsupported),
             Param("wrong_funding", p.unsupported), Param("force_lease_closed", p.only(False)),
             Param("feerange", p.unsupported)),
            (_find_channel, _close), lambda values, answers: answers[3]),
    Command("invoice", "payment", "Create an invoice",
            (Param("amount_msat", p.msat_or_any, required=True), _LABEL,
             Param("description", p.text, required=True), Param("expiry", p.u32),
             Param("fallbacks", p.unsupported), Param("preimage", p.hexadecimal(32)),
             Param("exposeprivatechannels", p.channels_or_flag), Param("cltv", p.u32),
             Param("deschashonly", p.boolean)), one("payments"), first),
    Command("listinvoices", "payment", "Show invoices",
            (Param("label", p.text), Param("invstring", p.text),
             Param("payment_hash", p.hexadecimal(32)), Param("offer_id", p.unsupported),
             Param("index", p.only("created")), Param("start", p.integer),
             Param("limit", p.integer)),
            one("payments"), listed("invoices")),
    Command("waitinvoice", "payment", "Wait until an invoice is paid", (_LABEL,),
            one("payments"), first),
    Command("waitanyinvoice", "payment", "Wait for the next paid invoice",
            (Param("lastpay_index", p.integer), Param("timeout", p.u32)),
            one("payments"), first),
    Command("delinvoice", "payment", "Delete an invoice",
            (_LABEL, Param("status", p.choice("paid", "unpaid", "expired"), required=True),
             Param("desconly", p.only(False))), one("payments"), first),
    Command("pay", "payment", "Pay an invoice", _PAY, one("payments"), first),
    Command("xpay", "payment", "Pay an invoice", _XPAY, (_xpay,), first),
    Command("keysend", "payment", "Pay a node without an invoice",
            (Param("destination", p.node_id, required=True),
             Param("amount_msat", p.msat, required=True), Param("label", p.text),
             Param("maxfeepercent", p.number), Param("retry_for", p.u32),
             Param("maxdelay", p.u32), Param("exemptfee", p.msat),
             Param("routehints", p.unsupported), Param("extratlvs", p.unsupported),
             Param("maxfee", p.msat)), one("payments"), first),
    Command("xkeysend", "payment", "Pay a node without an invoice",
            (Param("destination", p.node_id, required=True),
             Param("amount_msat", p.msat, required=True), Param("maxfee", p.msat),
             Param("layers", p.unsupported), Param("retry_for", p.u32),
             Param("maxdelay", p.u32), Param("extratlvs", p.unsupported)),
            one("payments", "keysend"), first),
    Command("sendpay", "payment", "Send one part along a route",
            (Param("route", p.rows(_HOP), required=True),
             Param("payment_hash", p.hexadecimal(32), required=True), Param("label", p.text),
             Param("amount_msat", p.msat), Param("bolt11", p.text),
             Param("payment_secret", p.hexadecimal(32)), Param("partid", p.integer),
             Param("localinvreqid", p.unsupported), Param("groupid", p.integer),
             Param("payment_metadata", p.octets), Param("description", p.text)),
            one("payments"), first),
    Command("waitsendpay", "payment", "Wait until a part has succeeded or failed",
            (Param("payment_hash", p.hexadecimal(32), required=True), Param("timeout", p.u32),
             Param("partid", p.integer), Param("groupid", p.integer)), one("payments"), first),
    Command("paystatus", "payment", "Show what was tried for a payment",
            (Param("bolt11", p.text),), one("payments"), listed("pay")),
    Command("listforwards", "payment", "Show what was relayed",
            (Param("status", p.choice("offered", "settled", "failed", "local_failed")),
             Param("in_channel", p.text), Param("out_channel", p.text),
             Param("index", p.only("created")), Param("start", p.integer),
             Param("limit", p.integer)), one("payments"), listed("forwards")),
    Command("holdinvoice", "payment", "Create an invoice whose payment waits for your word",
            (Param("amount_msat", p.msat_or_any, required=True), _LABEL,
             Param("description", p.text, required=True),
             Param("payment_hash", p.hexadecimal(32)), Param("preimage", p.hexadecimal(32)),
             Param("expiry", p.u32), Param("cltv", p.u32),
             Param("deschashonly", p.boolean), Param("exposeprivatechannels", p.channels_or_flag)),
            one("payments"), first),
    Command("holdinvoicesettle", "payment", "Take a payment that waits",
            (Param("payment_hash", p.hexadecimal(32)), Param("preimage", p.hexadecimal(32))),
            one("payments"), first),
    Command("holdinvoicecancel", "payment", "Give a payment back that waits",
            (Param("payment_hash", p.hexadecimal(32), required=True),), one("payments"), first),
    Command("holdinvoicelookup", "payment", "Show a hold invoice",
            (Param("payment_hash", p.hexadecimal(32), required=True),), one("payments"), first),
    Command("waitevent", "utility", "Wait for the event after the given one",
            (Param("lastevent", p.integer), Param("timeout", p.u32)),
            one("payments"), first),
    Command("getroutes", "payment", "Show likely routes to a node, in parts if need be",
            (Param("source", p.node_id, required=True),
             Param("destination", p.node_id, required=True),
             Param("amount_msat", p.msat, required=True), Param("layers", p.texts),
             Param("maxfee_msat", p.msat, required=True),
             Param("final_cltv", p.u32, required=True), Param("maxdelay", p.u32),
             Param("maxparts", p.count)),
            one("router"), first),
    Command("listpays", "payment", "Show payments",
            (Param("bolt11", p.text), Param("payment_hash", p.hexadecimal(32)),
             Param("status", p.choice("pending", "complete", "failed")),
             Param("index", p.only("created")), Param("start", p.integer),
             Param("limit", p.integer)),
            one("payments"), listed("pays")),
    Command("listsendpays", "payment", "Show parts of payments",
            (Param("bolt11", p.text), Param("payment_hash", p.hexadecimal(32)),
             Param("status", p.choice("pending", "complete", "failed")),
             Param("index", p.only("created")), Param("start", p.integer),
             Param("limit", p.integer)),
            one("payments"), listed("payments")),
    Command("listchannels", "network", "Show all public channels that we know",
            (Param("short_channel_id", p.text), Param("source", p.node_id),
             Param("destination", p.node_id)), one("gossiper"), listed("channels")),
    Command("listnodes", "network", "Show all public nodes that we know",
            (Param("id", p.node_id),), one("gossiper"), listed("nodes")),
    Command("getroute", "payment", "Show the cheapest path to a node over public channels",
            (Param("id", p.node_id, required=True), Param("amount_msat", p.msat, required=True),
             Param("riskfactor", p.number, required=True), Param("cltv", p.u32),
             Param("fromid", p.node_id), Param("fuzzpercent", p.number),
             Param("exclude", p.texts), Param("maxhops", p.count)),
            one("router"), listed("route")),
    Command("decode", "utility", "Read an invoice", (Param("string", p.text, required=True),),
            (), _decode),
    Command("generate", "developer", "Mine blocks on the embedded chain",
            (Param("blocks", p.block_count, required=True), Param("address", p.text)),
            (_generate, _generate), lambda values, answers: answers[1]),
    Command("help", "utility", "Show the usage of all methods, or of one",
            (Param("command", p.text),), (), _help),
    Command("notifications", "utility", "Whether notifications are wanted: none are sent",
            (Param("enable", p.boolean, required=True),), (), lambda values, answers: {}),
    Command("listdeadletters", "developer", "Show messages that ended an actor and were put aside",
            (), (letters.ask_all,), letters.listed),
    Command("retrydeadletter", "developer", "Let an actor hear a message again that was put aside",
            (Param("id", p.text, required=True),), (letters.ask_one,), first),
    Command("stop", "utility", "End the node", (), (), first, local=True),
    Command("tree", "developer", "Show all processes of the node", (), (), first, local=True),
    Command("kill", "developer", "SIGKILL one actor by name (regtest only)",
            (Param("name", p.text, required=True),), (), first, local=True),
)  # fmt: skip

BY_NAME = {command.name: command for command in COMMANDS}
