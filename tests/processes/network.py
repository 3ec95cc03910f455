"""Several nodes in real processes with channels between them, and what must be true of them all."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from pathlib import Path
from typing import Any

from actors.tree import NODE
from daruma.client import NotRunning, RpcError
from daruma.playground import NodeProcess
from tests.processes.scenario import Run

NAMES = ("alice", "bob", "carol", "dave")
CAPACITY_SAT = 2_000_000


class Network(Run):
    """Four nodes that all have coins."""

    names = NAMES

    # ---- channels ----

    def link(
        self, *pairs: tuple[str, str], sat: int = CAPACITY_SAT, announce: bool = False
    ) -> list[str]:
        """A channel for each pair, opened by the first, usable at both ends; with `announce`
        everybody knows all of them. -> their ids."""
        found = []
        for one, two in pairs:
            payer, payee = self.nodes[one], self.nodes[two]
            asked = {"id": payee.id, "amount": sat, "announce": announce}
            self.connect(one, two)
            found.append(str(payer.client.call("fundchannel", asked, timeout=30)["channel_id"]))
            self.until(lambda p=(one, two), c=found[-1]: self._mined(p, c), "usable")
        if announce:
            self.chain.mine(6)
            for name in self.names:
                self.until(lambda n=name: self._knows(n, len(pairs)), f"{name} knows all channels")
        else:
            for pair, cid in zip(pairs, found, strict=True):
                for name in pair:
                    self.until(lambda n=name, c=cid: self._terms(n, c), "the terms are known")
        return found

    def _mined(self, pair: tuple[str, str], cid: str) -> bool:
        if self.chain.rpc("getrawmempool"):
            self.chain.mine(1)
        return all(self.is_usable(name, cid) for name in pair)

    def _is_closed(self, pair: tuple[str, str], cid: str) -> bool:
        if self.chain.rpc("getrawmempool"):
            self.chain.mine(1)
        return all(self.channel(name, cid)["state"] == "ONCHAIN" for name in pair)

    def connect(self, one: str, two: str) -> None:
        payer, payee = self.nodes[one], self.nodes[two]
        self.until(lambda: payer.client.connect(f"{payee.id}@127.0.0.1:{payee.port}"), "connected")

    def channel(self, name: str, cid: str) -> dict[str, Any]:
        rows = self.nodes[name].client.listpeerchannels()["channels"]
        return next((row for row in rows if row["channel_id"] == cid), {})

    def is_usable(self, name: str, cid: str) -> bool:
        row = self.channel(name, cid)
        return row.get("state") == "CHANNELD_NORMAL" and bool(row.get("peer_connected"))

    def _terms(self, name: str, cid: str) -> bool:
        return "remote" in self.channel(name, cid).get("updates", {})

    def _knows(self, name: str, count: int) -> bool:
        if self.chain.rpc("getrawmempool"):
            self.chain.mine(1)
        rows = self.nodes[name].client.listchannels()["channels"]
        return len([row for row in rows if row["active"]]) == 2 * count

    def two_monitors(self, one: str, two: str) -> list[str]:
        """Two channels of a pair, each kept by another monitor at both ends."""
        kept: dict[str, str] = {}
        while len(kept) < len(NODE.members("monitors")):
            (cid,) = self.link((one, two))
            name = NODE.keeper("monitors", bytes.fromhex(cid))
            if name in kept:
                self.nodes[one].client.call("close", {"id": cid}, timeout=30)
                self.until(lambda c=cid: self._is_closed((one, two), c), "closed")
            kept.setdefault(name, cid)
        return [kept[name] for name in sorted(kept)]

    # ---- money ----

    def invoice(self, name: str, amount_msat: int, label: str) -> str:
        node = self.nodes[name]
        return str(self.until(lambda: node.invoice(amount_msat, label)["bolt11"], "an invoice"))

    def pays(self, payer: str, payee: str, amount_msat: int, label: str) -> dict[str, Any]:
        bolt11, node = self.invoice(payee, amount_msat, label), self.nodes[payer]
        asked = {"bolt11": bolt11, "maxfee": amount_msat // 50}
        found: dict[str, Any] = self.until(
            lambda: node.client.call("pay", asked, timeout=70), f"pay {label}", 120
        )
        return found

    def ours_msat(self, name: str) -> int:
        rows = self.nodes[name].client.listpeerchannels()["channels"]
        return sum(row["to_us_msat"] for row in rows if row["state"] == "CHANNELD_NORMAL")

    def at_rest(self, cids: list[str] | None = None) -> None:
        """No HTLC anywhere; the ends of each channel agree on every millisatoshi; all are open."""
        self.until(lambda: not self._differences(), f"at rest: {self._differences()}", 60)
        for cid in cids or []:
            ends = [name for name in self.names if self.channel(name, cid)]
            assert len(ends) == 2
            for name in ends:
                self.until(lambda n=name, c=cid: self.is_usable(n, c), f"{cid} is open")

    def _differences(self) -> list[str]:
        sums: dict[str, list[int]] = {}
        found = []
        for name in self.names:
            try:
                rows = self.nodes[name].client.listpeerchannels()["channels"]
            except (RpcError, NotRunning, OSError, ValueError):
                return [f"{name} does not answer"]
            for row in rows:
                if row["htlcs"]:
                    found.append(f"{name} has HTLCs: {row['htlcs'][0]['state']}")
                if row["state"] not in ("CHANNELD_NORMAL", "ONCHAIN"):
                    found.append(f"{name} has a channel that is {row['state']}")
                sums.setdefault(row["channel_id"], [row["total_msat"]]).append(row["to_us_msat"])
        for cid, (total, *ours) in sums.items():
            if len(ours) == 2 and sum(ours) != total:
                found.append(f"{cid}: {ours} of {total}")
        return found

    # ---- disks that take no write ----

    def block(self, name: str, actor: str) -> None:
        self._blocked(name, actor).touch()

    def unblock(self, name: str, actor: str) -> None:
        self._blocked(name, actor).unlink(missing_ok=True)

    def _blocked(self, name: str, actor: str) -> Path:
        return self.nodes[name].folder / "regtest" / "run" / f"{actor}.blocked"


class Killer:
    """Every so many seconds some actor of some node is killed, until it is told to stop."""

    def __init__(self, run: Network, seconds: float, seed: int) -> None:
        self.run, self.seconds = run, seconds
        self.random = random.Random(seed)
        self.kills = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._over.wait(self.seconds):
            node = self._somebody()
            with contextlib.suppress(AssertionError, NotRunning, OSError):
                node.kill_actor(self.random.choice(NODE.names))
                self.kills += 1

    def _somebody(self) -> NodeProcess:
        return self.run.nodes[self.random.choice(self.run.names)]


def storm(
    run: Network,
    routes: list[tuple[str, str]],
    count: int,
    amount_msat: int,
    width: int = 10,
    label: str = "storm",
) -> float:
    """`count` payments, `width` at once, tried again until each is paid; -> seconds."""
    waiting = [(number, routes[number % len(routes)]) for number in range(count)]
    guard, failed = threading.Lock(), []

    def work() -> None:
        while True:
            with guard:
                if not waiting:
                    return
                number, (payer, payee) = waiting.pop()
            try:
                run.pays(payer, payee, amount_msat, f"{label} {number}")
            except Exception as error:
                failed.append(f"{number}: {error}")

    began = time.monotonic()
    threads = [threading.Thread(target=work, daemon=True) for _ in range(width)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed[:3]
    return time.monotonic() - began
