"""An unmodified pyln-client drives a node: opens, pays, lists, closes."""

from __future__ import annotations

from typing import Any

import pytest
from pyln.client import LightningRpc, RpcError

from daruma.playground import until
from tests.processes.scenario import Run


def _rpc(run: Run, name: str) -> Any:
    return LightningRpc(str(run.nodes[name].folder / "regtest" / "lightning-rpc"))


def test_open_pay_list_close(run: Run) -> None:
    run.start()
    alice, bob = _rpc(run, "alice"), _rpc(run, "bob")
    bob_id = bob.getinfo()["id"]

    alice.connect(bob_id, "127.0.0.1", run.bob.port)
    funded = alice.fundchannel(bob_id, 500_000, announce=False)
    until(lambda: run.chain.rpc("getrawmempool"), "the funding transaction")
    run.chain.mine(1)
    until(lambda: run.alice.usable() and run.bob.usable(), "usable")

    invoice = bob.invoice(20_000_000, "label", "description")
    paid = alice.pay(invoice["bolt11"])
    waited = bob.waitinvoice("label")
    assert (paid["status"], paid["amount_msat"]) == ("complete", 20_000_000)
    assert paid["payment_preimage"] == waited["payment_preimage"]
    assert bob.waitanyinvoice(0)["status"] == "paid"
    assert alice.decode(invoice["bolt11"])["type"] == "bolt11 invoice"

    back = alice.invoice("any", "any amount", "text")
    assert bob.pay(back["bolt11"], amount_msat=5_000_000)["status"] == "complete"
    assert alice.keysend(bob_id, 1_000_000)["status"] == "complete"

    assert [row["status"] for row in alice.listpays()["pays"]] == ["complete", "complete"]
    assert len(alice.listsendpays()["payments"]) == 2
    assert bob_id == alice.listpeers()["peers"][0]["id"]
    channel = alice.listpeerchannels()["channels"][0]
    assert funded["txid"] == channel["funding_txid"]
    assert alice.getinfo()["num_active_channels"] == 1
    assert alice.listfunds()["channels"][0]["amount_msat"] == 500_000_000

    closed = alice.close(channel["channel_id"])
    assert closed["type"] == "mutual"
    until(lambda: closed["txid"] in run.chain.rpc("getrawmempool"), "the closing transaction")
    run.chain.mine(1)
    until(lambda: run.bob.coins_sat() == 16_000, "bob's coins")
    assert any(row["command"].startswith("invoice ") for row in alice.help()["help"])


SOMEBODY = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
BAD_REQUESTS: list[tuple[str, dict[str, Any], int, str]] = [
    ("nosuchmethod", {}, -32601, "Unknown command"),
    ("pay", {}, -32602, "missing required parameter: bolt11"),
    ("pay", {"bolt11": "lnbcrt1nonsense"}, -32602, "Invalid bolt11"),
    ("invoice", {"amount_msat": "lots", "label": "a", "description": "b"}, -32602, "amount"),
    ("invoice", {"amount_ms": 1, "label": "a"}, -32602, "did you mean amount_msat"),
    ("connect", {"id": "02" * 10}, -32602, "id"),
    ("connect", {"id": SOMEBODY}, 400, "no address"),
    ("connect", {"id": "02" + "11" * 32}, -32602, "a point on the curve"),
    ("connect", {"id": SOMEBODY, "host": "127.0.0.1", "port": 99999}, -32602, "port"),
    ("connect", {"id": SOMEBODY, "host": "a..b", "port": 9735}, 401, ""),
    ("connect", {"id": SOMEBODY, "host": "x" * 64, "port": 9735}, 401, ""),
    ("fundchannel", {"id": SOMEBODY, "amount": 100_000}, -1, "not connected"),
    ("fundchannel", {"id": SOMEBODY, "amount": "lots"}, -32602, "amount"),
    ("fundchannel", {"id": SOMEBODY, "amount": 99_999, "close_to": "x"}, -32602, "close_to"),
    ("fundchannel", {"id": SOMEBODY, "amount": 99_999, "utxos": ["x"]}, -32602, "utxos"),
    ("fundchannel", {"id": SOMEBODY, "amount": 99_999, "mindepth": 999}, -32602, "144"),
    ("fundchannel", {"id": SOMEBODY, "amount": 99_999, "request_amt": 1}, -32602, "leave it out"),
    ("multifundchannel", {"destinations": []}, -32602, "destinations"),
    ("multifundchannel", {"destinations": [{"id": SOMEBODY}]}, -32602, "amount"),
    ("getroute", {"id": SOMEBODY, "amount_msat": 1, "riskfactor": 1}, 205, "no public channel"),
    ("setchannel", {"id": SOMEBODY, "feebase": 1}, -32602, "no such"),
    (
        "fundchannel",
        {"id": SOMEBODY, "amount": 99_999, "feerate": "9999999999perkw"},
        -32602,
        "at most",
    ),
    (
        "invoice",
        {"amount_msat": 1, "label": "long", "description": "d" * 640},
        -32602,
        "deschashonly",
    ),
    ("generate", {"blocks": 10**9}, -32602, "1 to 1000"),
    ("newaddr", {"addresstype": "p2tr"}, -32602, "not supported yet"),
    ("delinvoice", {"label": "a", "status": "paid", "desconly": True}, -32602, "not supported yet"),
    ("close", {"id": "00" * 32}, -32602, "no such open channel"),
    ("delinvoice", {"label": "none", "status": "unpaid"}, 905, "Unknown invoice"),
    ("waitanyinvoice", {"lastpay_index": 0, "timeout": 0}, 904, "Timed out"),
    ("kill", {"name": "nobody"}, -32602, "no actor"),
]


def test_bad_requests(run: Run) -> None:
    """Core Lightning's codes, and one sentence that says what is wrong."""
    run.start()
    alice = _rpc(run, "alice")

    for method, params, code, text in BAD_REQUESTS:
        with pytest.raises(RpcError) as refused:
            alice.call(method, params)
        assert code == refused.value.error["code"], method
        assert text in refused.value.error["message"], method
        assert "Traceback" not in refused.value.error["message"]
