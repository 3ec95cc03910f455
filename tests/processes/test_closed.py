"""Mission rows 13, 15, 18 and 24 in real processes: claims that meet a closed channel, a crash at
each of their writes, or an old disk; and row 12 as a peer sees it on the wire."""

from __future__ import annotations

import shutil
import threading
from typing import Any

import pytest

from actors.testkit.hooks import crashing
from daruma.client import NotRunning, RpcError
from protocol.wire.commitment import CommitmentSigned, UpdateAddHtlc
from protocol.wire.opening import ChannelReady, FundingCreated
from protocol.wire.setup import Ping, Pong
from tests.kit.accepter import Accepter
from tests.processes.claims import (
    AMOUNT,
    Asked,
    claim_that_one_disk_holds_up,
    commitment,
    htlcs,
    keeper_of,
    route_of,
    secret_of,
)
from tests.processes.network import CAPACITY_SAT, Network


def _silent(peer: Accepter, kinds: tuple[type, ...]) -> None:
    """Whatever alice has sent until she answers twenty pings is none of these."""
    for _ in range(20):
        peer.line.say(Ping(num_pong_bytes=1, ignored=b""))
        while not isinstance(message := peer.line.hear(), Pong):
            assert not isinstance(message, kinds), f"{type(message).__name__} before its write"


def test_row_12_nothing_on_the_wire_before_its_durable_write(four: Network) -> None:
    """A scripted peer: no funding_created while funding cannot write, no commitment_signed while
    the channel's monitor cannot."""
    alice = four.nodes["alice"]
    peer = Accepter(alice)
    four.until(lambda: alice.client.listpeers(peer.id)["peers"], "connected")
    asked = {"id": peer.id, "amount": CAPACITY_SAT, "announce": False}
    answer: list[Any] = []
    asking = threading.Thread(
        target=lambda: answer.append(alice.client.call("fundchannel", asked, timeout=60))
    )
    asking.start()
    peer.accept()
    asking.join(60)
    four.until(lambda: four.chain.rpc("getrawmempool"), "it is broadcast")
    four.chain.mine(1)
    peer.hear(ChannelReady)
    peer.say_ready()
    assert peer.channel is not None
    cid = peer.channel.id.hex()
    four.until(lambda: alice.usable(), "usable for alice")

    four.block("alice", keeper_of(cid))
    sent = {"destination": peer.id, "amount_msat": 1_000_000}
    paying = threading.Thread(
        target=lambda: _quietly(lambda: alice.client.call("keysend", sent, timeout=60)), daemon=True
    )
    paying.start()
    four.until(lambda: alice.client.listpays()["pays"], "it is begun")
    _silent(peer, (UpdateAddHtlc, CommitmentSigned, FundingCreated))
    four.unblock("alice", keeper_of(cid))

    added = peer.hear(UpdateAddHtlc)
    assert (added.amount_msat, added.channel_id.hex()) == (1_000_000, cid)
    peer.hear(CommitmentSigned)


def _quietly(work: Any) -> None:
    """The scripted peer never answers: the question ends with the node."""
    try:
        work()
    except (RpcError, NotRunning, OSError, ValueError):
        return


# ---- a leg that is closed ------------------------------------------------------------------------


def _close_a(run: Network, cid: str) -> str:
    """alice's newest commitment of a channel is mined while she is down; -> txid."""
    run.leave("alice")
    raw = commitment(run, "alice", cid)
    txid = str(run.chain.rpc("sendrawtransaction", raw))
    run.chain.mine(1)
    run.come_back("alice")
    for name in ("alice", "bob"):
        closed = lambda n=name: run.channel(n, cid)["state"] == "ONCHAIN"  # noqa: E731
        run.until(closed, f"{name} has seen it")
    return txid


def _coins(run: Network, name: str) -> int:
    rows = run.nodes[name].client.listfunds()["outputs"]
    return sum(row["amount_msat"] for row in rows if row["status"] == "confirmed")


@pytest.mark.parametrize("victim", ["", "payments", "monitors", "peers", "bob", "alice"])
def test_row_24_a_leg_is_closed_and_then_claimed(four: Network, victim: str) -> None:
    """A1: the claim of a closed channel is as durable as others. The sum equals the invoice."""
    a, b = four.two_monitors("alice", "bob")
    alice, bob = four.nodes["alice"], four.nodes["bob"]
    asked = {"amount_msat": AMOUNT, "label": "mpp", "description": "mpp"}
    made = bob.client.call("holdinvoice", asked)
    payment = {"payment_hash": made["payment_hash"]}
    Asked(four, "alice", made["bolt11"])
    lookup = lambda: bob.client.call("holdinvoicelookup", payment)["state"]  # noqa: E731
    four.until(lambda: lookup() == "accepted", "all parts are there")
    (part_msat,) = [row["amount_msat"] for row in four.channel("bob", a)["htlcs"]]
    coins_msat = _coins(four, "bob")
    txid = _close_a(four, a)

    four.until(lambda: bob.client.call("holdinvoicesettle", payment), "bob says yes")
    if victim in four.names:
        four.nodes[victim].kill()
    elif victim:
        bob.kill_actor(victim)

    four.until(lambda: _mined(four, txid), "bob has taken his part on chain")
    four.until(lambda: not htlcs(four, "bob", b), "and the other one in the channel")
    gained_msat = four.until(lambda: _coins(four, "bob") - coins_msat, "the wallet has it")
    fee_msat = part_msat - gained_msat
    assert 0 < fee_msat < 2_000_000
    assert gained_msat + fee_msat + four.ours_msat("bob") == AMOUNT
    (row,) = four.until(lambda: bob.client.call("listinvoices", payment)["invoices"], "the invoice")
    assert (row["status"], row["amount_received_msat"]) == ("paid", AMOUNT)
    paid = lambda: alice.client.call("listpays", payment)["pays"][0]["status"]  # noqa: E731
    four.until(lambda: paid() == "complete", "alice has found the preimage")
    four.chain.mine(6)
    for name in ("alice", "bob"):
        four.until(lambda n=name: not htlcs(four, n, a), f"{name}: nothing is left of it")


