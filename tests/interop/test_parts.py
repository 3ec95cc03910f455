"""Payments in parts, held, and relayed, together with LDK 0.1 on bitcoind; Daruma is killed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from daruma.playground import NodeProcess, until
from tests.interop.foreign import Ldk, RegtestBitcoind
from tests.interop.pair import CAPACITY_SAT, FUNDS_SAT, PUSH_SAT, Pair

# LDK 0.1 takes a hint that names itself for a channel without a limit, and does not split over it
BARE = {"exposeprivatechannels": False}
MPP_MSAT = 900_000_000  # more than either side has in one channel


def _two_channels(pair: Pair) -> None:
    """Both opened by Daruma, with as much on LDK's side."""
    pair.fund_daruma()
    pair.connect()
    for count in (1, 2):
        pair.daruma.client.fundchannel(
            id=pair.ldk.id, amount=CAPACITY_SAT // 2, push_msat=500_000_000, announce=False
        )
        pair.mempool()
        pair.mine(1)
        until(lambda n=count: _usable(pair) == (n, n), f"{count} channels are usable")


def _usable(pair: Pair) -> tuple[int, int]:
    ours = [r for r in pair.daruma.channels() if r["state"] == "CHANNELD_NORMAL"]
    ready = [row for row in ours if row["peer_connected"]]
    return len(ready), len([row for row in pair.ldk.channels() if row["usable"]])


def _ours_msat(pair: Pair) -> int:
    return sum(row["to_us_msat"] for row in pair.daruma.channels())


def _quiet(pair: Pair) -> None:
    until(
        lambda: not any(r["htlcs"] for r in pair.daruma.channels() + pair.ldk.channels()),
        "nothing is in flight",
    )
    theirs = sum(row["inbound_msat"] for row in pair.ldk.channels())
    reserve = sum(row["our_reserve_msat"] for row in pair.daruma.channels())
    assert theirs == _ours_msat(pair) - reserve


def _again(pair: Pair, label: str) -> bool:
    """LDK gives up when a channel is not ready at the moment; its user would try once more."""
    (row,) = pair.daruma.client.listinvoices(label=label)["invoices"]
    if pair.ldk.told("PaymentFailed", hash=row["payment_hash"]):
        pair.ldk.call("pay", bolt11=row["bolt11"])
    return False


