"""Mission rows 12 to 25 in real processes: claims over several channels, relays, slow disks."""

from __future__ import annotations

import shutil

import pytest

from tests.processes.claims import (
    AMOUNT,
    Asked,
    claim_that_one_disk_holds_up,
    htlcs,
    keeper_of,
    route_of,
    secret_of,
    stored,
)
from tests.processes.network import NAMES, Killer, Network, storm


def test_row_12_what_is_not_durable_is_withheld(four: Network) -> None:
    """alice's monitor takes no write: bob sees nothing of her HTLC until it does."""
    (cid,) = four.link(("alice", "bob"))
    bolt11 = four.invoice("bob", 1_000_000, "slow")
    four.block("alice", keeper_of(cid))
    asked = Asked(four, "alice", bolt11)
    four.until(lambda: four.nodes["alice"].client.listpays()["pays"], "it is begun")
    for _ in range(20):
        assert not htlcs(four, "bob", cid)

    four.unblock("alice", keeper_of(cid))

    assert asked.done()["status"] == "complete"
    four.at_rest([cid])


def test_rows_14_and_21_one_channel_may_not_forget_what_another_does_not_have(
    four: Network,
) -> None:
    """As alice sees it: bob does not revoke on A while B's monitor cannot write."""
    paying, (a, b), payment_hash = claim_that_one_disk_holds_up(four)

    for _ in range(10):
        assert htlcs(four, "alice", a) == ["SENT_REMOVE_ACK_COMMIT"]
        assert htlcs(four, "alice", b)
    four.nodes["bob"].kill()  # everything of bob, B without its claim
    four.unblock("bob", keeper_of(b))

    assert paying.done()["amount_msat"] == AMOUNT
    four.at_rest([a, b])
    assert four.ours_msat("bob") == AMOUNT
    (row,) = four.nodes["bob"].client.call("listinvoices", {"payment_hash": payment_hash})[
        "invoices"
    ]
    assert (row["status"], row["amount_received_msat"]) == ("paid", AMOUNT)


@pytest.mark.parametrize("victim", ["payments", "peers", "a"])
def test_row_17_single_actors_die_in_the_middle_of_a_claim(four: Network, victim: str) -> None:
    paying, (a, b), _ = claim_that_one_disk_holds_up(four)
    four.nodes["bob"].kill_actor(keeper_of(a) if victim == "a" else victim)
    four.unblock("bob", keeper_of(b))

    assert paying.done()["amount_msat"] == AMOUNT
    four.at_rest([a, b])
    assert four.ours_msat("bob") == AMOUNT


def test_rows_16_19_and_20_payments_has_lost_its_snapshot(four: Network) -> None:
    """One monitor brings the claim to the other, and the payment back to the user."""
    paying, (a, b), payment_hash = claim_that_one_disk_holds_up(four)
    bob = four.nodes["bob"]
    four.leave("bob")
    shutil.rmtree(bob.folder / "regtest" / "stores" / "payments")
    four.unblock("bob", keeper_of(b))
    bob.start(environment={"DARUMA_REBUILD": "payments"})
    four.away.discard("bob")

    assert paying.done()["amount_msat"] == AMOUNT
    four.at_rest([a, b])
    gap = four.until(lambda: bob.client.call("waitevent", {"lastevent": 0}), "the gap")
    last = {"lastevent": gap["index"]}
    event = four.until(lambda: bob.client.call("waitevent", last), "the event")
    assert (gap["type"], event["type"]) == ("gap", "invoice_paid")
    assert (event["payment_hash"], event["label"]) == (payment_hash, "mpp")
    assert (event["amount_received_msat"], event["parts"]) == (AMOUNT, 2)


def test_row_22_no_hold_is_stored(four: Network) -> None:
    """In the bytes of every store of bob, while a channel is held."""
    paying, (a, b), _ = claim_that_one_disk_holds_up(four)
    bob = four.nodes["bob"]
    four.leave("bob")
    stores = list((bob.folder / "regtest" / "stores").rglob("*"))
    for path in stores:
        if path.is_file() and path.suffix in (".log", ".sst"):
            data = path.read_bytes()
            assert b"Held" not in data and b"holds" not in data
    four.unblock("bob", keeper_of(b))
    four.come_back("bob")

    assert paying.done()["amount_msat"] == AMOUNT
    four.at_rest([a, b])


def test_row_23_downstream_waits_for_upstream(four: Network) -> None:
    """alice pays carol over bob; bob's monitor of U takes no write when carol fulfils."""
    while True:
        u, d = four.link(("alice", "bob"), ("bob", "carol"))
        if keeper_of(u) != keeper_of(d):
            break
    carol, alice = four.nodes["carol"].client, four.nodes["alice"].client
    asked = {"amount_msat": 5_000_000, "label": "held", "description": "held"}
    made = carol.call("holdinvoice", asked)
    route = route_of(four, [(u, "bob"), (d, "carol")], 5_000_000)
    alice.call("sendpay", {"route": route, "payment_hash": made["payment_hash"],
                           "payment_secret": secret_of(four, made["bolt11"])})  # fmt: skip
    payment = {"payment_hash": made["payment_hash"]}
    four.until(lambda: carol.call("holdinvoicelookup", payment)["state"] == "accepted", "there")
    four.block("bob", keeper_of(u))
    carol.call("holdinvoicesettle", payment)
    # carol has revoked; what she said stands unapplied before bob's channel
    four.until(lambda: not htlcs(four, "carol", d), "carol has revoked")
    for _ in range(10):
        carol.call("getinfo")
    four.leave("bob")
    left = stored(four, "bob", d)
    assert left.htlcs and left.core.their_number == left.core.their_revoked + 1
    four.unblock("bob", keeper_of(u))
    four.come_back("bob")

    done = four.until(lambda: alice.call("waitsendpay", payment | {"timeout": 60}), "paid", 90)
    assert done["status"] == "complete"
    four.at_rest([u, d])
    assert four.nodes["bob"].client.call("listforwards")["forwards"][-1]["status"] == "settled"


@pytest.mark.parametrize("victim", ["payments", "monitors", "peers", "node"])
def test_row_25_an_event_is_told_again(four: Network, victim: str) -> None:
    four.link(("alice", "bob"))
    four.pays("alice", "bob", 1_000_000, "once")
    bob = four.nodes["bob"]
    first = bob.client.call("waitevent", {"lastevent": 0})

    bob.kill() if victim == "node" else bob.kill_actor(victim)

    assert first == four.until(lambda: bob.client.call("waitevent", {"lastevent": 0}), "again")
    assert first["type"] == "invoice_paid"


@pytest.mark.timeout(400)
def test_a_storm_over_a_diamond_with_kills(four: Network) -> None:
    """Payments in three parts and over three hops, an actor killed every 0.2 s: B11 in small."""
    cids = four.link(
        ("alice", "bob"), ("alice", "carol"), ("bob", "dave"), ("carol", "dave"),
        announce=True,
    )  # fmt: skip
    before = {name: four.ours_msat(name) for name in NAMES}
    count, amount = 100, 10_000_000
    with Killer(four, 0.2, seed=5) as killer:
        storm(four, [("alice", "dave")], count, amount)

    four.at_rest(cids)
    assert killer.kills > 2
    assert four.ours_msat("dave") - before["dave"] == count * amount
    pays = four.nodes["alice"].client.listpays()["pays"]
    assert [row["status"] for row in pays] == ["complete"] * count
    spent = sum(row["amount_sent_msat"] for row in pays)
    assert before["alice"] - four.ours_msat("alice") == spent
    assert sum(four.ours_msat(name) for name in NAMES) == sum(before.values())