def _mined(run: Network, txid: str) -> bool:
    """A block as soon as somebody has sent something; true when the outputs are taken."""
    if run.chain.rpc("getrawmempool"):
        run.chain.mine(1)
    raw = run.chain.rpc("getblock", run.chain.rpc("getblockhash", run.chain.height()), 0)
    return bytes.fromhex(txid)[::-1].hex() in raw


def _relayed(run: Network) -> tuple[str, str, dict[str, str]]:
    """alice pays carol over bob, and carol holds it; -> U, D, the payment."""
    u, d = run.link(("alice", "bob"), ("bob", "carol"))
    asked = {"amount_msat": 5_000_000, "label": "held", "description": "held"}
    made = run.nodes["carol"].client.call("holdinvoice", asked)
    _send(run, route_of(run, [(u, "bob"), (d, "carol")], 5_000_000), made)
    return u, d, {"payment_hash": made["payment_hash"]}


def _send(run: Network, route: list[dict[str, Any]], made: dict[str, Any]) -> None:
    secret = secret_of(run, made["bolt11"])
    asked = {"route": route, "payment_hash": made["payment_hash"], "payment_secret": secret}
    run.nodes["alice"].client.call("sendpay", asked)


def _is_accepted(run: Network, payment: dict[str, str]) -> bool:
    found = run.nodes["carol"].client.call("holdinvoicelookup", payment)
    return bool(found["state"] == "accepted")


def test_row_13_a3_what_waited_for_a_closed_channel_fails_upstream(four: Network) -> None:
    """A3, LDK 3989: bob's offer waits for carol, and her commitment is mined."""
    u, d = four.link(("alice", "bob"), ("bob", "carol"))
    made = four.nodes["carol"].invoice(5_000_000, "never")
    route = route_of(four, [(u, "bob"), (d, "carol")], 5_000_000)
    four.leave("carol")
    raw = commitment(four, "carol", d)
    _send(four, route, made)
    bob = four.nodes["bob"].client
    four.until(lambda: bob.call("listforwards")["forwards"], "bob has it")

    four.chain.rpc("sendrawtransaction", raw)
    four.chain.mine(1)

    payment = {"payment_hash": made["payment_hash"]}
    failed = lambda: four.nodes["alice"].client.call("listsendpays", payment)["payments"]  # noqa: E731
    four.until(lambda: failed()[0]["status"] == "failed", "alice knows")
    (row,) = bob.call("listforwards")["forwards"]
    assert (row["status"], row["failreason"]) == ("local_failed", "the channel is closed")
    four.until(lambda: not htlcs(four, "bob", u), "nothing is left upstream")


@pytest.mark.parametrize("victim", ["", "payments", "monitors"])
def test_row_13_a4_a_preimage_that_only_the_chain_told_goes_upstream(
    four: Network, victim: str
) -> None:
    """A4, row W9: carol takes her HTLC from bob's commitment while bob is down."""
    u, d, payment = _relayed(four)
    four.until(lambda: _is_accepted(four, payment), "carol holds it")
    four.leave("bob")
    txid = str(four.chain.rpc("sendrawtransaction", commitment(four, "bob", d)))
    four.chain.mine(1)
    carol, alice = four.nodes["carol"].client, four.nodes["alice"].client
    four.until(lambda: carol.call("holdinvoicesettle", payment), "carol says yes")
    four.until(lambda: _mined(four, txid), "carol has taken it on chain")

    four.come_back("bob")
    if victim:
        four.nodes["bob"].kill_actor(victim)

    done = four.until(lambda: alice.call("waitsendpay", payment | {"timeout": 60}), "paid", 90)
    assert done["status"] == "complete"
    four.until(lambda: not htlcs(four, "bob", u), "nothing is left upstream")
    four.chain.mine(6)
    four.until(lambda: not htlcs(four, "bob", d), "nor downstream")
    assert four.nodes["bob"].client.call("listforwards")["forwards"][-1]["status"] == "settled"