@pytest.mark.parametrize("victim", ["", "payments", "monitors", "peers", "daruma"])
def test_parts_over_two_channels_both_ways(pair: Pair, victim: str) -> None:
    _two_channels(pair)
    before = _ours_msat(pair)

    pair.pay_ldk(MPP_MSAT // 2 + 100_000_000)
    assert (
        until(lambda: pair.daruma.client.listpays()["pays"], "it is listed")[0]["number_of_parts"]
        > 1
    )
    label = "in parts"
    asked = {"amount_msat": MPP_MSAT, "label": label, "description": label, **BARE}
    pair.ldk.call("pay", bolt11=pair.daruma.client.call("invoice", asked)["bolt11"])
    if victim == "daruma":
        pair.daruma.kill()
        pair.daruma.start()
    elif victim:
        pair.daruma.kill_actor(victim)
    until(lambda: pair.paid(label) or _again(pair, label), "Daruma was paid", 60)

    _quiet(pair)
    assert _ours_msat(pair) == before - MPP_MSAT // 2 - 100_000_000 + MPP_MSAT


@pytest.mark.parametrize("settled", [True, False], ids=["settled", "cancelled"])
@pytest.mark.parametrize("victim", ["payments", "monitors", "daruma"])
def test_a_hold_invoice_that_ldk_pays(pair: Pair, victim: str, *, settled: bool) -> None:
    _two_channels(pair)
    before = _ours_msat(pair)
    asked = {"amount_msat": MPP_MSAT, "label": "held", "description": "held", **BARE}
    made = pair.daruma.client.call("holdinvoice", asked)
    payment = {"payment_hash": made["payment_hash"]}
    call = pair.daruma.client.call
    pair.ldk.call("pay", bolt11=made["bolt11"])
    until(lambda: call("holdinvoicelookup", payment)["state"] == "accepted", "both parts are there")

    if victim == "daruma":
        pair.daruma.kill()
        pair.daruma.start()
    else:
        pair.daruma.kill_actor(victim)

    until(lambda: call("holdinvoicelookup", payment)["state"] == "accepted", "and still are")
    if settled:
        until(lambda: call("holdinvoicesettle", payment), "it is settled")
        until(lambda: pair.ldk.told("PaymentSent", hash=made["payment_hash"]), "LDK has paid")
    else:
        until(lambda: call("holdinvoicecancel", payment), "it is cancelled")
        until(lambda: pair.ldk.told("PaymentFailed", hash=made["payment_hash"]), "LDK knows")
    _quiet(pair)
    assert _ours_msat(pair) == before + MPP_MSAT * settled


class Line:
    """left - middle - right, over public channels opened by the outer ones."""

    def __init__(self, peers: Path, folder: Path, *, ldk_between: bool) -> None:
        self.chain = RegtestBitcoind(peers, folder / "bitcoind")
        self.darumas: list[NodeProcess] = []
        self.ldks: list[Ldk] = []
        for number in range(2 if ldk_between else 1):
            node = NodeProcess(folder / f"daruma{number}", f"daruma{number}", self.chain)
            self.darumas.append(node)
        for number in range(1 if ldk_between else 2):
            self.ldks.append(Ldk(peers, folder / f"ldk{number}", self.chain))
        self.numbers = itertools.count()

    def stop(self) -> None:
        for node in self.darumas:
            node.stop()
        for ldk in self.ldks:
            ldk.stop()
        self.chain.stop()

    def mine(self, count: int = 1) -> None:
        self.chain.mine(count)
        for ldk in self.ldks:
            ldk.call("follow")
        for node in self.darumas:
            until(lambda n=node: n.height() == self.chain.height(), "Daruma has read the chain")

    def open(self) -> None:
        for node in self.darumas:
            address = node.client.newaddr()["bech32"]
            self.chain.rpc("sendtoaddress", address, FUNDS_SAT / 1e8)
        self.mine()
        for node in self.darumas:
            until(lambda n=node: n.coins_sat() == FUNDS_SAT, "Daruma has coins")
            for ldk in self.ldks:
                address = f"{ldk.id}@127.0.0.1:{ldk.port}"
                until(lambda n=node, a=address: n.client.connect(a), "connected")
                asked = {"id": ldk.id, "amount": CAPACITY_SAT, "push_msat": PUSH_SAT * 1000}
                node.client.fundchannel(**asked, announce=True)
                until(lambda: self.chain.rpc("getrawmempool"), "it is broadcast")
                self.mine(6)
                self.mine(1)
        for node in self.darumas:
            until(lambda n=node: self._knows(n), "both channels and policies are known", 60)

    def _knows(self, node: NodeProcess) -> bool:
        return len([r for r in node.client.listchannels()["channels"] if r["active"]]) == 4


@pytest.fixture
def line(peers: Path, folder: Path, request: pytest.FixtureRequest) -> Iterator[Line]:
    made = Line(peers, folder, ldk_between=request.param)
    try:
        yield made
    finally:
        made.stop()


@pytest.mark.parametrize("line", [True], indirect=True, ids=["daruma-ldk-daruma"])
def test_ldk_relays_between_two_darumas(line: Line) -> None:
    line.open()
    one, two = line.darumas
    for number in range(8):
        payer, payee = (one, two) if number % 2 else (two, one)
        victim = ("payments", "peers", "monitors", "router")[number % 4]
        payer.kill_actor(victim)
        label = f"over ldk {number}"
        bolt11 = until(lambda p=payee, x=label: p.invoice(20_000_000, x)["bolt11"], "an invoice")
        asked = {"bolt11": bolt11}
        paid = until(lambda p=payer, a=asked: p.client.call("pay", a, timeout=70), "paid", 90)
        assert paid["amount_sent_msat"] > paid["amount_msat"] == 20_000_000
    fees = sum(row["amount_sent_msat"] for node in line.darumas
               for row in node.client.listpays()["pays"]) - 8 * 20_000_000  # fmt: skip
    until(lambda: not any(r["htlcs"] for n in line.darumas for r in n.channels()), "at rest")
    ours = sum(row["to_us_msat"] for node in line.darumas for row in node.channels())
    assert ours == 2 * (CAPACITY_SAT - PUSH_SAT) * 1000 - fees


@pytest.mark.parametrize("line", [False], indirect=True, ids=["ldk-daruma-ldk"])
def test_daruma_relays_between_two_ldks(line: Line) -> None:
    line.open()
    (middle,) = line.darumas
    one, two = line.ldks
    for ldk in line.ldks:
        until(lambda x=ldk: len(x.call("gossip")) == 2, "LDK knows both channels", 60)
        until(lambda x=ldk: all(all(row["policies"]) for row in x.call("gossip")), "and policies")
    start = sum(row["to_us_msat"] for row in middle.channels())
    for number in range(8):
        payer, payee = (one, two) if number % 2 else (two, one)
        made = payee.call("invoice", msat=20_000_000 + number)
        payer.call("pay", bolt11=made["bolt11"])
        victim = ("payments", "peers", "monitors", "gossiper")[number % 4]
        middle.kill_actor(victim)
        if not until(lambda p=payer, m=made: _outcome(p, m["hash"]), "it has ended", 60):
            payer.call("pay", bolt11=payee.call("invoice", msat=20_000_000)["bolt11"])
    until(lambda: not any(row["htlcs"] for row in middle.channels()), "at rest")
    settled = middle.client.call("listforwards", {"status": "settled"})["forwards"]
    assert len(settled) >= 4
    earned = sum(row["fee_msat"] for row in settled)
    assert sum(row["to_us_msat"] for row in middle.channels()) == start + earned


def _outcome(ldk: Ldk, payment_hash: str) -> str:
    """ "sent" or "failed", once LDK has said so."""
    if ldk.told("PaymentSent", hash=payment_hash):
        return "sent"
    return "failed" if ldk.told("PaymentFailed", hash=payment_hash) else ""
