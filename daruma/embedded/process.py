"""The embedded chain as a process: `daruma chain`, alone or as the child of a node."""

from __future__ import annotations

import contextlib
import fcntl
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from actors.engine.hardened import die_with_parent

START_SECONDS = 30.0


class ChainProcess:
    """Started before the actor system; dies with the node; started again when it dies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.rpc: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": None,
            "password": None,
            "cookie": str(folder / "regtest" / ".cookie"),
        }
        self._start()

    def _start(self) -> None:
        command = [sys.executable, "-m", "daruma", "chain"]
        command += ["--datadir", str(self.folder), "--rpcport", str(self.port)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, preexec_fn=die_with_parent
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith(b"ready"):
            raise RuntimeError("the embedded chain did not start")
        self._process.stdout.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def keep(self) -> None:
        """It is started again if it died."""
        if self._process.poll() is not None:
            self._start()

    def stop(self) -> None:
        """Asked first, killed after five seconds."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def run(datadir: str, port: int | None, user: str | None, password: str | None) -> int:
    """`daruma chain`, in the foreground until SIGTERM."""
    try:
        from daruma.embedded.chain import EmbeddedChain
        from daruma.embedded.server import cookie, serve
    except ImportError:
        print(
            "daruma: the embedded chain needs py-bitcoinkernel, which has no wheel here: "
            "use a bitcoind (--bitcoin-rpcconnect and the other bitcoin options)",
            file=sys.stderr,
        )
        return 1
    folder = Path(datadir).expanduser() / "regtest"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = open(folder / "lock", "w")  # noqa: SIM115  held as long as we live
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"daruma: another chain runs in {folder}: stop it first", file=sys.stderr)
        return 1
    except OSError as error:
        text = f"the folder {folder} cannot be used ({error.strerror})"
        print(f"daruma: {text}: choose another with --datadir", file=sys.stderr)
        return 1
    chain = EmbeddedChain(str(folder))
    credentials = f"{user}:{password}" if user else cookie(str(folder))
    try:
        server = serve(chain, port or 18443, credentials)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or "a port is from 1 to 65535"
        print(f"daruma: port {port or 18443} cannot be used ({why})", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: _end())
    signal.signal(signal.SIGINT, lambda *_: _end())
    print(f"ready 127.0.0.1:{server.server_port}", flush=True)
    with contextlib.suppress(_Ended):
        server.serve_forever(poll_interval=0.2)
    return 0


class _Ended(Exception):
    pass


def _end() -> None:
    raise _Ended
