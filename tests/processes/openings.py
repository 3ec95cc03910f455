"""From the first message of an opening to the announced channel, with real processes.

`python -m tests.processes.openings [--seeds N] [--stops N] [--jobs N]`: random stops and starts of
either node during one opening, twenty for each of fifty seeds.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from daruma.playground import NodeProcess
from protocol.gossip import announce
from protocol.wire import gossip
from tests.kit import nursery
from tests.kit.stranger import Stranger
from tests.processes.scenario import CAPACITY_SAT, Run, prepare

DEPTH = 6


class Opening(Run):
    """alice opens a public channel to bob; it is mined and announced."""

    durable = ("chain", "wallet", "funding", "gossiper", "router", "monitors", "payments")
    mine_at_once = True

    def tell(self) -> None:
        self.cid = self.until(self._opened, "the channel was opened")
        self.note_pids()
        self.until(self._mined_and_announced, "both know all of it")
        self.note_pids()

    def wish(self) -> dict[str, Any]:
        return {"id": self.bob.id, "amount": CAPACITY_SAT, "announce": True}

    def _opened(self) -> str | None:
        rows = [row for row in self.alice.channels() if row["state"] != "ONCHAIN"]
        if rows:
            return str(rows[0]["channel_id"])
        self.alice.client.connect(f"{self.bob.id}@127.0.0.1:{self.bob.port}")
        return str(self.alice.client.call("fundchannel", self.wish(), timeout=20)["channel_id"])

    def _mined_and_announced(self) -> bool:
        if self.mine_at_once and self.chain.rpc("getrawmempool"):
            self.chain.mine(DEPTH)
        return all(self.announced(node) for node in (self.alice, self.bob))

    def announced(self, node: NodeProcess) -> bool:
        """Edge, both policies, both nodes' names, and a route over it."""
        rows = self.policies(node)
        names = [row for row in node.client.listnodes()["nodes"] if "alias" in row]
        if len(rows) != 2 or len(names) != 2:
            return False
        return self.route(node) == [rows[0]["short_channel_id"]]

    def policies(self, node: NodeProcess) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = node.client.listchannels()["channels"]
        return [row for row in rows if row["active"]]

    def route(self, node: NodeProcess) -> list[str]:
        """From alice to bob, as this node sees it."""
        asked = {"fromid": self.alice.id, "id": self.bob.id, "amount_msat": 1000, "riskfactor": 1}
        return [hop["channel"] for hop in node.client.getroute(**asked)["route"]]

    def check(self) -> None:
        """One channel, announced, that carries a payment; and the coins are right."""
        self.until(lambda: self.alice.usable() and self.bob.usable(), "usable")
        self.pay(self.alice, self.bob, 50_000_000, "over it")
        for node in (self.alice, self.bob):
            # what a killed negotiation left at the accepter ends with an error at reestablish
            self.until(lambda n=node: len(n.channels()) == 1, f"{node.name} has one channel", 20)
            self.until(lambda n=node: self.announced(n), f"{node.name} knows all of it", 20)
        expected = self.coins - CAPACITY_SAT - self._fees()
        self.until(lambda: self.alice.coins_sat() == expected, f"alice has {expected} sat", 20)
        outputs = self._asked(self.alice, "listfunds")["outputs"]
        assert not any(row["reserved"] for row in outputs)

    def proof(self, node: NodeProcess) -> bytes:
        """The channel_announcement, as the node gives it to a stranger; checked."""
        stranger = Stranger(node)
        stranger.init(frozenset({0, 7, 8, 11, 12, 14, 44}))
        scid = _scid(self.policies(node)[0]["short_channel_id"])
        chain = bytes.fromhex("06226e46111a0b59caaf126043eb5bbf28c34f3a5e332a1fc7b2b73cf188910f")
        query = gossip.QueryShortChannelIds(
            chain_hash=chain, encoded_short_ids=gossip.encode_ids([scid])
        )
        stranger.say(query)
        raw = stranger.hear_raw()
        while int.from_bytes(raw[:2], "big") != gossip.ChannelAnnouncement.TYPE:
            raw = stranger.hear_raw()
        stranger.close()
        message = gossip.ChannelAnnouncement.decode(raw[2:])
        assert announce.announcement_is_signed(raw, message), "four valid signatures"
        return raw


def _scid(text: str) -> bytes:
    block, index, vout = (int(part) for part in text.split("x"))
    return (block << 40 | index << 16 | vout).to_bytes(8, "big")


# ---- random stops and starts -------------------------------------------------------------------


class Restless(Opening):
    """Mined block by block, slowly, while nodes come and go."""

    mine_at_once = False


def _stop_and_start(run: Opening, dice: random.Random, done: threading.Event, stops: int) -> int:
    """SIGKILL or SIGTERM of a whole node; the keeper starts it again."""
    count = 0
    while count < stops and not done.wait(dice.uniform(0.05, 0.8)):
        node = run.nodes[dice.choice(["alice", "bob"])]
        process = node.process
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, dice.choice([signal.SIGKILL, signal.SIGTERM]))
                count += 1
    return count


def restless(prepared: str, coins: int, seed: int, stops: int) -> tuple[int, str]:
    """One opening with so many stops; -> (stops, what went wrong)."""
    run = Restless(Path(prepared), coins)
    dice, done = random.Random(seed), threading.Event()
    counted = [0]

    def disturb() -> None:
        counted[0] = _stop_and_start(run, dice, done, stops)

    try:
        run.start()
        disturber = threading.Thread(target=disturb, daemon=True)
        disturber.start()
        run.cid = run.until(run._opened, "the channel was opened", 120)
        while disturber.is_alive():
            with contextlib.suppress(Exception):
                if run.chain.rpc("getrawmempool") or run.chain.height() % DEPTH:
                    run.chain.mine(1)
            disturber.join(dice.uniform(0.2, 1.0))
        run.chain.mine(DEPTH)  # what was mined already becomes deep enough
        run.mine_at_once = True
        run.until(run._mined_and_announced, "both know all of it", 120)
        run.check()
        return counted[0], ""
    except Exception as error:
        return counted[0], f"seed {seed}: {type(error).__name__}: {error}\n{run.logs()}"
    finally:
        done.set()
        with contextlib.suppress(Exception):
            run.stop()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--stops", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    began = time.monotonic()
    nursery.begin()
    folder = Path(tempfile.mkdtemp(prefix="openings-"))
    try:
        coins = prepare(folder / "d")
        with ProcessPoolExecutor(options.jobs, initializer=nursery.begin) as pool:
            jobs = [
                pool.submit(restless, str(folder / "d"), coins, seed, options.stops)
                for seed in range(options.seeds)
            ]
            results = []
            for job in as_completed(jobs):
                results.append(job.result())
                if results[-1][1]:
                    print(results[-1][1], file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    bad = sum(bool(text) for _, text in results)
    stops = sum(count for count, _ in results)
    print(f"{len(results)} openings with {stops} stops and starts, {bad} failed")
    print(f"{time.monotonic() - began:.0f} s")
    print(f"{len(results) - bad} passed, {bad} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
