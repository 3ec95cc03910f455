"""LDK 0.1 on bitcoind: opened by either side, paid both ways, killed, closed by either side."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from actors.tree import NODE
from daruma import demo
from daruma.playground import NodeProcess, until
from tests.interop.foreign import PASSWORD, USER, Ldk, RegtestBitcoind
from tests.interop.pair import ANCHORS, CAPACITY_SAT, Pair

ACTORS = NODE.names


def opened(pair: Pair, *, by_daruma: bool = False) -> None:
    pair.fund_daruma()
    pair.connect()
    pair.opens(by_daruma=by_daruma)
    pair.mine()
    pair.usable()


def kill(pair: Pair, victim: str) -> None:
    """SIGKILL, a new start, and the channel reestablished."""
    if victim == "ldk":
        pair.ldk.kill()
        pair.ldk.start()
    elif victim == "daruma":
        pair.daruma.kill()
        pair.daruma.start()
    else:
        pair.daruma.kill_actor(victim)


@pytest.mark.parametrize("by_daruma", [False, True], ids=["ldk-opens", "daruma-opens"])
def test_a_channel_lives_its_whole_life(pair: Pair, *, by_daruma: bool) -> None:
    """The side that did not open it closes it."""
    opened(pair, by_daruma=by_daruma)
    theirs, ours = pair.ldk.channels()[0], pair.daruma.channels()[0]
    assert (theirs["type"], theirs["announced"]) == (ANCHORS, False)
    assert ours["private"] is True
    start_msat = pair.to_daruma_msat()

    for number in range(20):
        pair.pay_ldk(500_000 + number)
    for number in range(20):
        pair.pay_daruma(600_000 + number)
    pair.agree()
    assert pair.to_daruma_msat() == start_msat + 20 * 100_000

    pair.at_once(20, 1_000_000)
    pair.agree()
    assert pair.to_daruma_msat() == start_msat + 20 * 100_000

    pair.daruma.client.keysend(destination=pair.ldk.id, amount_msat=7_000)
    sent = pair.ldk.call("keysend", id=pair.daruma.id, msat=9_000)
    until(lambda: pair.ldk.told("PaymentSent", hash=sent["hash"]), "LDK's keysend arrived")
    pair.agree()
    assert pair.to_daruma_msat() == start_msat + 20 * 100_000 + 2_000

    pair.close(by_daruma=not by_daruma)


@pytest.mark.parametrize("victim", ["ldk", "daruma", "actors"])
def test_sigkill_between_any_two_payments(pair: Pair, victim: str) -> None:
    opened(pair)
    start_msat = pair.to_daruma_msat()

    for number in range(20):
        kill(pair, ACTORS[number % len(ACTORS)] if victim == "actors" else victim)
        pair.usable()
        if number % 2:
            pair.pay_ldk(500_000)
        else:
            pair.pay_daruma(600_000)

    pair.agree()
    assert pair.to_daruma_msat() == start_msat + 10 * 100_000
    pair.close(by_daruma=True)


@pytest.mark.parametrize("victim", ["ldk", "daruma", "peers", "monitors", "payments"])
def test_sigkill_with_payments_in_flight_both_ways(pair: Pair, victim: str) -> None:
    """What was promised is kept: each payment counts once, whatever its payer saw."""
    opened(pair)
    start_msat = pair.to_daruma_msat()

    with ThreadPoolExecutor(40) as pool:
        jobs = [pool.submit(pair.pay_ldk, 500_000) for _ in range(20)]
        labels = [pair.start_paying_daruma(600_000) for _ in range(20)]
        until(lambda: any(pair.paid(label) for label in labels), "the first has arrived")
        kill(pair, victim)
        pair.usable()
        for job in jobs:
            job.result()

    pair.agree()
    # LDK forgets a payment that it had not yet saved when it was killed
    arrived = sum(pair.paid(label) for label in labels)
    assert arrived == 20 or victim == "ldk"
    assert pair.to_daruma_msat() == start_msat - 20 * 500_000 + arrived * 600_000
    pair.at_once(3, 1_000)
    pair.close(by_daruma=False)


@pytest.mark.parametrize("victim", ["ldk", "daruma", "peers", "monitors", "payments"])
def test_an_htlc_that_ldk_holds_survives_a_sigkill(pair: Pair, victim: str) -> None:
    opened(pair)
    start_msat = pair.to_daruma_msat()
    preimage = os.urandom(32)
    payment_hash = hashlib.sha256(preimage).hexdigest()
    bolt11 = pair.ldk.call("invoice", msat=2_000_000, hash=payment_hash)["bolt11"]

    with ThreadPoolExecutor(1) as pool:
        paying = pool.submit(pair.pay_ldk, 2_000_000, bolt11)
        until(lambda: pair.ldk.told("PaymentClaimable", hash=payment_hash), "LDK holds it")
        kill(pair, victim)
        pair.usable()
        assert (
            pair.daruma.client.listpays(payment_hash=payment_hash)["pays"][0]["status"] == "pending"
        )
        pair.ldk.call("claim", preimage=preimage.hex())
        paying.result()

    pair.agree()
    paid = pair.daruma.client.listpays(payment_hash=payment_hash)["pays"]
    assert [row["preimage"] for row in paid] == [preimage.hex()]
    assert pair.to_daruma_msat() == start_msat - 2_000_000


@pytest.mark.parametrize("by_daruma", [False, True], ids=["ldk-opens", "daruma-opens"])
def test_both_are_killed_before_the_funding_is_locked_in(pair: Pair, *, by_daruma: bool) -> None:
    pair.fund_daruma()
    pair.connect()
    pair.opens(by_daruma=by_daruma)
    for victim in ("daruma", "ldk"):
        kill(pair, victim)
        until(lambda: pair.ldk.call("peers") == [pair.daruma.id], "they are connected again")
    pair.daruma.kill()
    pair.chain.mine(1)
    pair.daruma.start()

    pair.usable()

    pair.pay_ldk(500_000)
    pair.pay_daruma(500_000)
    pair.agree()


@pytest.mark.parametrize("victim", ["", "ldk", "daruma", "monitors", "peers", "funding"])
@pytest.mark.parametrize("by_daruma", [False, True], ids=["ldk-opens", "daruma-opens"])
def test_a_public_channel_has_both_halves(pair: Pair, *, by_daruma: bool, victim: str) -> None:
    """Each takes the other's: a half that did not fit would end the connection."""
    pair.fund_daruma()
    pair.connect()
    pair.opens(by_daruma=by_daruma, public=True)
    pair.mine(5)
    pair.usable()
    assert "announced" in pair.daruma.channels()[0]["status"][0]

    pair.mine()
    if victim:
        kill(pair, victim)

    until(lambda: pair.daruma.channels()[0]["status"] == ["ready for use"], "we have LDK's half")
    pair.usable()
    assert pair.ldk.channels()[0]["announced"]
    pair.pay_ldk(500_000)
    pair.pay_daruma(500_000)


