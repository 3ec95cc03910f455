"""Mission rows 12 to 25 in real processes: claims over several channels, relays, slow disks."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rocksdict import AccessType, Options, Rdict

from actors.shards import keeper, members
from actors.tree import MONITORS
from actors.vocabulary import SCHEMAS
from tests.processes.network import CAPACITY_SAT, NAMES, Killer, Network, storm
from tests.processes.scenario import prepare

MONITOR_NAMES = members("monitors", MONITORS)


@pytest.fixture(scope="session")
def prepared_four() -> Iterator[tuple[Path, int]]:
    with tempfile.TemporaryDirectory(prefix="four-") as folder:
        place = Path(folder) / "d"
        yield place, prepare(place, NAMES, NAMES)


@pytest.fixture
def four(prepared_four: tuple[Path, int]) -> Iterator[Network]:
    run = Network(*prepared_four)
    try:
        run.start({name: {"DARUMA_BLOCK": "1"} for name in NAMES})
        yield run
    finally:
        run.stop()


def _keeper(cid: str) -> str:
    return keeper(MONITOR_NAMES, bytes.fromhex(cid))


class Asked:
    """A payment that is under way, in a thread of its own."""

    def __init__(self, run: Network, payer: str, bolt11: str) -> None:
        self.result: Any = None
        node = run.nodes[payer]

        def work() -> None:
            self.result = run.until(
                lambda: node.client.call("pay", {"bolt11": bolt11}, timeout=90), "paid", 120
            )

        self.thread = threading.Thread(target=work, daemon=True)
        self.thread.start()

    def done(self) -> Any:
        self.thread.join(120)
        assert self.result is not None
        return self.result


AMOUNT = CAPACITY_SAT * 1000 + 100_000_000  # more than one channel carries


def _htlcs(run: Network, name: str, cid: str) -> list[str]:
    return [row["state"] for row in run.channel(name, cid).get("htlcs", [])]


def test_row_12_what_is_not_durable_is_withheld(four: Network) -> None:
    """alice's monitor takes no write: bob sees nothing of her HTLC until it does."""
    (cid,) = four.link(("alice", "bob"))
    bolt11 = four.invoice("bob", 1_000_000, "slow")
    four.block("alice", _keeper(cid))
    asked = Asked(four, "alice", bolt11)
    four.until(lambda: four.nodes["alice"].client.listpays()["pays"], "it is begun")
    for _ in range(20):
        assert not _htlcs(four, "bob", cid)

    four.unblock("alice", _keeper(cid))

    assert asked.done()["status"] == "complete"
    four.at_rest([cid])


def _claim_that_one_disk_holds_up(run: Network) -> tuple[Asked, list[str], str]:
    """alice pays bob over A and B; B's monitor takes no write when the claim comes."""
    a, b = run.two_monitors("alice", "bob")
    asked = {"amount_msat": AMOUNT, "label": "mpp", "description": "mpp"}
    made = run.nodes["bob"].client.call("holdinvoice", asked)
    paying = Asked(run, "alice", made["bolt11"])
    payment = {"payment_hash": made["payment_hash"]}
    bob = run.nodes["bob"].client
    run.until(lambda: bob.call("holdinvoicelookup", payment)["state"] == "accepted", "all there")
    run.block("bob", _keeper(b))
    bob.call("holdinvoicesettle", payment)
    # alice has the preimage from A, and has revoked her commitment with that HTLC
    run.until(lambda: _htlcs(run, "alice", a) == ["SENT_REMOVE_ACK_COMMIT"], "A's dance stands")
    return paying, [a, b], made["payment_hash"]


def test_rows_14_and_21_one_channel_may_not_forget_what_another_does_not_have(
    four: Network,
) -> None:
    """As alice sees it: bob does not revoke on A while B's monitor cannot write."""
    paying, (a, b), payment_hash = _claim_that_one_disk_holds_up(four)

    for _ in range(10):
        assert _htlcs(four, "alice", a) == ["SENT_REMOVE_ACK_COMMIT"]
        assert _htlcs(four, "alice", b)
    four.nodes["bob"].kill()  # everything of bob, B without its claim
    four.unblock("bob", _keeper(b))

    assert paying.done()["amount_msat"] == AMOUNT
    four.at_rest([a, b])
    assert four.ours_msat("bob") == AMOUNT
    (row,) = four.nodes["bob"].client.call("listinvoices", {"payment_hash": payment_hash})[
        "invoices"
    ]
    assert (row["status"], row["amount_received_msat"]) == ("paid", AMOUNT)


