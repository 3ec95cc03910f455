"""Public channels with LDK: announced whoever dies at whatever step, and learnt by strangers."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.testkit.hooks import crashing
from daruma.playground import NodeProcess, until
from tests.interop.foreign import Ldk, RegtestBitcoind
from tests.interop.pair import CAPACITY_SAT, Pair

# DARUMA_CRASH of the whole node; the last ones are of the steps after the broadcast
STAGES = [
    "funding:1:before", "funding:1:after", "funding:2:before", "funding:2:after",
    "wallet:1:after", "monitors:1:before", "monitors:1:after", "funding:3:before",
    "funding:3:after", "monitors:2:after", "monitors:3:after", "monitors:4:after",
    "funding:4:after", "gossiper:2:before", "gossiper:2:after", "gossiper:3:after",
]  # fmt: skip


@contextlib.contextmanager
def _kept(pair: Pair) -> Iterator[list[int]]:
    """A Daruma that dies is started again, as systemd would; -> how often it was."""
    over, starts = threading.Event(), list[int]()

    def keep() -> None:
        while not over.wait(0.02):
            process = pair.daruma.process
            if process is not None and process.poll() is not None:
                starts.append(process.pid)
                pair.daruma.start(wait=False)

    keeper = threading.Thread(target=keep, daemon=True)
    keeper.start()
    try:
        yield starts
    finally:
        over.set()
        keeper.join()


def _open(pair: Pair, *, by_daruma: bool) -> bool:
    """Asked again when an interruption ended the negotiation; true when it is broadcast."""
    if pair.chain.rpc("getrawmempool"):
        return True
    address = f"{pair.ldk.id}@127.0.0.1:{pair.ldk.port}"
    pair.daruma.client.connect(address)
    if by_daruma:
        asked = {"id": pair.ldk.id, "amount": CAPACITY_SAT, "announce": True}
        pair.daruma.client.call("fundchannel", asked, timeout=10)
    elif not pair.ldk.channels():
        pair.ldk.call("open", id=pair.daruma.id, sat=CAPACITY_SAT, push_msat=0, public=True)
    until(lambda: pair.chain.rpc("getrawmempool"), "it is broadcast", 5)
    return True


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("by_daruma", [False, True], ids=["ldk-opens", "daruma-opens"])
def test_it_is_announced_wherever_daruma_is_killed(
    pair: Pair, *, by_daruma: bool, stage: str
) -> None:
    pair.may_be_killed = True
    pair.fund_daruma()
    pair.daruma.kill()
    pair.daruma.start(environment=crashing(f"{stage}:node"))
    with _kept(pair):
        _until_broadcast(pair, by_daruma=by_daruma)
        for _ in range(6):
            pair.chain.mine(1)
            pair.ldk.call("follow")
        until(lambda: _knows(pair), "Daruma knows edge and policies", 90)

        until(lambda: _all_policies(pair.ldk), "LDK has both policies")
        pair.usable()
        if by_daruma:
            pair.pay_ldk(500_000)
        else:
            pair.pay_daruma(500_000)


def _until_broadcast(pair: Pair, *, by_daruma: bool) -> None:
    def opened() -> bool:
        with contextlib.suppress(TimeoutError):
            return _open(pair, by_daruma=by_daruma)
        return False

    until(opened, "the channel is broadcast", 90)


def _knows(pair: Pair) -> bool:
    return len(pair.daruma.client.listchannels()["channels"]) == 2


def test_daruma_learns_of_a_channel_between_two_others(peers: Path, folder: Path) -> None:
    """Two LDK nodes open a public channel; Daruma hears of it from one, and routes over it."""
    chain = RegtestBitcoind(peers, folder / "bitcoind")
    one, two = (Ldk(peers, folder / name, chain) for name in ("one", "two"))
    daruma = NodeProcess(folder / "daruma", "daruma", chain)
    try:
        one.call("connect", id=two.id, port=two.port)
        until(lambda: two.id in one.call("peers"), "they are connected")
        one.call("open", id=two.id, sat=CAPACITY_SAT, push_msat=0, public=True)
        until(lambda: chain.rpc("getrawmempool"), "the funding transaction is there")
        chain.mine(6)
        for ldk in (one, two):
            ldk.call("follow")
        until(lambda: one.channels()[0]["usable"], "they can use it")
        until(lambda: daruma.height() == chain.height(), "Daruma has read the chain")

        # each says its policy as soon as it can, and the other may not be ready to hear it
        knows = until(lambda: [x for x in (one, two) if _all_policies(x)], "one knows both")[0]
        daruma.client.connect(f"{knows.id}@127.0.0.1:{knows.port}")

        rows = until(lambda: _both(daruma), "Daruma knows both policies")
        assert sorted([one.id, two.id]) == sorted(row["source"] for row in rows)
        asked = {"fromid": one.id, "id": two.id, "amount_msat": 1_000_000, "riskfactor": 10}
        (hop,) = until(lambda: daruma.client.getroute(**asked)["route"], "a route")
        assert (hop["id"], hop["channel"]) == (two.id, rows[0]["short_channel_id"])
    finally:
        daruma.stop()
        for ldk in (one, two):
            ldk.stop()
        chain.stop()


def _all_policies(ldk: Ldk) -> bool:
    rows = ldk.call("gossip")
    return bool(rows) and all(policy["timestamp"] for policy in rows[0]["policies"])


def _both(node: NodeProcess) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = node.client.listchannels()["channels"]
    return rows if len(rows) == 2 else []
