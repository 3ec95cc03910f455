"""Whole nodes as child processes: for the demonstration, the tests and the benchmarks."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from actors.engine import processes
from actors.engine.hardened import die_with_parent
from actors.ports.rpc import Bitcoind, RpcError, Unreachable
from daruma.client import Client, NotRunning
from daruma.client import RpcError as Refused

PATIENCE_SECONDS = 60.0
NOBODY = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
_given: set[int] = set()


def free_port() -> int:
    """A loopback port that was free a moment ago; never the same one twice."""
    while True:
        # below the range from which the system takes the ports of outgoing connections
        port = random.SystemRandom().randrange(10_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Ask until it holds; a node that is just restarting counts as "not yet"."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(NotRunning, Refused, OSError, ValueError, RpcError, Unreachable):
            found = condition()
            if found:
                return found
        time.sleep(0.025)
    raise TimeoutError(f"it never came true: {what}")


def spawn(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """A child process whose standard output we read. Tests put their own in its place."""
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, env=environment, preexec_fn=die_with_parent
    )


def ended(process: subprocess.Popen[bytes], seconds: float = 20) -> int:
    """SIGTERM, and SIGKILL for what does not hear; -> exit status."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return process.returncode


class ChainNode:
    """`daruma chain` as a child process."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.user, self.password = "demo", "demo"
        command = [sys.executable, "-m", "daruma", "chain", "--datadir", str(folder)]
        command += ["--rpcport", str(self.port), "--rpcuser", "demo", "--rpcpassword", "demo"]
        self.process: subprocess.Popen[bytes] | None = spawn(command, dict(os.environ))
        self.rpc = Bitcoind(
            {"host": "127.0.0.1", "port": self.port, "user": "demo", "password": "demo"}
        )
        until(lambda: self.rpc("getblockcount") >= 0, "the chain answers")

    @property
    def options(self) -> list[str]:
        """For `daruma start`."""
        return [
            "--bitcoin-rpcconnect=127.0.0.1",
            f"--bitcoin-rpcport={self.port}",
            f"--bitcoin-rpcuser={self.user}",
            f"--bitcoin-rpcpassword={self.password}",
        ]

    def mine(self, count: int, address: str = NOBODY) -> None:
        self.rpc("generatetoaddress", count, address)

    def height(self) -> int:
        return int(self.rpc("getblockcount"))

    def stop(self) -> None:
        """Ends it, if it is ours."""
        if self.process is not None:
            ended(self.process)


class ForeignChain(ChainNode):
    """A bitcoind that somebody else started."""

    def __init__(self, port: int, user: str, password: str) -> None:
        self.port, self.user, self.password = port, user, password
        self.process = None
        self.rpc = Bitcoind({"host": "127.0.0.1", "port": port, "user": user, "password": password})


class NodeProcess:
    """`daruma start` in a folder of its own."""

    def __init__(
        self,
        folder: Path,
        name: str,
        chain: Any,
        environment: dict[str, str] | None = None,
        *,
        wait: bool = True,
    ) -> None:
        self.folder, self.name, self.chain = folder, name, chain
        self.port = free_port()
        self.client = Client(str(folder / "regtest" / "lightning-rpc"), 30)
        self.process: subprocess.Popen[bytes] | None = None
        self.start(wait=wait, environment=environment)

    def start(self, *, wait: bool = True, environment: dict[str, str] | None = None) -> None:
        """`wait`: until it answers; `environment`: on top of this process's own."""
        command = [sys.executable, "-m", "daruma", "start", "--lightning-dir", str(self.folder)]
        command += ["--addr", f"127.0.0.1:{self.port}", "--alias", self.name, *self.chain.options]
        self.process = spawn(command, {**os.environ, **(environment or {})})
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Until it says so. Raises `RuntimeError` when it ends instead."""
        assert self.process is not None and self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith(b"ready"):
            raise RuntimeError(f"{self.name} did not start; exit status {self.process.wait(10)}")
        self.id: str = until(lambda: self.client.getinfo()["id"], f"{self.name} answers")

    def kill(self) -> None:
        """SIGKILL of the first process: all others die with it."""
        assert self.process is not None
        pids = [row["pid"] for row in self.tree()] if self.process.poll() is None else []
        self.process.kill()
        self.process.wait()
        until(lambda: not any(alive(pid) for pid in pids), "every process is gone", 10)

    def stop(self) -> int:
        """Asks it to end and waits; -> exit status."""
        assert self.process is not None
        return ended(self.process)

    def tree(self) -> list[dict[str, Any]]:
        """The rows of `tree`."""
        with contextlib.suppress(NotRunning, OSError, ValueError):
            rows: list[dict[str, Any]] = self.client.tree()["actors"]
            return rows
        return []

    def pid(self, name: str) -> int | None:
        """Of one actor."""
        return next((row["pid"] for row in self.tree() if row["name"] == name), None)

    def kill_actor(self, name: str) -> float:
        """SIGKILL by pid of an actor, or of all with that role; -> seconds until their next
        incarnations are in the tree and answer."""
        old = {row["name"]: row["pid"] for row in self.tree() if name in (row["name"], row["role"])}
        assert old, f"{name} is not running"
        began = time.monotonic()
        for pid in old.values():
            os.kill(pid, signal.SIGKILL)
        until(
            lambda: all(self.pid(one) not in (None, pid) for one, pid in old.items()),
            f"{name} came back",
        )
        return time.monotonic() - began

    # ---- sentences ----

    def connect(self, other: NodeProcess) -> None:
        """To another one of ours."""
        until(
            lambda: self.client.connect(f"{other.id}@127.0.0.1:{other.port}"),
            f"{self.name} connects to {other.name}",
        )

    def channels(self) -> list[dict[str, Any]]:
        """Those that are more than a negotiation."""
        rows: list[dict[str, Any]] = self.client.listpeerchannels()["channels"]
        return [row for row in rows if row["state"] != "OPENINGD"]

    def usable(self) -> bool:
        """Whether a payment may begin."""
        return any(
            row["state"] == "CHANNELD_NORMAL" and row["reestablished"] for row in self.channels()
        )

    def pay(self, other: NodeProcess, amount_msat: int, label: str) -> dict[str, Any]:
        """An invoice of `other`, paid; said again after an interruption, it is the same payment."""
        until(lambda: other.invoice(amount_msat, label), f"an invoice of {other.name}")
        bolt11 = other.invoice(amount_msat, label)["bolt11"]
        paid: dict[str, Any] = until(
            lambda: self.client.call("pay", {"bolt11": bolt11}), f"{self.name} pays {label}"
        )
        return paid

    def invoice(self, amount_msat: int, label: str) -> dict[str, Any]:
        """The invoice of this label, made unless it is there."""
        found = self.client.listinvoices(label=label)["invoices"]
        if found:
            known: dict[str, Any] = found[0]
            return known
        made: dict[str, Any] = self.client.invoice(
            amount_msat=amount_msat, label=label, description=label
        )
        return made

    def coins_sat(self) -> int:
        """The wallet's coins together."""
        rows = self.client.listfunds()["outputs"]
        return sum(int(row["amount_msat"]) for row in rows) // 1000

    def height(self) -> int:
        return int(self.client.getinfo()["blockheight"])


def alive(pid: int) -> bool:
    """Whether this process is there."""
    found = processes.stat(pid)
    return found is not None and found.state != "Z"
