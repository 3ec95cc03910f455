"""Three nodes in a row over one bitcoind, each Daruma or LDK; all channels are public."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from daruma.playground import NodeProcess, until
from tests.interop.foreign import Ldk, RegtestBitcoind
from tests.interop.pair import CAPACITY_SAT, FUNDS_SAT, PUSH_SAT

Node = NodeProcess | Ldk


class Line:
    """`kinds`: D or L for each node. The first Daruma of two neighbours opens their channel, with
    as much pushed as `PUSH_SAT`."""

    def __init__(self, peers: Path, folder: Path, kinds: str) -> None:
        self.chain = RegtestBitcoind(peers, folder / "bitcoind")
        self.nodes: list[Node] = []
        self.labels = itertools.count()
        for number, kind in enumerate(kinds):
            place = folder / f"node{number}"
            if kind == "D":
                self.nodes.append(NodeProcess(place, f"daruma{number}", self.chain))
            else:
                self.nodes.append(Ldk(peers, place, self.chain))

    @property
    def darumas(self) -> list[NodeProcess]:
        return [node for node in self.nodes if isinstance(node, NodeProcess)]

    @property
    def ldks(self) -> list[Ldk]:
        return [node for node in self.nodes if isinstance(node, Ldk)]

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()
        self.chain.stop()

    # ---- channels ----

    def mine(self, count: int = 1) -> None:
        self.chain.mine(count)
        for ldk in self.ldks:
            ldk.call("follow")
        for node in self.darumas:
            until(lambda n=node: n.height() == self.chain.height(), "Daruma has read the chain")

    def open(self) -> None:
        """Both channels, until everybody knows both with all policies."""
        for node in self.darumas:
            address = node.client.newaddr()["bech32"]
            self.chain.rpc("sendtoaddress", address, FUNDS_SAT / 1e8)
        self.mine()
        for node in self.darumas:
            until(lambda n=node: n.coins_sat() == FUNDS_SAT, "Daruma has coins")
        pairs = list(itertools.pairwise(self.nodes))
        # LDK says its policy once, to who is there: strangers come when two LDKs are done
        pairs.sort(key=lambda pair: not all(isinstance(node, Ldk) for node in pair))
        for one, two in pairs:
            self._open(one, two)
            until(lambda: self.chain.rpc("getrawmempool"), "it is broadcast")
            self.mine(6)
            self.mine(1)
        for daruma in self.darumas:
            for ldk in self.ldks:
                self._connect(daruma, ldk)
        for daruma in self.darumas:
            until(lambda n=daruma: self._knows(n), "both channels and policies are known", 60)
        for ldk in self.ldks:
            until(lambda x=ldk: len(x.call("gossip")) == 2, "LDK knows both channels", 60)
            all_said = lambda x=ldk: all(all(r["policies"]) for r in x.call("gossip"))  # noqa: E731
            until(all_said, "and their policies", 60)

    def _connect(self, one: NodeProcess, two: Node) -> None:
        until(lambda: one.client.connect(f"{two.id}@127.0.0.1:{two.port}"), "connected")

    def _open(self, one: Node, two: Node) -> None:
        if not isinstance(one, NodeProcess):
            one, two = two, one
        if isinstance(one, NodeProcess):
            self._connect(one, two)
            asked = {"id": two.id, "amount": CAPACITY_SAT, "push_msat": PUSH_SAT * 1000}
            one.client.fundchannel(**asked, announce=True)
            return
        one.call("connect", id=two.id, port=two.port)
        until(lambda: two.id in one.call("peers"), "they are connected")
        asked = {"id": two.id, "sat": CAPACITY_SAT, "push_msat": PUSH_SAT * 1000}
        one.call("open", **asked, public=True)

    def _knows(self, node: NodeProcess) -> bool:
        return len([r for r in node.client.listchannels()["channels"] if r["active"]]) == 4

    # ---- money ----

    def pays(self, payer: Node, payee: Node, msat: int) -> dict[str, Any]:
        """Until it is paid; -> Daruma's answer, empty for LDK's. LDK gives up when a channel is not
        ready at the moment: its user asks for another invoice."""
        if isinstance(payer, NodeProcess):
            asked = {"bolt11": self._invoice(payee, msat)["bolt11"]}
            paid: dict[str, Any] = until(
                lambda: payer.client.call("pay", asked, timeout=70), "paid", 90
            )
            return paid
        for _ in range(5):
            made = self._invoice(payee, msat)
            payer.call("pay", bolt11=made["bolt11"])
            if until(lambda h=made["payment_hash"]: outcome(payer, h), "it ended", 60) == "sent":
                return {}
        raise AssertionError("LDK could not pay in five tries")

    def _invoice(self, payee: Node, msat: int) -> dict[str, Any]:
        if isinstance(payee, NodeProcess):
            label = f"invoice {next(self.labels)}"
            made: dict[str, Any] = until(lambda: payee.invoice(msat, label), "an invoice")
            return made
        found = payee.call("invoice", msat=msat)
        return {"bolt11": found["bolt11"], "payment_hash": found["hash"]}

    def at_rest(self) -> None:
        rows = lambda: [row for node in self.nodes for row in node.channels()]  # noqa: E731
        until(lambda: not any(row["htlcs"] for row in rows()), "nothing is in flight")

    def ours_msat(self, node: NodeProcess) -> int:
        return sum(row["to_us_msat"] for row in node.channels())


def meanwhile(pay: Callable[[], Any], work: Callable[[], None], seed: int) -> Any:
    """A payment, and something that happens at a seeded moment of its first quarter of a second;
    -> what the payment gives. A process dies with the thread that started it, so that it is the
    payment that has a thread of its own."""
    over = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(pay)
        job.add_done_callback(lambda _: over.set())
        over.wait(random.Random(seed).uniform(0, 0.25))
        work()
        return job.result()


def outcome(ldk: Ldk, payment_hash: str) -> str:
    """ "sent" or "failed", once LDK has said so."""
    if ldk.told("PaymentSent", hash=payment_hash):
        return "sent"
    return "failed" if ldk.told("PaymentFailed", hash=payment_hash) else ""
