"""Claims over several channels in real processes: one disk that holds a claim up, and what the
disks of a node that is down say of its channels."""

from __future__ import annotations

import threading
from typing import Any

from rocksdict import AccessType, Options, Rdict

from actors.engine.table import Table
from actors.tree import NODE
from daruma import seed
from protocol.bitcoin.transaction import serialize
from protocol.channel.state import Channel
from protocol.crypto.hashes import derive
from protocol.crypto.keys import ChannelSecrets
from protocol.machine import Step
from protocol.monitor import snapshot
from tests.kit import enforcing
from tests.processes.network import CAPACITY_SAT, Network

MONITOR_NAMES = NODE.members("monitors")


def keeper_of(cid: str) -> str:
    return NODE.keeper("monitors", bytes.fromhex(cid))


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


def htlcs(run: Network, name: str, cid: str) -> list[str]:
    return [row["state"] for row in run.channel(name, cid).get("htlcs", [])]


def claim_that_one_disk_holds_up(run: Network) -> tuple[Asked, list[str], str]:
    """alice pays bob over A and B; B's monitor takes no write when the claim comes."""
    a, b = run.two_monitors("alice", "bob")
    asked = {"amount_msat": AMOUNT, "label": "mpp", "description": "mpp"}
    made = run.nodes["bob"].client.call("holdinvoice", asked)
    paying = Asked(run, "alice", made["bolt11"])
    payment = {"payment_hash": made["payment_hash"]}
    bob = run.nodes["bob"].client
    run.until(lambda: bob.call("holdinvoicelookup", payment)["state"] == "accepted", "all there")
    run.block("bob", keeper_of(b))
    bob.call("holdinvoicesettle", payment)
    # alice has the preimage from A, and has revoked her commitment with that HTLC
    run.until(lambda: htlcs(run, "alice", a) == ["SENT_REMOVE_ACK_COMMIT"], "A's dance stands")
    return paying, [a, b], made["payment_hash"]


def stored(run: Network, name: str, cid: str) -> Channel:
    """The channel on the disk of a node that is down."""
    folder = run.nodes[name].folder / "regtest" / "stores" / keeper_of(cid)
    rows = Rdict(str(folder), Options(raw_mode=True), access_type=AccessType.read_only())
    table = Table()
    try:
        for raw, value in rows.items():
            key = bytes(raw)[2:].decode("ascii", "replace")
            if bytes(raw).startswith(b"r/") and f"/{cid}" in key:
                table.set(*NODE.keeps["monitors"].read(key, bytes(value)))
    finally:
        rows.close()
    channel = snapshot.channel(Step(table), bytes.fromhex(cid))
    assert channel is not None
    return channel


def commitment(run: Network, name: str, cid: str) -> str:
    """The newest commitment of a node that is down, signed (hex): what it could broadcast."""
    channel = stored(run, name, cid)
    master = derive(seed.load_or_make(run.nodes[name].folder / "regtest"), "channels")
    secrets = ChannelSecrets(master, channel.setup.key_index)
    return serialize(enforcing.signed(channel, secrets)).hex()


def secret_of(run: Network, bolt11: str) -> str:
    return str(run.nodes["alice"].client.call("decode", {"string": bolt11})["payment_secret"])


def route_of(run: Network, hops: list[tuple[str, str]], amount: int) -> list[dict[str, Any]]:
    """From alice, with bob's fee of 1 sat and 10 ppm, and his 80 blocks."""
    sent = amount + 1000 + amount * 10 // 1_000_000
    terms = [(sent, 240), (amount, 150)]
    return [
        {"id": run.nodes[to].id, "channel": scid_of(run, to, cid), "amount_msat": msat, "delay": d}
        for (cid, to), (msat, d) in zip(hops, terms, strict=True)
    ]


def scid_of(run: Network, name: str, cid: str) -> str:
    return str(run.channel(name, cid)["short_channel_id"])
