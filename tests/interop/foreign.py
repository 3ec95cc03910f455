"""Foreign programs as child processes: bitcoind on regtest, and LDK in Node."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from actors.engine.hardened import die_with_parent
from daruma.playground import ForeignChain, ended, free_port, until

HERE = Path(__file__).parent
USER = PASSWORD = "interop"


class RegtestBitcoind(ForeignChain):
    """A bitcoind with one wallet that owns mature coins."""

    def __init__(self, peers: Path, folder: Path) -> None:
        super().__init__(free_port(), USER, PASSWORD)
        folder.mkdir()
        self.url = f"http://{USER}:{PASSWORD}@127.0.0.1:{self.port}"
        # Knots' own policy refuses what the network takes, and its addresses are not segwit
        options = ["-regtest", "-corepolicy", "-addresstype=bech32", "-changetype=bech32"]
        options += ["-listen=0", "-fallbackfee=0.0001", "-txindex=1", f"-datadir={folder}"]
        options += [f"-rpcport={self.port}", f"-rpcuser={USER}", f"-rpcpassword={PASSWORD}"]
        self.process = subprocess.Popen(
            [str(peers / "bitcoind" / "bitcoind"), *options],
            stdout=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )
        until(lambda: self.rpc("createwallet", "w"), "bitcoind answers")
        self.mine(110, self.rpc("getnewaddress"))

    def transaction(self, txid: str) -> dict[str, Any]:
        found: dict[str, Any] = self.rpc("getrawtransaction", txid, True)
        return found


class LdkError(Exception):
    """What LDK said instead of doing it."""


class Ldk:
    """One LDK node; its verbs (`ldk/node.mjs`) are called by name."""

    def __init__(self, peers: Path, folder: Path, chain: RegtestBitcoind) -> None:
        self.peers, self.folder, self.chain = peers, folder, chain
        self.port, self.control = free_port(), free_port()
        self.start()

    def start(self) -> None:
        command = [
            "node",
            str(HERE / "ldk" / "node.mjs"),
            str(self.peers / "ldk"),
            str(self.folder),
        ]
        command += [str(self.port), str(self.control), self.chain.url]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=die_with_parent)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"LDK did not start; exit status {self.process.wait(10)}")
        self.id: str = json.loads(line)["id"]

    def call(self, verb: str, **named: Any) -> Any:
        """Raises `LdkError`, or `OSError` while it is down."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.control}/{verb}", json.dumps(named).encode()
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            answer = json.load(reply)
        if "error" in answer:
            raise LdkError(answer["error"])
        return answer["result"]

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        ended(self.process)

    # ---- sentences ----

    def channels(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.call("channels")
        return rows

    def told(self, event: str, **facts: Any) -> list[dict[str, Any]]:
        """The events of this name with these facts, since its last start."""
        wanted = {"event": event, **facts}
        return [row for row in self.call("events") if wanted.items() <= row.items()]