def test_a_stranger_learns_of_a_channel_between_two_others(peers: Path, folder: Path) -> None:
    """LDK hears of a channel of two Daruma nodes from one of them, with both policies."""
    chain = RegtestBitcoind(peers, folder / "bitcoind")
    ldk = Ldk(peers, folder / "ldk", chain)
    alice = NodeProcess(folder / "alice", "alice", chain)
    bob = NodeProcess(folder / "bob", "bob", chain)
    try:
        chain.rpc("sendtoaddress", alice.client.newaddr()["bech32"], 0.05)
        chain.mine(1)
        until(lambda: alice.coins_sat() == 5_000_000, "alice has coins")
        alice.connect(bob)
        alice.client.fundchannel(id=bob.id, amount=CAPACITY_SAT)
        until(lambda: chain.rpc("getrawmempool"), "the funding transaction is there")
        chain.mine(6)
        until(lambda: len(bob.client.listchannels()["channels"]) == 2, "bob knows both policies")
        until(lambda: alice.client.connect(f"{ldk.id}@127.0.0.1:{ldk.port}"), "LDK is there")

        def learned() -> bool:
            rows = ldk.call("gossip")
            return len(rows) == 1 and all(rows[0]["policies"])

        until(learned, "the stranger knows the channel")
        assert sorted([alice.id, bob.id]) == ldk.call("gossip")[0]["nodes"]
    finally:
        for node in (alice, bob):
            node.stop()
        ldk.stop()
        chain.stop()


