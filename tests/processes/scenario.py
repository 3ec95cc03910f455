"""Open, three payments each way, close: with real processes that may be killed at any time.

Every sentence may be said again. A node whose first process is gone is started again, as an
operator or systemd would.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rocksdict import AccessType, Options, Rdict

from actors.tree import NODE
from daruma.client import NotRunning, RpcError
from daruma.playground import ChainNode, NodeProcess, alive, until
from protocol.bitcoin.transaction import parse_block

CAPACITY_SAT = 1_000_000
TO_BOB_MSAT, TO_ALICE_MSAT, PAYMENTS = 50_000_000, 20_000_000, 3
BOBS_SAT = PAYMENTS * (TO_BOB_MSAT - TO_ALICE_MSAT) // 1000


def prepare(
    folder: Path, names: tuple[str, ...] = ("alice", "bob"), rich: tuple[str, ...] = ()
) -> int:
    """Nodes that know the chain; alice has a coin, as do the `rich`. -> her satoshi."""
    chain = ChainNode(folder / "chain")
    nodes = [NodeProcess(folder / name, name, chain) for name in names]
    alice, *others = nodes
    chain.mine(1, alice.client.newaddr()["bech32"])
    for node in others:
        if node.name in rich:
            chain.mine(1, node.client.newaddr()["bech32"])
    chain.mine(100)
    until(lambda: alice.coins_sat() > 0 and alice.height() == chain.height(), "alice has coins")
    for node in others:
        until(lambda n=node: n.height() == chain.height(), f"{node.name} knows the chain")
    # the wallets read block by block: a funding transaction needs the newest one
    for node in nodes:
        read = f"the wallet of {node.name} has read the chain"
        until(lambda n=node: _wallet_height(n) == chain.height(), read)
    coins = alice.coins_sat()
    for node in nodes:
        node.stop()
    chain.stop()
    return coins


def _wallet_height(node: NodeProcess) -> int:
    """The newest block that the wallet has on disk; looks on while the wallet writes."""
    folder = str(node.folder / "regtest" / "stores" / "wallet")
    rows = Rdict(folder, Options(raw_mode=True), access_type=AccessType.read_only())
    try:
        data = rows.get(b"r/position")
    finally:
        rows.close()
    return -1 if data is None else int(NODE.keeps["wallet"].decode("position", bytes(data)).height)


class Run:
    """One history, from a copy of the prepared folders.

    `again`: for a node's next start after its first one, an environment of its own. `away`: nodes
    that are not started again by themselves.
    """

    names: tuple[str, ...] = ("alice", "bob")
    durable: tuple[str, ...] = ("chain", "wallet", "funding", "monitors", "payments")

    def __init__(self, prepared: Path, coins: int) -> None:
        self.temporary = tempfile.mkdtemp(prefix="run-")
        self.folder = Path(self.temporary) / "d"
        sockets = shutil.ignore_patterns("*.sock", "lightning-rpc")
        shutil.copytree(prepared, self.folder, ignore=sockets)
        self.coins = coins
        self.chain = ChainNode(self.folder / "chain")
        self.nodes: dict[str, NodeProcess] = {}
        self.seen: set[int] = set()
        self.restarts = 0
        self.again: dict[str, dict[str, str]] = {}
        self.away: set[str] = set()
        self._over = threading.Event()
        self._keeper: threading.Thread | None = None

    def start(self, environment: dict[str, dict[str, str]] | None = None) -> None:
        for name in self.names:
            more = (environment or {}).get(name)
            self.nodes[name] = NodeProcess(self.folder / name, name, self.chain, more, wait=False)
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()
        self.ids: dict[str, str] = {}
        for name, node in self.nodes.items():
            self.ids[name] = self.until(lambda n=node: n.client.getinfo()["id"], f"{name} is up")
            node.id = self.ids[name]
            self.until(lambda n=node: n.pid("supervisor"), f"the tree of {name} is whole")

    # ---- patience ----

    def _keep(self) -> None:
        """What systemd does: a node whose first process has gone is started again."""
        while not self._over.wait(0.02):
            for node in list(self.nodes.values()):
                gone = node.process is not None and node.process.poll() is not None
                if gone and node.name not in self.away:
                    self.restarts += 1
                    node.start(wait=False, environment=self.again.pop(node.name, None))

    def leave(self, *names: str) -> None:
        """These whole nodes are killed, and stay away until they `come_back`."""
        for name in names:
            self.away.add(name)
            self.nodes[name].kill()

    def come_back(self, *names: str) -> None:
        for name in names:
            self.nodes[name].start()
            self.away.discard(name)

    def until(self, condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
        try:
            return until(condition, what, seconds)
        except TimeoutError as late:
            raise TimeoutError(f"{late}\n{self.logs()}") from None

    @property
    def alice(self) -> NodeProcess:
        return self.nodes["alice"]

    @property
    def bob(self) -> NodeProcess:
        return self.nodes["bob"]

    def note_pids(self) -> None:
        """For the check that nobody is left behind."""
        for node in self.nodes.values():
            self.seen |= {row["pid"] for row in node.tree()}

    # ---- the story ----

    def tell(self) -> None:
        self.open()
        self.note_pids()
        for number in range(PAYMENTS):
            self.pay(self.alice, self.bob, TO_BOB_MSAT, f"to bob {number}")
            self.pay(self.bob, self.alice, TO_ALICE_MSAT, f"to alice {number}")
        self.close()
        self.note_pids()

    def open(self) -> None:
        self.cid = self.until(self._opened, "the channel was opened")
        self.until(self._mined_and_usable, "the channel is usable")

    def _opened(self) -> str | None:
        rows = self.alice.channels()
        if rows:
            return str(rows[0]["channel_id"])
        self.alice.client.connect(f"{self.bob.id}@127.0.0.1:{self.bob.port}")
        asked = {"id": self.bob.id, "amount": CAPACITY_SAT, "announce": False}
        return str(self.alice.client.call("fundchannel", asked, timeout=20)["channel_id"])

    def _mined_and_usable(self) -> bool:
        if self.chain.rpc("getrawmempool"):
            self.chain.mine(1)
        return self.alice.usable() and self.bob.usable()

    def pay(self, payer: NodeProcess, payee: NodeProcess, amount_msat: int, label: str) -> None:
        bolt11 = self.until(lambda: payee.invoice(amount_msat, label)["bolt11"], f"invoice {label}")
        self.until(lambda: payer.client.call("pay", {"bolt11": bolt11}, timeout=70), f"pay {label}")

    def close(self) -> None:
        self.until(self._closed, "the channel was closed")
        self.until(lambda: self._states() == ["ONCHAIN"] * 2, "both know it")

    def _closed(self) -> bool:
        if self.chain.rpc("getrawmempool"):
            self.chain.mine(1)
        if self.bob.coins_sat() == BOBS_SAT:
            return True
        with contextlib.suppress(RpcError):  # it may have ended meanwhile
            self.alice.client.call("close", {"id": self.cid}, timeout=20)
        return False

    def _states(self) -> list[str]:
        return [row["state"] for node in (self.alice, self.bob) for row in node.channels()]

    # ---- the end ----

    def check(self) -> None:
        """The same end for every history. Raises AssertionError."""
        self.until(lambda: self.bob.coins_sat() == BOBS_SAT, f"bob has {BOBS_SAT} sat")
        fees = self._fees()
        expected = self.coins - BOBS_SAT - fees
        self.until(lambda: self.alice.coins_sat() == expected, f"alice has {expected} sat", 20)
        for node in (self.alice, self.bob):
            pays = self._asked(node, "listpays")["pays"]
            assert [row["status"] for row in pays] == ["complete"] * PAYMENTS, pays
            invoices = self._asked(node, "listinvoices")["invoices"]
            assert [row["status"] for row in invoices] == ["paid"] * PAYMENTS, invoices
            assert not any(row["reserved"] for row in self._asked(node, "listfunds")["outputs"])

    def _asked(self, node: NodeProcess, method: str) -> Any:
        """The kill may fall into the very end of the story: its last commit is a lazy one."""
        return self.until(lambda: node.client.call(method), f"{method} of {node.name}")

    def _fees(self) -> int:
        """Of all transactions that were mined since the start."""
        fees = 0
        values: dict[tuple[bytes, int], int] = {}
        for height in range(self.chain.height() + 1):
            raw = self.chain.rpc("getblock", self.chain.rpc("getblockhash", height), 0)
            for position, tx in enumerate(parse_block(bytes.fromhex(raw)).transactions):
                for n, out in enumerate(tx.outputs):
                    values[tx.txid, n] = out.amount_sat
                if position:
                    spent = sum(values[tuple(item.outpoint)] for item in tx.inputs)  # type: ignore[index]
                    fees += spent - sum(out.amount_sat for out in tx.outputs)
        return fees

    def stop(self) -> None:
        """Everything ends; nothing may be left behind."""
        with contextlib.suppress(NotRunning, OSError):
            self.note_pids()
        self._over.set()
        if self._keeper is not None:
            self._keeper.join()
        for node in self.nodes.values():
            if node.process is not None and node.process.poll() is None:
                node.process.terminate()  # all at once
        for node in self.nodes.values():
            node.stop()
        self.chain.stop()
        until(lambda: not [pid for pid in self.seen if alive(pid)], "no orphan is left", 10)
        shutil.rmtree(self.temporary, ignore_errors=True)

    def logs(self) -> str:
        """Where each node stands, and the end of its log."""
        texts = []
        for name, node in self.nodes.items():
            with contextlib.suppress(NotRunning, RpcError, OSError, ValueError):
                texts += [f"{name}: {row['state']} {row['status']}" for row in node.channels()]
            path = node.folder / "regtest" / "log"
            if path.exists():
                texts.append(f"{name}: {path.read_text()[-4000:]}")
        return "\n".join(texts)
