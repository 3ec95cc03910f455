"""The log of a real node tells its story: start, opening, payment, deaths, close, end."""

from __future__ import annotations

import os
import re
import signal

from actors.engine.lives import leave_words, shared_page
from actors.engine.witness import SIZE, page_of
from daruma.playground import until
from tests.processes.scenario import Run

LINE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) ([a-z0-9-]+) (.*)")


def test_a_node_tells_its_story(run: Run) -> None:
    run.start()
    alice, bob = run.alice, run.bob
    alice.connect(bob)
    opened = alice.client.call("fundchannel", {"id": bob.id, "amount": 500_000, "announce": False})
    assert opened["txid"] in run.chain.rpc("getrawmempool"), "it is there when we hear of it"
    run.chain.mine(1)
    until(lambda: alice.usable() and bob.usable(), "usable")
    paid = alice.pay(bob, 20_000_000, "a label")
    alice.kill_actor("payments")
    supervisor = alice.pid("supervisor") or 0
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: alice.pid("supervisor") not in (None, supervisor) and alice.usable(), "again")
    closed = alice.client.call("close", {"id": opened["channel_id"]})
    until(lambda: closed["txid"] in run.chain.rpc("getrawmempool"), "the closing transaction")
    run.chain.mine(1)
    until(lambda: all(row["state"] == "ONCHAIN" for row in alice.channels()), "it is closed")
    alice.stop()

    text = (alice.folder / "regtest" / "log").read_text()
    lines = [LINE.fullmatch(line) for line in text.splitlines()]
    assert all(lines), [line for line in text.splitlines() if not LINE.fullmatch(line)]
    told = [f"{found[2]} {found[3]}" for found in lines if found]
    cid = opened["channel_id"]
    story = [
        r"node daruma 0\.1\.0 starts: network=regtest .*alias='alice'.*Python 3\.",
        r"node all actors are up after \d+ ms",
        rf"peers peer={bob.id} connected, outbound",
        rf"funding opening=1 peer={bob.id}: a channel of 500000 sat is asked for",
        rf"funding opening=1 channel={cid} peer={bob.id} {opened['txid']}:{opened['outnum']} .*our",
        rf"funding opening=1 channel={cid} .* confirmed at height \d+",
        rf"funding opening=1 channel={cid} .* usable",
        rf"payments payment_sent payment_hash='{paid['payment_hash']}' amount_msat=20000000",
        r"supervisor payments \(pid \d+\) died: without a word: a kill",
        r"supervisor payments is back after \d+ ms \(generation 3, restart 1, pid \d+\)",
        rf"node supervisor \(pid {supervisor}\).* died: all actors are started anew",
        rf"monitors-\d channel={cid} is to be closed together: the operator asks for it",
        rf"monitors-\d channel={cid} .*ended: mutual, by {closed['txid']} at height \d+",
        r"node ends",
    ]
    assert len([text for text in told if " died: " in text]) == 2, "payments, the supervisor"
    # the first process hears of it beside the rest: its line may come a little later than theirs
    anew = next(n for n, text in enumerate(told) if text.endswith("all actors are started anew"))
    assert any(text.startswith("node all actors are up after") for text in told[anew:])
    at = 0
    for wanted in story:
        found = [n for n in range(at, len(told)) if re.match(wanted, told[n])]
        assert found, f"{wanted} is not told behind line {at}:\n" + "\n".join(told)
        at = found[0]
    assert "invoice_paid label='a label'" in (bob.folder / "regtest" / "log").read_text()


def test_an_actor_that_ends_itself_says_why(run: Run) -> None:
    """Its last words are the cause that the operator reads, with how long it was away."""
    run.start()
    alice = run.alice
    generation = next(row["generation"] for row in alice.tree() if row["name"] == "gossiper")
    run_folder = alice.folder / "regtest" / "run"
    leave_words(shared_page(page_of(str(run_folder), "gossiper"), SIZE), "ValueError: stumbled")
    alice.kill_actor("gossiper")

    text = (alice.folder / "regtest" / "log").read_text()
    assert re.search(r"supervisor gossiper \(pid \d+\) died: ValueError: stumbled\n", text)
    assert f"generation {generation + 1}, restart 1" in text
