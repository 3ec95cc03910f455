"""The last scene of `daruma demo`: a payment in two parts that no kill can split.

alice pays carol over their own channel and over bob, who relays. carol's two channels are kept by
two of her monitors. One of them is frozen when she claims, so that only the other has the preimage:
that channel is then blocked, as alice can see. The frozen monitor is killed; its next incarnation
hears of the claim, the channel is released, and all is paid.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

from actors.tree import NODE
from daruma.client import RpcError
from daruma.playground import NodeProcess, until
from daruma.show import Show

DIRECT_SAT, OVER_BOB_SAT = 400_000, 330_000
AMOUNT_MSAT = 520_000_000
BLOCKED_SECONDS = 0.5  # for so long it is looked at
STANDS = "SENT_REMOVE_ACK_COMMIT"  # alice has revoked, and waits for carol to do so


def tell(show: Show, chain: Any, alice: NodeProcess, bob: NodeProcess, carol: NodeProcess) -> None:
    """A payment in two parts, claimed while the keeper of one of its channels stands still."""
    direct, over_bob = _two_channels(show, chain, alice, bob, carol)
    asked = {"amount_msat": AMOUNT_MSAT, "label": "in parts", "description": "in parts"}
    invoice = until(lambda: carol.client.call("holdinvoice", asked), "carol's invoice")
    paying = _Paying(alice, invoice["bolt11"])
    payment = {"payment_hash": invoice["payment_hash"]}
    until(lambda: _state(carol, payment) == "accepted", "both parts are there")
    show.say(f"alice pays carol {AMOUNT_MSAT // 1000:,} sat in two parts, one over bob")
    frozen = _keeper(over_bob)
    pid = carol.pid(frozen)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    carol.client.call("holdinvoicesettle", payment)
    until(lambda: _htlcs(alice, direct) == [STANDS], "the direct channel has been claimed", 8)
    blocked = time.monotonic()
    show.say(
        f"carol claims; {frozen} is frozen: her other channel has the preimage, and is blocked"
    )
    seen = [STANDS]
    while seen == [STANDS] and time.monotonic() - blocked < BLOCKED_SECONDS:
        seen = _htlcs(alice, direct)
    show.check("what alice sees while it is blocked", [STANDS], seen)
    os.kill(pid, signal.SIGKILL)
    paid = paying.result()
    until(lambda: not _htlcs(alice, direct), "the channel is released")
    took = time.monotonic() - blocked - BLOCKED_SECONDS
    show.say(f"SIGKILL of {frozen}: it hears of the claim, the channel is released, all is paid")
    rows = until(lambda: carol.client.call("listinvoices", payment)["invoices"], "the invoice")
    show.check("what carol received (msat)", AMOUNT_MSAT, rows[0].get("amount_received_msat"))
    show.check("parts of the payment", 2, paid["parts"])
    show.facts["parts"] = {
        "parts": paid["parts"],
        "amount_msat": AMOUNT_MSAT,
        "fee_msat": paid["amount_sent_msat"] - AMOUNT_MSAT,
        "frozen and killed": frozen,
        "released after s": round(took, 3),
    }


class _Paying:
    """`pay` in a thread of its own."""

    def __init__(self, node: NodeProcess, bolt11: str) -> None:
        self._found: Any = None

        def work() -> None:
            self._found = until(lambda: node.client.call("pay", {"bolt11": bolt11}), "paid")

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    def result(self) -> Any:
        self._thread.join(30)
        if self._found is None:
            raise TimeoutError("the payment in parts was not made")
        return self._found


def _two_channels(
    show: Show, chain: Any, alice: NodeProcess, bob: NodeProcess, carol: NodeProcess
) -> tuple[str, str]:
    """alice to carol, and bob to carol, kept by different monitors of carol."""
    over_bob = _channel(chain, bob, carol, OVER_BOB_SAT)
    while True:
        direct = _channel(chain, alice, carol, DIRECT_SAT)
        if _keeper(direct) != _keeper(over_bob):
            show.say(f"carol has a channel with alice ({_keeper(direct)}) and with bob")
            return direct, over_bob
        alice.client.call("close", {"id": direct})
        _closed(chain, alice, direct)


def _closed(chain: Any, node: NodeProcess, cid: str) -> None:
    until(lambda: _mined(chain, node, cid) == "ONCHAIN", "it is closed")


def _channel(chain: Any, one: NodeProcess, two: NodeProcess, sat: int) -> str:
    one.connect(two)
    asked = {"id": two.id, "amount": sat, "announce": False}
    cid = str(until(lambda: one.client.call("fundchannel", asked), "it is funded")["channel_id"])
    ends = (one, two)
    until(lambda: all(_mined(chain, x, cid) == "CHANNELD_NORMAL" for x in ends), "it is usable")
    until(lambda: all("remote" in _row(x, cid)["updates"] for x in ends), "its terms are known")
    return cid


def _mined(chain: Any, node: NodeProcess, cid: str) -> str:
    if chain.rpc("getrawmempool"):
        chain.mine(1)
    return str(_row(node, cid)["state"])


def _row(node: NodeProcess, cid: str) -> dict[str, Any]:
    return next(row for row in node.channels() if row["channel_id"] == cid)


def _htlcs(node: NodeProcess, cid: str) -> list[str]:
    return [htlc["state"] for htlc in _row(node, cid)["htlcs"]]


def _state(node: NodeProcess, payment: dict[str, Any]) -> str:
    try:
        return str(node.client.call("holdinvoicelookup", payment)["state"])
    except RpcError:
        return ""


def _keeper(cid: str) -> str:
    return NODE.keeper("monitors", bytes.fromhex(cid))
