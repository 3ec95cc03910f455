"""A folder of two nodes as this stored format leaves it: `python -m tests.processes.frozen`.

A channel that is open and has been paid over both ways, coins, an invoice that waits, and a second
opening whose transaction is in no block. Made once for each stored format, and never again: a later
release must open it (`test_frozen.py`).
"""

from __future__ import annotations

import re
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.processes.scenario import CAPACITY_SAT, Run, prepare

FOLDER = Path(__file__).parent.parent / "frozen"
SECOND_SAT, WAITING = CAPACITY_SAT // 2, "waits"
# made again at each start, or of no meaning elsewhere
_LEFT_OUT = re.compile(r"(.*\.sock|log|lock|LOG.*|LOCK|OPTIONS-.*|lightning-rpc|door|run)")


def _wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if _LEFT_OUT.fullmatch(Path(entry.name).name):
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def make(target: Path) -> None:
    """Raises `FileExistsError`: one that is there is not made again."""
    with tempfile.TemporaryDirectory(dir="/tmp") as place, tarfile.open(target, "x:xz") as archive:
        run = Run(Path(place) / "d", prepare(Path(place) / "d"))
        try:
            run.start()
            run.open()
            run.pay(run.alice, run.bob, 50_000_000, "to bob")
            run.pay(run.bob, run.alice, 20_000_000, "to alice")
            run.bob.invoice(1_000, WAITING)
            asked = {"id": run.bob.id, "amount": SECOND_SAT, "announce": False}
            run.alice.client.call("fundchannel", asked, timeout=20)
            for node in run.nodes.values():
                run.away.add(node.name)
                node.stop()
            run.chain.stop()
            archive.add(run.folder, arcname=".", filter=_wanted)
        finally:
            run.stop()


if __name__ == "__main__":
    make(FOLDER / sys.argv[1])
