"""Daruma and LDK over one bitcoind: the sentences of the scenarios."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from daruma.playground import NodeProcess, until
from tests.interop.foreign import Ldk, RegtestBitcoind

CAPACITY_SAT, PUSH_SAT = 2_000_000, 800_000
FUNDS_SAT = 5_000_000
ANCHORS = "401000"  # bits 12 and 22


class Pair:
    """One Daruma and one LDK; every sentence waits until both have done it.

    `may_be_killed`: Daruma has been told to kill itself, which may be due at its very end.
    """

    may_be_killed = False

    def __init__(self, peers: Path, folder: Path) -> None:
        self.chain = RegtestBitcoind(peers, folder / "bitcoind")
        self.ldk = Ldk(peers, folder / "ldk", self.chain)
        self.daruma = NodeProcess(folder / "daruma", "daruma", self.chain)
        self.labels = itertools.count()

    def stop(self) -> None:
        status = self.daruma.stop()
        assert self.may_be_killed or status == 0, "a node that is asked to end ends well"
        self.ldk.stop()
        self.chain.stop()

    # ---- the chain ----

    def mine(self, count: int = 1) -> None:
        self.chain.mine(count)
        self.ldk.call("follow")
        until(lambda: self.daruma.height() == self.chain.height(), "Daruma has read the chain")

    def mempool(self) -> str:
        """The one transaction in it, once it is there; -> txid."""
        return str(until(lambda: self.chain.rpc("getrawmempool"), "a transaction")[0])

    def fund_daruma(self) -> None:
        address = self.daruma.client.newaddr()["bech32"]
        self.chain.rpc("sendtoaddress", address, FUNDS_SAT / 1e8)
        self.mine()
        until(lambda: self.daruma.coins_sat() == FUNDS_SAT, "Daruma has coins")

    # ---- the channel ----

    def connect(self) -> None:
        """Daruma dials, and dials again by itself whenever the connection is lost."""
        address = f"{self.ldk.id}@127.0.0.1:{self.ldk.port}"
        until(lambda: self.daruma.client.connect(address), "they are connected")

    def opens(self, *, by_daruma: bool, public: bool = False) -> None:
        push_msat = PUSH_SAT * 1000
        if by_daruma:
            self.daruma.client.fundchannel(
                id=self.ldk.id, amount=CAPACITY_SAT, push_msat=push_msat, announce=public
            )
        else:
            asked = {"id": self.daruma.id, "sat": CAPACITY_SAT, "push_msat": push_msat}
            self.ldk.call("open", **asked, public=public)
        self.mempool()

    def usable(self) -> None:
        until(
            lambda: self.daruma.usable() and any(row["usable"] for row in self.ldk.channels()),
            "the channel is usable at both sides",
        )

    def to_daruma_msat(self) -> int:
        return int(self.daruma.channels()[0]["to_us_msat"])

    def agree(self) -> None:
        """Nothing is in flight, and both say the same balances."""

        def same() -> bool:
            ours, theirs = self.daruma.channels()[0], self.ldk.channels()[0]
            spendable_msat = max(0, ours["to_us_msat"] - ours["our_reserve_msat"])
            quiet = not ours["htlcs"] and not theirs["htlcs"]
            return quiet and theirs["inbound_msat"] == spendable_msat

        until(same, "both sides agree", 20)

    # ---- payments ----

    def pay_ldk(self, msat: int, bolt11: str = "") -> None:
        bolt11 = bolt11 or self.ldk.call("invoice", msat=msat)["bolt11"]

        def paid() -> bool:
            answer = self.daruma.client.call("pay", {"bolt11": bolt11}, timeout=70)
            return bool(answer["status"] == "complete" and answer["amount_msat"] == msat)

        until(paid, "Daruma has paid")

    def pay_daruma(self, msat: int) -> str:
        """-> the label."""
        label = self.start_paying_daruma(msat)
        until(lambda: self.paid(label), "Daruma was paid")
        return label

    def start_paying_daruma(self, msat: int) -> str:
        """-> the label. Said to LDK once: it keeps on by itself."""
        label = f"from ldk {next(self.labels)}"
        bolt11 = until(lambda: self.daruma.invoice(msat, label), "an invoice")["bolt11"]
        self.ldk.call("pay", bolt11=bolt11)
        return label

    def paid(self, label: str) -> bool:
        rows = self.daruma.client.listinvoices(label=label)["invoices"]
        return bool(rows[0]["status"] == "paid")

    def at_once(self, count: int, msat: int) -> None:
        """`count` payments each way, all in flight together."""
        with ThreadPoolExecutor(2 * count) as pool:
            jobs = [pool.submit(self.pay_ldk, msat) for _ in range(count)]
            jobs += [pool.submit(self.pay_daruma, msat) for _ in range(count)]
            for job in jobs:
                job.result()

    # ---- the end ----

    def close(self, *, by_daruma: bool) -> None:
        """Both get what the channel held, to the satoshi, less the opener's fee."""
        self.agree()
        row = self.daruma.channels()[0]
        channel_id, to_us_sat = row["channel_id"], row["to_us_msat"] // 1000
        coins_sat = self.daruma.coins_sat()
        if by_daruma:
            self.daruma.client.close(id=channel_id)
        else:
            self.ldk.call("close", id=channel_id)
        paid_sat = self._outputs_sat(self.mempool())
        fee_sat = CAPACITY_SAT - sum(paid_sat)
        expected_sat = to_us_sat - (fee_sat if row["opener"] == "local" else 0)
        assert expected_sat in paid_sat, (expected_sat, paid_sat)
        assert 0 < fee_sat < 5_000, fee_sat
        self.mine(6)
        until(lambda: self.daruma.coins_sat() == coins_sat + expected_sat, "Daruma has its coins")
        theirs_sat = sum(paid_sat) - expected_sat
        until(lambda: self.ldk.told("SpendableOutputs", sat=theirs_sat), "LDK has its coins")
        until(lambda: not self.ldk.channels(), "LDK has forgotten the channel")

    def _outputs_sat(self, txid: str) -> list[int]:
        return [round(out["value"] * 1e8) for out in self.chain.transaction(txid)["vout"]]
