"""The mission, rows 1 to 11, in real processes: what a stranger sees is what counts in the end.

alice opens a public channel to bob; carol, who knows neither, is connected to bob afterwards.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rocksdict import Options, Rdict

from actors.testkit.hooks import crashing
from daruma.playground import NodeProcess, until
from protocol.wire.commitment import ChannelReestablish
from protocol.wire.opening import ChannelReady
from tests.kit.accepter import Accepter
from tests.processes.openings import Opening, restless
from tests.processes.scenario import CAPACITY_SAT


@pytest.fixture
def run(prepared: tuple[Path, int]) -> Iterator[Opening]:
    history = Opening(*prepared)
    try:
        yield history
    finally:
        history.stop()


def _stranger_sees_it(run: Opening) -> None:
    """Four valid signatures, both policies, and a route that leads over it."""
    carol = NodeProcess(run.folder / "carol", "carol", run.chain)
    run.nodes["carol"] = carol
    run.until(lambda: carol.height() == run.chain.height(), "carol knows the chain")
    carol.connect(run.bob)
    run.until(lambda: run.announced(carol), "carol knows all of it")
    assert run.proof(carol) == run.proof(run.alice)
    run.note_pids()


def _broadcast(run: Opening, **environment: dict[str, str]) -> str:
    """alice has broadcast the funding transaction; -> txid."""
    run.start(environment or None)
    run.until(run._opened, "the channel was opened")
    return str(run.until(lambda: run.chain.rpc("getrawmempool"), "it is broadcast")[0])


@pytest.mark.parametrize("away", [("alice",), ("bob",), ("alice", "bob")], ids="-".join)
def test_row_1_nobody_needs_to_stay_after_the_broadcast(
    run: Opening, away: tuple[str, ...]
) -> None:
    _broadcast(run)
    run.leave(*away)
    run.chain.mine(6)
    run.come_back(*away)

    run.until(lambda: run.alice.usable() and run.bob.usable(), "the channel is normal")
    run.until(run._mined_and_announced, "announced")
    run.check()
    _stranger_sees_it(run)


@pytest.mark.parametrize(
    "point",
    [
        ("alice", "funding", 1, "before"), ("alice", "funding", 1, "after"),
        ("alice", "wallet", 1, "after"), ("alice", "wallet", 2, "before"),
        ("alice", "funding", 2, "before"), ("bob", "funding", 1, "before"),
        ("bob", "wallet", 1, "after"),
    ],
    ids=lambda point: "-".join(map(str, point)),
)  # fmt: skip
def test_row_2_an_interrupted_negotiation_leaves_nothing_harmful(
    run: Opening, point: tuple[str, str, int, str]
) -> None:
    """No transaction, coins free again, and a second opening works."""
    name, actor, number, when = point
    run.start({name: crashing(f"{actor}:{number}:{when}:node")})
    with contextlib.suppress(Exception):
        run.alice.client.connect(f"{run.bob.id}@127.0.0.1:{run.bob.port}")
        run.alice.client.call("fundchannel", run.wish(), timeout=10)
    run.until(lambda: run.restarts > 0, "it was killed, and started again")
    assert not run.chain.rpc("getrawmempool")
    run.until(lambda: run.alice.coins_sat() == run.coins, "the coins are there")
    run.until(
        lambda: not any(row["reserved"] for row in run.alice.client.listfunds()["outputs"]),
        "and none is reserved",
    )

    run.tell()
    run.check()


@pytest.mark.parametrize("name", ["alice", "bob"])
@pytest.mark.parametrize(("number", "when"), [(2, "after"), (3, "before")])
def test_row_3_every_transition_after_the_broadcast_resumes(
    run: Opening, name: str, number: int, when: str
) -> None:
    """A part: `python -m tests.processes.matrix opening` is all of it."""
    run.start({name: crashing(f"funding:{number}:{when}:node")})
    run.tell()
    run.check()
    assert run.restarts == 1


@pytest.mark.timeout(400)
def test_row_4_a_laptop_that_is_opened_and_closed_all_the_time(
    prepared: tuple[Path, int],
) -> None:
    """A part: `python -m tests.processes.openings` is fifty seeds."""
    stops, failed = restless(str(prepared[0]), prepared[1], seed=1000, stops=20)

    assert failed == ""
    assert stops == 20


@pytest.mark.parametrize("name", ["alice", "bob"])
def test_row_5_a_connection_that_breaks_at_every_step_is_made_up_for(
    run: Opening, name: str
) -> None:
    """The actor that holds all connections is killed again and again."""
    _broadcast(run)
    for _ in range(6):
        run.nodes[name].kill_actor("peers")
        run.chain.mine(1)
    run.until(run._mined_and_announced, "announced")
    run.check()


def _status(node: NodeProcess) -> str:
    rows = node.channels()
    return str(rows[0]["status"][0]) if rows else ""


@pytest.mark.parametrize("name", ["alice", "bob"])
def test_row_6_the_state_of_an_opening_is_on_disk_and_seen(run: Opening, name: str) -> None:
    """Funding alone is killed in each state: it goes on, and there is never a second channel."""
    _broadcast(run)
    node = run.nodes[name]
    for blocks, status in (
        (0, "waiting for 1 confirmations"), (1, "ready for use; waiting for the depth"),
        (5, "ready for use"),
    ):  # fmt: skip
        if blocks:
            run.chain.mine(blocks)
        run.until(lambda s=status: _status(node).startswith(s), f"{name} is {status}")
        before = {row["name"]: row["pid"] for row in node.tree() if row["name"] != "funding"}
        node.kill_actor("funding")
        run.until(lambda s=status: _status(node).startswith(s), "and still is")
        now = {row["name"]: row["pid"] for row in node.tree() if row["name"] != "funding"}
        assert before == now
    run.until(run._mined_and_announced, "announced")
    run.check()


@pytest.mark.parametrize("victim", ["node", "funding", "monitors", "peers"])
def test_row_7_channel_ready_is_said_again_with_the_same_point(run: Opening, victim: str) -> None:
    """Until the first commitment after it; then never again."""
    run.start()
    peer = Accepter(run.alice)
    run.until(lambda: run.alice.client.listpeers(peer.id)["peers"], "connected")
    answer: list[Any] = []
    asked = {"id": peer.id, "amount": CAPACITY_SAT, "announce": False}
    asking = threading.Thread(
        target=lambda: answer.append(run.alice.client.call("fundchannel", asked))
    )
    asking.start()
    peer.accept()
    asking.join(20)
    run.until(lambda: run.chain.rpc("getrawmempool"), "it is broadcast")
    run.chain.mine(1)
    peer.hear(ChannelReady)
    for _ in range(2):
        if victim == "node":
            run.leave("alice")
            run.come_back("alice")
        else:
            run.alice.kill_actor(victim)
            peer.line.close()
        run.until(lambda: run.alice.pid("peers"), "alice is there")
        run.until(lambda: peer.connect() is None, "connected again")
        peer.hear(ChannelReestablish)
        peer.reestablish()
        peer.hear(ChannelReady)

    assert len(peer.ready) >= 3
    assert len(set(peer.ready)) == 1


@pytest.mark.parametrize("name", ["alice", "bob"])
@pytest.mark.parametrize("actor", ["gossiper", "monitors"])
def test_row_8_announced_or_not_is_on_record_at_each_step_after_six_blocks(
    run: Opening, name: str, actor: str
) -> None:
    _broadcast(run)
    run.chain.mine(5)
    run.until(lambda: run.alice.usable() and run.bob.usable(), "usable")
    assert "waiting for the depth" in run.until(lambda: _status(run.nodes[name]), "a status")
    run.chain.mine(1)
    for _ in range(3):
        run.nodes[name].kill_actor(actor)
    run.until(run._mined_and_announced, "announced")
    run.until(lambda: _status(run.nodes[name]) == "ready for use", "and it says so")
    _stranger_sees_it(run)


def _opened(folder: Path) -> list[Rdict]:
    with contextlib.suppress(Exception):
        return [Rdict(str(folder), Options(raw_mode=True))]
    return []


def _edit(node: NodeProcess, actor: str, wanted: str) -> int:
    """Delete rows of a store that nobody has open; -> how many."""
    folder = node.folder / "regtest" / "stores" / actor
    # a killed process may be gone to the eye while one of its threads still holds the lock
    (rows,) = until(lambda: _opened(folder), "the store is free")
    found = [key for key in rows.keys() if bytes(key).startswith(b"r/" + wanted.encode())]  # noqa: SIM118
    for key in found:
        rows.delete(key)
    rows.close()
    return len(found)


@pytest.mark.parametrize(
    "lost", ["edge/", "said/{scid}", "update/{scid}/0", "update/{scid}/1", "node/", "own/", "*"]
)
def test_row_9_the_graph_is_compared_with_the_facts_at_every_start(run: Opening, lost: str) -> None:
    """Edge, proof, one policy, the nodes, our own records, or the whole snapshot is gone."""
    run.start()
    run.tell()
    alice = run.alice
    block, index, vout = (
        int(part) for part in run.policies(alice)[0]["short_channel_id"].split("x")
    )
    scid = (block << 40 | index << 16 | vout).to_bytes(8, "big").hex()
    before = run.proof(alice)
    run.leave("alice")
    if lost == "*":
        shutil.rmtree(alice.folder / "regtest" / "stores" / "gossiper")
    else:
        assert _edit(alice, "gossiper", lost.format(scid=scid)) > 0
    run.come_back("alice")

    run.until(lambda: run.announced(alice), "alice knows all of it again")
    assert before == run.proof(alice)
    _stranger_sees_it(run)


@pytest.mark.parametrize("first", ["alice", "bob"])
@pytest.mark.parametrize("victim", ["gossiper", "node"])
def test_row_10_a_half_that_comes_first_is_kept(run: Opening, first: str, victim: str) -> None:
    """The other end does not know the depth yet: its chain actor is stopped meanwhile."""
    _broadcast(run)
    late = run.bob if first == "alice" else run.alice
    run.chain.mine(5)
    run.until(lambda: run.alice.usable() and run.bob.usable(), "usable")
    chain = late.pid("chain")
    assert chain is not None
    os.kill(chain, signal.SIGSTOP)
    try:
        run.chain.mine(1)
        early = run.nodes[first]
        run.until(lambda: "announcement_signatures" in _status(early), "the first half was said", 5)
        if victim != "node":
            late.kill_actor(victim)
    finally:
        os.kill(chain, signal.SIGCONT)
    if victim == "node":
        run.leave(late.name)
        run.come_back(late.name)

    run.until(run._mined_and_announced, "announced")
    _stranger_sees_it(run)


@pytest.mark.parametrize("name", ["alice", "bob"])
def test_row_11_the_peers_half_is_handled_after_a_restart(run: Opening, name: str) -> None:
    """It is away when the other one says its half, and hears it when it is back."""
    _broadcast(run)
    run.chain.mine(5)
    run.until(lambda: run.alice.usable() and run.bob.usable(), "usable")
    other = run.bob if name == "alice" else run.alice
    run.leave(name)
    run.chain.mine(1)
    run.until(lambda: other.height() == run.chain.height(), "the other one has seen the block")
    run.come_back(name)

    run.until(run._mined_and_announced, "announced")
    _stranger_sees_it(run)


def test_nothing_of_it_was_seen_in_vain(run: Opening) -> None:
    """The undisturbed history, and how the stranger's graph ends with the channel."""
    run.start()
    run.tell()
    _stranger_sees_it(run)
    carol = run.nodes["carol"]

    run.until(lambda: run.alice.client.call("close", {"id": run.cid}, timeout=20), "it is closed")
    run.until(lambda: run.chain.rpc("getrawmempool"), "the closing transaction is there")
    run.chain.mine(1)

    until(lambda: not run.policies(carol), "carol has noticed the spend")
    with pytest.raises(Exception, match="Could not find a route"):
        run.route(carol)
    run.chain.mine(72)
    until(lambda: not carol.client.listchannels()["channels"], "and has forgotten it")
