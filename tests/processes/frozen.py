"""A folder of three nodes as this stored format leaves it: `python -m tests.processes.frozen NAME`.

Announced channels that have been paid over both ways, coins, an invoice that waits, a payment over
bob that carol holds, and another opening whose transaction is in no block. Made once for each
stored format, and never again: a later release must open it (`test_frozen.py`).
"""

from __future__ import annotations

import contextlib
import re
import sys
import tarfile
import tempfile
import threading
from pathlib import Path

from daruma.client import Client, NotRunning, RpcError
from tests.processes.network import Network
from tests.processes.scenario import prepare

FOLDER = Path(__file__).parent.parent / "frozen"
OPENING_SAT = 500_000
WAITING, HELD, HELD_MSAT = "waits", "held", 3_000_000
A_CENTURY = 100 * 365 * 86_400  # in seconds: whoever opens it years later finds it as it was
# made again at each start, or of no meaning elsewhere
_LEFT_OUT = re.compile(r"(.*\.sock|log|lock|LOG.*|LOCK|OPTIONS-.*|lightning-rpc|door|run)")


class Three(Network):
    """bob is between the two others."""

    names = ("alice", "bob", "carol")


def _wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if _LEFT_OUT.fullmatch(Path(entry.name).name):
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def _tell(run: Three) -> None:
    alice, bob, carol = (run.nodes[name].client for name in run.names)
    run.link(("alice", "bob"), ("bob", "carol"), announce=True)
    run.pays("alice", "bob", 50_000_000, "to bob")
    run.pays("bob", "alice", 20_000_000, "to alice")
    asked = {"description": "waits", "expiry": A_CENTURY}
    bob.call("invoice", asked | {"amount_msat": 1_000, "label": WAITING})
    held = carol.call("holdinvoice", asked | {"amount_msat": HELD_MSAT, "label": HELD})
    payment = {"payment_hash": held["payment_hash"]}
    threading.Thread(target=_pay, args=(alice, held["bolt11"]), daemon=True).start()
    run.until(lambda: carol.call("holdinvoicelookup", payment)["state"] == "accepted", "held")
    asked = {"id": run.bob.id, "amount": OPENING_SAT, "announce": False}
    alice.call("fundchannel", asked, timeout=20)


def _pay(client: Client, bolt11: str) -> None:
    """Its answer would come years later."""
    with contextlib.suppress(NotRunning, RpcError, OSError):
        client.call("pay", {"bolt11": bolt11})


def make(target: Path) -> None:
    """Raises `FileExistsError`: one that is there is not made again."""
    with tempfile.TemporaryDirectory(dir="/tmp") as place, tarfile.open(target, "x:xz") as archive:
        folder = Path(place) / "d"
        run = Three(folder, prepare(folder, Three.names, rich=("bob",)))
        try:
            run.start()
            _tell(run)
            for node in run.nodes.values():
                run.away.add(node.name)
                node.stop()
            run.chain.stop()
            archive.add(run.folder, arcname=".", filter=_wanted)
        finally:
            run.stop()


if __name__ == "__main__":
    make(FOLDER / sys.argv[1])
