"""Payments in parts, held, and relayed, together with LDK 0.1 on bitcoind; Daruma is killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from daruma.playground import NodeProcess, until
from tests.interop.line import Line, meanwhile
from tests.interop.pair import CAPACITY_SAT, PUSH_SAT, Pair

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


@pytest.fixture
def line(peers: Path, folder: Path, request: pytest.FixtureRequest) -> Iterator[Line]:
    made = Line(peers, folder, request.param)
    try:
        yield made
    finally:
        made.stop()


def lines(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("line", kinds, indirect=True)


VICTIMS = ("payments", "peers", "monitors", "router", "node", "gossiper", "payments", "peers")


def _kill(node: NodeProcess, victim: str) -> None:
    if victim == "node":
        node.kill()
        node.start()
    else:
        node.kill_actor(victim)


@lines("DLD")
def test_ldk_relays_between_two_darumas(line: Line) -> None:
    line.open()
    one, two = line.darumas
    fees_msat = 0
    for number, victim in enumerate(VICTIMS):
        payer, payee = (one, two) if number % 2 else (two, one)
        _kill(payer, victim)
        paid = line.pays(payer, payee, 20_000_000)
        assert paid["amount_sent_msat"] > paid["amount_msat"] == 20_000_000
        fees_msat += paid["amount_sent_msat"] - paid["amount_msat"]
    line.at_rest()
    start_msat = 2 * (CAPACITY_SAT - PUSH_SAT) * 1000
    assert line.ours_msat(one) + line.ours_msat(two) == start_msat - fees_msat


@lines("LDL", "LDD")
def test_daruma_relays_for_ldk(line: Line) -> None:
    """Between two LDKs; and from LDK over a channel of two Darumas, which it knows by gossip."""
    line.open()
    one, middle, two = line.nodes
    assert isinstance(middle, NodeProcess)
    start_msat = line.ours_msat(middle)
    for number, victim in enumerate(VICTIMS):
        payer, payee = (one, two) if number % 2 else (two, one)
        pay = lambda a=payer, b=payee, n=number: line.pays(a, b, 20_000_000 + n)  # noqa: E731
        meanwhile(pay, lambda v=victim: _kill(middle, v), seed=number)
    line.at_rest()
    settled = until(
        lambda: middle.client.call("listforwards", {"status": "settled"})["forwards"], "forwards"
    )
    assert len(settled) == len(VICTIMS)
    earned_msat = sum(row["fee_msat"] for row in settled)
    assert line.ours_msat(middle) == start_msat + earned_msat > start_msat


@lines("DLL")
def test_daruma_pays_over_a_channel_of_two_ldks(line: Line) -> None:
    """Which it knows by gossip; and is paid over it."""
    line.open()
    daruma, _, far = line.nodes
    assert isinstance(daruma, NodeProcess)
    expected_msat = line.ours_msat(daruma)
    for number, victim in enumerate(VICTIMS):
        kill = lambda v=victim: _kill(daruma, v)  # noqa: E731
        if number % 2:
            meanwhile(lambda: line.pays(far, daruma, 15_000_000), kill, seed=number)
            expected_msat += 15_000_000
        else:
            paid = meanwhile(lambda: line.pays(daruma, far, 20_000_000), kill, seed=number)
            assert paid["amount_sent_msat"] > 20_000_000
            expected_msat -= paid["amount_sent_msat"]
    line.at_rest()
    assert line.ours_msat(daruma) == expected_msat