def test_row_13_a5_a_second_payment_of_the_same_hash_is_not_claimed(four: Network) -> None:
    """A5, LDK 3772: carol pays the hash that alice has paid, while bob's claim is under way."""
    (more,) = four.link(("carol", "bob"))
    paying, cids, payment_hash = claim_that_one_disk_holds_up(four)
    (row,) = four.nodes["bob"].client.call("listinvoices", {"payment_hash": payment_hash})[
        "invoices"
    ]
    before_msat = four.ours_msat("carol")
    four.nodes["bob"].kill()
    four.unblock("bob", keeper_of(cids[1]))
    asked = {"bolt11": row["bolt11"], "retry_for": 5}
    four.until(lambda: four.is_usable("carol", more), "carol can pay")

    with pytest.raises(RpcError):
        four.nodes["carol"].client.call("pay", asked, timeout=60)

    assert paying.done()["amount_msat"] == AMOUNT
    four.at_rest([*cids, more])
    assert four.ours_msat("carol") == before_msat
    assert four.ours_msat("bob") == AMOUNT


@pytest.mark.parametrize("when", ["before", "after"])
def test_row_13_a6_the_event_is_not_lost_with_the_claim(four: Network, when: str) -> None:
    """A2, A6: bob dies at the write that ends the claim; the event comes, once."""
    paying, cids, payment_hash = claim_that_one_disk_holds_up(four)
    four.again["bob"] = crashing(f"payments:1:{when}:node")
    restarts = four.restarts
    four.nodes["bob"].kill()
    four.unblock("bob", keeper_of(cids[1]))

    assert paying.done()["amount_msat"] == AMOUNT
    four.at_rest(cids)
    bob = four.nodes["bob"].client
    held = four.until(lambda: bob.call("waitevent", {"lastevent": 0}), "the first event")
    after = {"lastevent": held["index"]}
    event = four.until(lambda: bob.call("waitevent", after), "the event")
    assert (held["type"], event["type"]) == ("invoice_held", "invoice_paid")
    assert event["payment_hash"] == payment_hash
    (row,) = bob.call("listinvoices", {"payment_hash": payment_hash})["invoices"]
    assert (row["status"], row["pay_index"]) == ("paid", 1)
    assert four.restarts >= restarts + 2, "it did not die at that write"


# ---- every write of a claim ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actor", "number"),
    [("payments", 1), ("payments", 2), *((f"monitors-{m}", n) for m in (1, 2) for n in (1, 2, 3))],
)
def test_row_15_a_claim_is_whole_at_each_of_its_writes(
    four: Network, actor: str, number: int
) -> None:
    """bob is restarted with the set accepted, and dies again at a write of the claim."""
    a, b = four.two_monitors("alice", "bob")
    bob = four.nodes["bob"]
    asked = {"amount_msat": AMOUNT, "label": "mpp", "description": "mpp"}
    made = bob.client.call("holdinvoice", asked)
    payment = {"payment_hash": made["payment_hash"]}
    paying = Asked(four, "alice", made["bolt11"])
    lookup = lambda: bob.client.call("holdinvoicelookup", payment)["state"]  # noqa: E731
    four.until(lambda: lookup() == "accepted", "all parts are there")
    when = "before" if number % 2 else "after"
    four.again["bob"] = crashing(f"{actor}:{number}:{when}:node")
    restarts = four.restarts
    bob.kill()

    four.until(
        lambda: lookup() == "settled" or bob.client.call("holdinvoicesettle", payment), "settled"
    )

    assert paying.done()["amount_msat"] == AMOUNT
    four.at_rest([a, b])
    assert four.restarts >= restarts + 2, "it did not die at that write"
    assert four.ours_msat("bob") == AMOUNT
    assert lookup() == "settled"


# ---- an old disk ---------------------------------------------------------------------------------


def test_row_18_an_older_channel_is_refused_and_nothing_of_it_is_broadcast(four: Network) -> None:
    """A channel that is behind its monitor cannot be; an old monitor does not start. With the new
    one back the channel goes on: it was never closed."""
    (cid,) = four.link(("alice", "bob"))
    four.pays("alice", "bob", 100_000_000, "first")
    alice = four.nodes["alice"]
    store = alice.folder / "regtest" / "stores" / keeper_of(cid)
    four.leave("alice")
    shutil.copytree(store, four.folder / "older")
    four.come_back("alice")
    four.until(lambda: four.is_usable("alice", cid), "usable")
    four.pays("alice", "bob", 100_000_000, "second")
    four.leave("alice")
    shutil.move(store, four.folder / "newer")
    shutil.move(four.folder / "older", store)

    with pytest.raises(RuntimeError, match="did not start"):
        alice.start()
    four.chain.mine(3)
    assert not four.chain.rpc("getrawmempool")
    assert four.channel("bob", cid)["state"] == "CHANNELD_NORMAL"

    shutil.rmtree(store)
    shutil.move(four.folder / "newer", store)
    four.come_back("alice")
    four.pays("alice", "bob", 100_000_000, "third")
    four.at_rest([cid])
    assert four.ours_msat("bob") == 300_000_000
