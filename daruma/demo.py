"""`daruma demo`: two nodes open a channel, pay each other, are killed, and stand up again.

Then a public channel, whose opener is killed after the broadcast and the other end before the
announcement: a third node, which knows neither, hears of it and finds a route over it. At the end a
payment in two parts, one relayed, with a monitor killed between the two claims (`demo_parts`).

Everything is real: processes, SIGKILL, blocks validated by Bitcoin Core's library (or by your own
bitcoind on regtest, with the bitcoin options). The end is checked to the satoshi.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from daruma import demo_parts
from daruma.playground import ChainNode, ForeignChain, NodeProcess, until
from daruma.show import Differs, Show
from protocol.bitcoin.transaction import parse

CAPACITY_SAT, DEPTH, ANNOUNCE_DEPTH = 1_000_000, 1, 6
TO_BOB_MSAT, TO_ALICE_MSAT, PAYMENTS = 50_000_000, 20_000_000, 3
WHOLE = "the whole node"
VICTIMS = ("monitors-1", "monitors-2", "peers", "funding", "payments", "api")


def run(words: list[str]) -> int:
    """The command; -> exit status."""
    parser = argparse.ArgumentParser(prog="daruma demo")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rpcport", type=int, help="a bitcoind on regtest instead of our chain")
    parser.add_argument("--rpcuser", default="")
    parser.add_argument("--rpcpassword", default="")
    options = parser.parse_args(words)
    show = Show(quiet=options.json)
    with tempfile.TemporaryDirectory(prefix="daruma-") as temporary:
        folder = Path(temporary)
        chain = (
            ForeignChain(options.rpcport, options.rpcuser, options.rpcpassword)
            if options.rpcport
            else ChainNode(folder / "chain")
        )
        nodes: list[NodeProcess] = []
        try:
            _story(show, folder, chain, nodes)
            failed = ""
        except (Differs, TimeoutError, RuntimeError) as error:
            failed = str(error)
        finally:
            for node in nodes:
                node.stop()
            chain.stop()
    show.facts |= {"seconds": round(time.monotonic() - show.began, 1), "failed": failed or None}
    if options.json:
        print(json.dumps(show.facts, indent=1))
    else:
        _table(show.facts)
    return 1 if failed else 0


def _story(show: Show, folder: Path, chain: Any, nodes: list[NodeProcess]) -> None:
    alice = NodeProcess(folder / "alice", "alice", chain)
    nodes.append(alice)
    bob = NodeProcess(folder / "bob", "bob", chain)
    nodes.append(bob)
    show.facts["processes"] = {node.name: node.tree() for node in nodes}
    for node in nodes:
        show.say(f"{node.name} is up: {len(node.tree())} processes, id {node.id[:16]}...")
    coins = _coins(show, chain, alice)
    cid, funding_fee = _open(show, chain, alice, bob, coins)
    _pay_and_kill(show, alice, bob)
    show.facts["processes"] = {node.name: node.tree() for node in nodes}
    _close(show, chain, alice, bob, coins - CAPACITY_SAT - funding_fee, cid)
    carol = NodeProcess(folder / "carol", "carol", chain)
    nodes.append(carol)
    show.say(f"{carol.name} is up: a stranger, who is told of nothing")
    _announce(show, chain, alice, bob, carol)
    demo_parts.tell(show, chain, alice, bob, carol)


def _coins(show: Show, chain: Any, alice: NodeProcess) -> int:
    chain.mine(1, alice.client.newaddr()["bech32"])
    chain.mine(100)
    until(lambda: alice.height() == chain.height(), "alice has read the chain")
    until(lambda: alice.coins_sat() > 0, "alice has coins")
    show.say(f"alice owns {alice.coins_sat():,} sat on chain")
    return alice.coins_sat()


def _open(
    show: Show, chain: Any, alice: NodeProcess, bob: NodeProcess, coins: int
) -> tuple[str, int]:
    alice.connect(bob)
    asked = {"id": bob.id, "amount": CAPACITY_SAT, "announce": False}
    opened = until(lambda: alice.client.call("fundchannel", asked), "the channel is funded")
    txid = opened["txid"]
    show.say(f"funding transaction {txid[:16]}... output {opened['outnum']} is in the mempool")
    show.check("fundchannel's answer is in the mempool", True, txid in _mempool(chain))
    chain.mine(DEPTH)
    until(lambda: alice.usable() and bob.usable(), "the channel is usable")
    out = chain.rpc("gettxout", txid, opened["outnum"])
    show.say(f"{out['confirmations']} confirmation: the channel of {CAPACITY_SAT:,} sat is usable")
    until(lambda: alice.coins_sat() != coins, "alice's change is known")
    fee = coins - CAPACITY_SAT - alice.coins_sat()
    show.facts["funding"] = {
        "txid": txid, "confirmations": out["confirmations"], "amount_sat": CAPACITY_SAT,
        "fee_sat": fee,
    }  # fmt: skip
    return opened["channel_id"], fee


def _pay_and_kill(show: Show, alice: NodeProcess, bob: NodeProcess) -> None:
    for number in range(PAYMENTS):
        _payment(show, alice, bob, TO_BOB_MSAT, f"to bob {number}")
        _payment(show, bob, alice, TO_ALICE_MSAT, f"to alice {number}")
    show.say(f"{PAYMENTS} payments each way")
    for number, victim in enumerate(VICTIMS):
        node = (alice, bob)[number % 2]
        others = {row["name"]: row["pid"] for row in node.tree() if row["name"] != victim}
        took = node.kill_actor(victim)
        _payment(show, alice, bob, TO_BOB_MSAT, f"after the kill of {victim}")
        now = {row["name"]: row["pid"] for row in node.tree() if row["name"] != victim}
        show.check(f"pids of the others after the kill of {victim}", others, now)
        _killed(show, node.name, victim, took)
    began = time.monotonic()
    bob.kill()
    bob.start()
    until(lambda: alice.usable() and bob.usable(), "bob stands again")
    _killed(show, "bob", WHOLE, time.monotonic() - began)
    _payment(show, bob, alice, TO_ALICE_MSAT, "after the kill of bob")


def _killed(show: Show, node: str, victim: str, took: float) -> None:
    show.facts["kills"].append({"node": node, "actor": victim, "seconds": round(took, 3)})
    whose = f"the whole of {node}" if victim == WHOLE else f"{node}'s {victim}"
    show.say(f"SIGKILL of {whose}: back after {took * 1000:.0f} ms, and paid again")


def _payment(
    show: Show, payer: NodeProcess, payee: NodeProcess, amount_msat: int, label: str
) -> None:
    began = time.monotonic()
    payer.pay(payee, amount_msat, label)
    show.facts["payments"].append(
        {
            "from": payer.name,
            "to": payee.name,
            "amount_msat": amount_msat,
            "label": label,
            "ms": round((time.monotonic() - began) * 1000, 1),
        }
    )


def _close(
    show: Show, chain: Any, alice: NodeProcess, bob: NodeProcess, change_sat: int, cid: str
) -> None:
    paid = (PAYMENTS + len(VICTIMS)) * TO_BOB_MSAT
    back = (PAYMENTS + 1) * TO_ALICE_MSAT
    bobs_sat = (paid - back) // 1000
    until(lambda: not _in_flight(alice) + _in_flight(bob), "nothing is in flight")
    rows = [row for row in bob.channels() if row["channel_id"] == cid]
    show.check("bob's balance in the channel (msat)", bobs_sat * 1000, rows[0]["to_us_msat"])
    closed = until(lambda: alice.client.call("close", {"id": cid}), "the channel is closed")
    show.say(f"closed together by {closed['txid'][:16]}...")
    until(lambda: closed["txid"] in chain.rpc("getrawmempool"), "the closing transaction is there")
    tx = closed["tx"]
    chain.mine(1)
    until(lambda: bob.coins_sat() == bobs_sat, f"bob has {bobs_sat} sat on chain", 20)
    outputs = _outputs(tx)
    fee = CAPACITY_SAT - sum(outputs)
    expected = change_sat + CAPACITY_SAT - bobs_sat - fee
    until(lambda: alice.coins_sat() == expected, f"alice has {expected} sat on chain", 20)
    show.check("bob's coins on chain (sat)", bobs_sat, bob.coins_sat())
    show.check("alice's coins on chain (sat)", expected, alice.coins_sat())
    show.facts["close"] = {"txid": closed["txid"], "fee_sat": fee, "outputs_sat": outputs}
    show.facts["balances_sat"] = {"alice": alice.coins_sat(), "bob": bob.coins_sat()}
    show.say("every satoshi is in its place")


def _announce(
    show: Show, chain: Any, alice: NodeProcess, bob: NodeProcess, carol: NodeProcess
) -> None:
    alice.connect(bob)
    asked = {"id": bob.id, "amount": CAPACITY_SAT, "announce": True}
    opened = until(lambda: alice.client.call("fundchannel", asked), "the channel is funded")
    show.check("fundchannel's answer is there again", True, opened["txid"] in _mempool(chain))
    alice.kill()
    show.say("a public channel is broadcast; SIGKILL of the whole of alice, who stays away")
    chain.mine(ANNOUNCE_DEPTH - 1)
    alice.start()
    until(lambda: alice.usable() and bob.usable(), "the channel is usable")
    bob.kill()
    chain.mine(1)
    bob.start()
    show.say("alice is back, the channel is usable; SIGKILL of bob when it could be announced")
    carol.connect(bob)
    rows = until(lambda: _policies(carol), "carol knows the channel", 60)
    scid = rows[0]["short_channel_id"]
    route = until(lambda: _route(carol, alice, bob), "carol knows a route over it")
    show.check("carol's route from alice to bob", [scid], route)
    ends = sorted([alice.id, bob.id])
    show.check("whose policies carol knows", ends, sorted(row["source"] for row in rows))
    show.facts["announced"] = {"short_channel_id": scid, "seen by": carol.name}
    show.say(f"channel {scid} is announced: carol has both policies, and a route over it")


def _mempool(chain: Any) -> list[str]:
    txids: list[str] = chain.rpc("getrawmempool")
    return txids


def _policies(node: NodeProcess) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = node.client.listchannels()["channels"]
    return rows if len(rows) == 2 else []


def _route(node: NodeProcess, payer: NodeProcess, payee: NodeProcess) -> list[str]:
    asked = {"fromid": payer.id, "id": payee.id, "amount_msat": 1_000_000, "riskfactor": 10}
    return [hop["channel"] for hop in node.client.getroute(**asked)["route"]]


def _in_flight(node: NodeProcess) -> int:
    return sum(len(row["htlcs"]) for row in node.channels())


def _outputs(raw: str) -> list[int]:
    return [out.amount_sat for out in parse(bytes.fromhex(raw)).outputs]


def _table(facts: dict[str, Any]) -> None:
    from rich.console import Console

    from daruma.tables import rows_table

    console = Console()
    for name, rows in facts.get("processes", {}).items():
        shown = [
            {key: row.get(key) for key in ("name", "parent", "pid", "generation", "commits")}
            for row in rows
        ]
        console.print(rows_table(f"{name}'s processes", shown))
    if facts["kills"]:
        console.print(rows_table("SIGKILL, and back", facts["kills"]))
    if facts.get("checks"):
        checks = [
            {"what": row["what"], "good": "yes" if row["good"] else "NO"} for row in facts["checks"]
        ]
        console.print(rows_table("checked", checks))
    if "balances_sat" in facts:
        balances = facts["balances_sat"]
        where = facts.get("announced", {}).get("short_channel_id", "nowhere")
        fees = facts["funding"]["fee_sat"] + facts["close"]["fee_sat"]
        console.print(
            f"alice {balances['alice']:,} sat, bob {balances['bob']:,} sat, fees {fees:,} sat; "
            f"{len(facts['payments'])} payments, {len(facts['kills'])} kills, "
            f"{facts['seconds']} s; a stranger sees channel {where}"
        )
    if facts["failed"]:
        console.print(f"FAILED: {facts['failed']}")