def test_a_connection_that_flaps_under_load(pair: Pair) -> None:
    opened(pair)
    start_msat = pair.to_daruma_msat()

    with ThreadPoolExecutor(20) as pool:
        jobs = [pool.submit(pair.pay_ldk, 250_000) for _ in range(20)]
        for _ in range(6):
            pair.ldk.call("disconnect", id=pair.daruma.id)
            pair.usable()
        for job in jobs:
            job.result()

    pair.agree()
    assert pair.to_daruma_msat() == start_msat - 20 * 250_000


def test_ldk_whose_disk_is_slow_is_waited_for(pair: Pair) -> None:
    """Its monitors stay unsaved for a while: nothing is lost and nothing is paid twice."""
    opened(pair)
    start_msat = pair.to_daruma_msat()

    with ThreadPoolExecutor(1) as pool:
        pair.ldk.call("hold", on=True)
        label = pair.start_paying_daruma(600_000)
        paying = pool.submit(pair.pay_ldk, 500_000)
        until(lambda: pair.ldk.call("held"), "a monitor waits for its disk")
        assert not pair.paid(label)
        pair.ldk.call("hold", on=False)
        paying.result()
        until(lambda: pair.paid(label), "Daruma was paid")

    pair.agree()
    assert pair.to_daruma_msat() == start_msat + 100_000


@pytest.mark.parametrize("by_daruma", [False, True], ids=["ldk-closes", "daruma-closes"])
def test_a_close_waits_for_the_htlc_in_flight(pair: Pair, *, by_daruma: bool) -> None:
    """Killed meanwhile, both; then it is fulfilled, and the channel closes."""
    opened(pair)
    expected_sat = (pair.to_daruma_msat() - 2_000_000) // 1000
    preimage = os.urandom(32)
    payment_hash = hashlib.sha256(preimage).hexdigest()
    bolt11 = pair.ldk.call("invoice", msat=2_000_000, hash=payment_hash)["bolt11"]
    channel_id = pair.ldk.channels()[0]["channel_id"]

    with ThreadPoolExecutor(2) as pool:
        paying = pool.submit(pair.pay_ldk, 2_000_000, bolt11)
        until(lambda: pair.ldk.told("PaymentClaimable", hash=payment_hash), "LDK holds it")
        if by_daruma:
            pool.submit(pair.daruma.client.call, "close", {"id": channel_id}, 60)
        else:
            pair.ldk.call("close", id=channel_id)
        until(lambda: pair.daruma.channels()[0]["state"] == "CHANNELD_SHUTTING_DOWN", "it closes")
        for victim in ("daruma", "ldk"):
            kill(pair, victim)
            until(lambda: pair.daruma.channels()[0]["reestablished"], "reestablished")
        pair.ldk.call("claim", preimage=preimage.hex())
        paying.result()

    closing = pair.chain.transaction(pair.mempool())
    assert expected_sat in [round(out["value"] * 1e8) for out in closing["vout"]]


def test_the_demonstration_runs_on_this_bitcoind(
    peers: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chain = RegtestBitcoind(peers, folder / "bitcoind")
    try:
        options = [f"--rpcport={chain.port}", f"--rpcuser={USER}", f"--rpcpassword={PASSWORD}"]
        status = demo.run(["--json", *options])
    finally:
        chain.stop()

    assert status == 0, capsys.readouterr().out