@pytest.mark.parametrize("victim", ["payments", "peers", "a"])
def test_row_17_single_actors_die_in_the_middle_of_a_claim(four: Network, victim: str) -> None:
    paying, (a, b), _ = _claim_that_one_disk_holds_up(four)
    four.nodes["bob"].kill_actor(_keeper(a) if victim == "a" else victim)
    four.unblock("bob", _keeper(b))

    assert paying.done()["amount_msat"] == AMOUNT
    four.at_rest([a, b])
    assert four.ours_msat("bob") == AMOUNT


def test_rows_16_19_and_20_payments_has_lost_its_snapshot(four: Network) -> None:
    """One monitor brings the claim to the other, and the payment back to the user."""
    paying, (a, b), payment_hash = _claim_that_one_disk_holds_up(four)
    bob = four.nodes["bob"]
    four.leave("bob")
    shutil.rmtree(bob.folder / "regtest" / "stores" / "payments")
    four.unblock("bob", _keeper(b))
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
    paying, (a, b), _ = _claim_that_one_disk_holds_up(four)
    bob = four.nodes["bob"]
    four.leave("bob")
    stores = list((bob.folder / "regtest" / "stores").rglob("*"))
    for path in stores:
        if path.is_file() and path.suffix in (".log", ".sst"):
            data = path.read_bytes()
            assert b"Held" not in data and b"holds" not in data
    four.unblock("bob", _keeper(b))
    four.come_back("bob")

    assert paying.done()["amount_msat"] == AMOUNT
    four.at_rest([a, b])


def test_row_23_downstream_waits_for_upstream(four: Network) -> None:
    """alice pays carol over bob; bob's monitor of U takes no write when carol fulfils."""
    while True:
        u, d = four.link(("alice", "bob"), ("bob", "carol"))
        if _keeper(u) != _keeper(d):
            break
    carol, alice = four.nodes["carol"].client, four.nodes["alice"].client
    asked = {"amount_msat": 5_000_000, "label": "held", "description": "held"}
    made = carol.call("holdinvoice", asked)
    route = _route(four, [(u, "bob"), (d, "carol")], 5_000_000)
    alice.call("sendpay", {"route": route, "payment_hash": made["payment_hash"],
                           "payment_secret": _secret(four, made["bolt11"])})  # fmt: skip
    payment = {"payment_hash": made["payment_hash"]}
    four.until(lambda: carol.call("holdinvoicelookup", payment)["state"] == "accepted", "there")
    four.block("bob", _keeper(u))
    carol.call("holdinvoicesettle", payment)
    # carol has revoked; what she said stands unapplied before bob's channel
    four.until(lambda: not _htlcs(four, "carol", d), "carol has revoked")
    for _ in range(10):
        carol.call("getinfo")
    four.leave("bob")
    (core, htlcs) = _stored(four, "bob", d)
    assert htlcs and core.their_number == core.their_revoked + 1
    four.unblock("bob", _keeper(u))
    four.come_back("bob")

    done = four.until(lambda: alice.call("waitsendpay", payment | {"timeout": 60}), "paid", 90)
    assert done["status"] == "complete"
    four.at_rest([u, d])
    assert four.nodes["bob"].client.call("listforwards")["forwards"][-1]["status"] == "settled"


def _stored(run: Network, name: str, cid: str) -> tuple[Any, list[Any]]:
    """The channel's core and HTLCs on the disk of a node that is down."""
    folder = run.nodes[name].folder / "regtest" / "stores" / _keeper(cid)
    rows = Rdict(str(folder), Options(raw_mode=True), access_type=AccessType.read_only())
    try:
        found = {bytes(key)[2:].decode(): bytes(value) for key, value in rows.items()
                 if bytes(key).startswith((b"r/core/", b"r/htlc/"))}  # fmt: skip
    finally:
        rows.close()
    read = SCHEMAS["monitors"].decode
    htlcs = [read(key, data) for key, data in found.items() if key.startswith(f"htlc/{cid}/")]
    return read(f"core/{cid}", found[f"core/{cid}"]), htlcs


def _secret(run: Network, bolt11: str) -> str:
    return str(run.nodes["alice"].client.call("decode", {"string": bolt11})["payment_secret"])


def _route(run: Network, hops: list[tuple[str, str]], amount: int) -> list[dict[str, Any]]:
    """From alice, with bob's fee of 1 sat and 10 ppm, and his 80 blocks."""
    sent = amount + 1000 + amount * 10 // 1_000_000
    terms = [(sent, 240), (amount, 150)]
    return [
        {"id": run.nodes[to].id, "channel": _name(run, to, cid), "amount_msat": msat, "delay": d}
        for (cid, to), (msat, d) in zip(hops, terms, strict=True)
    ]


def _name(run: Network, name: str, cid: str) -> str:
    return str(run.channel(name, cid)["short_channel_id"])


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
