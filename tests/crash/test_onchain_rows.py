"""HTLCs of channels that were closed on chain: taken, given back, and told upstream (P10, W8, W9,
M9, M10). Real commitments; each spend is checked by Bitcoin Core's own library."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from actors.engine.table import Table
from actors.testkit.explore import explore
from actors.testkit.node import sentences
from actors.testkit.node.stories import diamond
from protocol.bitcoin.transaction import display, parse, serialize
from protocol.chain.messages import TxReorged
from protocol.channel.messages import FORWARD
from protocol.machine import Step
from protocol.monitor import onchain
from protocol.monitor.messages import HtlcEnded
from protocol.monitor.rows import CLOSINGS, TAKEN, Closing, TakenOutput
from tests.conftest import Covered
from tests.kit import enforcing
from tests.kit.claiming import Claiming, Relaying, spending

CHANNEL = bytes([0xC]) * 32
VICTIMS = pytest.mark.parametrize("victim", ["", "*", "payments", "monitors-1", "monitors-2"])


def _kill(run: Any, node: Any, victim: str) -> None:
    if victim:
        run.world.kill(node, victim)
        run.world.advance()


def _mine(run: Any, count: int) -> None:
    for _ in range(count):
        run.world.mine(1)


def _no_htlcs(node: Any, cid: str) -> bool:
    return not any(key.startswith(f"htlc/{cid}/") for key in node.rows("monitors", "htlc"))


def _closed(node: Any, cid: str) -> bool:
    watch = node.row("monitors", f"watch/{cid}")
    return watch is not None and watch.ended is not None


# ---- a claim, one channel of which is closed -----------------------------------------------------


def _settle(run: Claiming) -> None:
    sentences.ask(run.bob, "payments", "holdinvoicesettle", payment_hash=run.hash)


@pytest.mark.parametrize("when", ["before", "after"])
@VICTIMS
def test_P10_the_part_of_a_closed_channel_is_claimed_on_chain(victim: str, when: str) -> None:
    """A1, LDK 3414: alice closes A alone; bob's monitor of A gets the preimage and takes it."""
    run = Claiming(held=True)
    run.all_held()
    a, b = run.cids
    coins = sentences.balance_sat(run.bob)
    (part,) = run.incoming(a)
    txid = enforcing.publish(run.alice, a)
    sentences.until(run.world, lambda: _closed(run.bob, a), "A is seen to be closed")
    if when == "before":
        _kill(run, run.bob, victim)
    _settle(run)
    run.step_until(lambda: run.has_claim(a), "A's monitor has the claim")
    if when == "after":
        _kill(run, run.bob, victim)

    sentences.until(run.world, lambda: run.status() == "paid", "it is paid")
    sentences.until(run.world, lambda: run.world.chain.mempool, "what is ours is taken")
    run.world.mine(1)
    spent = enforcing.spends(run.world, txid)
    assert len(spent) >= 1
    fees = sum(part.amount_msat // 1000 - tx.outputs[0].amount_sat for tx in spent.values())
    assert 0 < fees < 2000
    assert sentences.balance_sat(run.bob) - coins == part.amount_msat // 1000 - fees
    # alice finds the preimage in it, and has paid
    sentences.until(run.world, lambda: run.question in run.alice.answers, "alice knows")
    assert run.alice.answers[run.question].code is None
    _mine(run, 6)
    for node in (run.alice, run.bob):
        assert _no_htlcs(node, a) and _no_htlcs(node, b)
        for segment in ("claim", "resolve_htlc", "preimage", "add_htlc"):
            assert not node.rows("monitors", segment), f"{node.name} keeps a {segment}"
    assert diamond.balance_msat(run.bob) == run.amount - part.amount_msat


def test_a_part_that_is_not_claimed_stays_where_it_is() -> None:
    """Without the preimage nothing of alice's is taken."""
    run = Claiming(held=True)
    run.all_held()
    a, _ = run.cids
    txid = enforcing.publish(run.alice, a)
    sentences.until(run.world, lambda: _closed(run.bob, a), "A is seen to be closed")

    _mine(run, 3)

    assert not enforcing.spends(run.world, txid)


# ---- a relayed payment ---------------------------------------------------------------------------


@VICTIMS
def test_W8_upstream_is_closed_and_its_htlc_is_claimed_on_chain(victim: str) -> None:
    run = Relaying(held=True)
    run.wait_for_carol()
    run.world.settle()
    txid = enforcing.publish(run.alice, run.u)
    sentences.until(run.world, lambda: _closed(run.bob, run.u), "U is seen to be closed")

    run.settle()
    run.step_until(lambda: run.knows_preimage(run.u), "U's monitor has the preimage")
    _kill(run, run.bob, victim)
    sentences.until(run.world, lambda: run.world.chain.mempool, "bob takes it")
    run.world.mine(1)

    (tx,) = enforcing.spends(run.world, txid).values()
    incoming_sat = (run.amount + run.row.fee_msat) // 1000
    assert 0 < incoming_sat - tx.outputs[0].amount_sat < 1000
    sentences.until(run.world, lambda: run.question in run.alice.answers, "alice knows")
    assert run.alice.answers[run.question].code is None
    _mine(run, 6)
    assert _no_htlcs(run.bob, run.u) and _no_htlcs(run.bob, run.d)
    assert not run.bob.rows("payments", "owed")


@pytest.mark.parametrize("whose", ["bob", "carol"])
def test_W9_the_preimage_is_found_on_chain_after_a_sleep(whose: str) -> None:
    """D is closed, and carol claims there while bob is down; he learns it from the block."""
    run = Relaying(held=True)
    run.wait_for_carol()
    run.world.settle()
    for role in tuple(run.bob.drivers):
        run.world.stop(run.bob, role)
    if whose == "bob":
        txid = _publish_for(run)
        sentences.until(run.world, lambda: _closed(run.carol, run.d), "carol sees it")
        sentences.ask(run.carol, "payments", "holdinvoicesettle", payment_hash=run.hash)
        sentences.until(run.world, lambda: run.world.chain.mempool, "carol takes her HTLC")
    else:
        txid = enforcing.publish(run.carol, run.d)
        preimage = run.carol.row("payments", "invoice/x").preimage
        run.world.chain.submit(serialize(enforcing.success(run.carol, run.d, preimage)))
    run.world.mine(1)
    assert enforcing.spends(run.world, txid)

    for role in run.bob.roles:
        run.world.start(run.bob, role)
    for role in run.bob.roles:
        run.world._announce(run.bob, role)

    sentences.until(run.world, lambda: run.question in run.alice.answers, "alice knows")
    assert run.alice.answers[run.question].code is None
    _mine(run, 7)
    assert _no_htlcs(run.bob, run.u) and _no_htlcs(run.bob, run.d)
    assert run.row.status == "settled"
    assert not run.bob.rows("payments", "owed")


def _publish_for(run: Relaying) -> bytes:
    """bob's commitment of D, by somebody with his keys."""
    run.world.start(run.bob, run.bob.keeper(run.d))
    txid = enforcing.publish(run.bob, run.d, mine=False)
    run.world.stop(run.bob, run.bob.keeper(run.d))
    run.world.mine(1)
    return txid


@VICTIMS
def test_what_carol_does_not_claim_is_taken_back_and_fails_upstream(victim: str) -> None:
    run = Relaying(held=True)
    run.wait_for_carol()
    run.world.settle()
    (htlc,) = run.htlcs(run.d)
    for role in tuple(run.carol.drivers):
        run.world.stop(run.carol, role)
    run.world.chain.submit(serialize(_of(run, run.carol)))
    run.world.mine(1)
    txid = _of(run, run.carol).txid
    while run.world.chain.height < htlc.cltv_expiry:
        assert htlc.key.partition("/")[2] not in _takers(run, txid), "taken before it expired"
        run.world.mine(1)
    _kill(run, run.bob, victim)
    sentences.until(run.world, lambda: run.world.chain.mempool, "bob takes it back")
    (tx,) = run.world.chain.mempool.values()
    assert tx.locktime == htlc.cltv_expiry
    _mine(run, 5)
    assert run.question not in run.alice.answers, "failed upstream while it was revocable"
    _mine(run, 1)

    sentences.until(run.world, lambda: run.question in run.alice.answers, "alice knows")
    assert run.alice.answers[run.question].code is not None
    assert tx.txid in {one.txid for one in enforcing.spends(run.world, txid).values()}
    assert _no_htlcs(run.bob, run.u) and _no_htlcs(run.bob, run.d)
    assert run.row.status == "failed"


def _of(run: Relaying, node: Any) -> Any:
    """A commitment of D by a node whose actors are down: from its disk."""
    run.world.start(node, node.keeper(run.d))
    tx = enforcing.signed(*enforcing.channel(node, run.d))
    run.world.stop(node, node.keeper(run.d))
    return tx


def _takers(run: Relaying, txid: bytes) -> list[str]:
    return [display(tx.txid) for tx in enforcing.spends(run.world, txid).values() if tx.locktime]


# ---- what was under way when it was closed -------------------------------------------------------


def test_M9_what_waits_for_a_channel_that_is_closed_is_refused_at_once() -> None:
    """A3, LDK 3989: it was never signed for anybody, so that it fails, or takes another way."""
    run = Relaying()
    run.world.stop(run.carol, "peers")
    run.step_until(lambda: run.bob.rows("monitors", "add_htlc"), "the offer waits for carol")

    enforcing.publish(run.carol, run.d)

    sentences.until(run.world, lambda: run.question in run.alice.answers, "alice knows")
    assert run.alice.answers[run.question].code is not None
    assert _no_htlcs(run.bob, run.u)
    assert not run.bob.rows("monitors", "add_htlc")


@pytest.mark.parametrize("signed", [False, True], ids=["in flight", "durable"])
@VICTIMS
def test_M10_an_htlc_that_the_mined_commitment_does_not_have_fails_upstream(
    victim: str, *, signed: bool
) -> None:
    """A3, LDK 4431, 4434: carol publishes the commitment before it. If the update that has it is
    still on its way to the monitor, nobody has signed for it, and it does not wait six blocks."""
    run = Relaying()
    before = enforcing.signed(*enforcing.channel(run.carol, run.d))
    stop = lambda: run.htlcs(run.d) if signed else _update_in_flight(run)  # noqa: E731
    run.step_until(stop, "bob has signed for it")
    run.world.wires.pop(("bob", "carol"), None)
    for role in tuple(run.carol.drivers):
        run.world.stop(run.carol, role)
    late = {} if signed else _hold_back(run)
    run.world.chain.submit(serialize(before))
    run.world.mine(1)
    for link, frames in late.items():  # the spend was heard first
        run.world.links[link] = frames + run.world.links.get(link, deque())
    run.world.settle()
    _kill(run, run.bob, victim)
    _mine(run, 4)
    if signed:
        assert run.question not in run.alice.answers, "failed upstream while it was revocable"
    _mine(run, 3)

    sentences.until(run.world, lambda: run.question in run.alice.answers, "alice knows")
    assert run.alice.answers[run.question].code is not None
    assert _no_htlcs(run.bob, run.u) and _no_htlcs(run.bob, run.d)


def _hold_back(run: Relaying) -> dict[Any, Any]:
    """What the channel has said to its monitor, and the monitor has not heard."""
    link = ("bob", "peers", run.bob.keeper(run.d))
    return {link: run.world.links.pop(link)}


def _update_in_flight(run: Relaying) -> bool:
    live = run.live(run.d)
    return bool(live is not None and any(update.htlcs for update in live.unacked))


def test_a_late_failure_of_an_earlier_try_does_not_fail_a_living_one() -> None:
    """The relay took another channel meanwhile: upstream hears of that one only."""
    run = Relaying(held=True)
    run.wait_for_carol()
    run.world.settle()
    stale = HtlcEnded(
        origin=f"{FORWARD}{run.row.name}/{run.row.tries - 1}",
        channel_id=bytes.fromhex(run.d),
        htlc_id=7,
    )
    driver = run.bob.drivers["payments"]
    driver._handle("monitors-1", stale)
    run.world._flush(run.bob, "payments")
    run.world.settle()
    assert run.row.status == "offered"

    run.settle()
    run.paid()


# ---- a commitment that was revoked ---------------------------------------------------------------


def test_a_revoked_commitment_gives_its_owner_nothing() -> None:
    """alice publishes what she had before she paid: bob takes her balance too."""
    run = Claiming()
    a, b = run.cids
    old = {cid: enforcing.signed(*enforcing.channel(run.alice, cid)) for cid in (a, b)}
    run.claimed()
    coins = sentences.balance_sat(run.bob)

    run.world.chain.submit(serialize(old[a]))
    run.world.mine(1)
    sentences.until(run.world, lambda: run.world.chain.mempool, "bob takes it")
    run.world.mine(1)

    (tx,) = enforcing.spends(run.world, old[a].txid).values()
    taken = max(out.amount_sat for out in old[a].outputs)
    assert taken - 1000 < sentences.balance_sat(run.bob) - coins < taken
    assert tx.outputs[0].amount_sat == sentences.balance_sat(run.bob) - coins


class Small(Relaying):
    """One that is worth less than the transaction that would take it."""

    amount = 1_000_000


def test_an_htlc_that_does_not_pay_for_its_spend_fails_upstream_all_the_same() -> None:
    run = Small(held=True)
    run.wait_for_carol()
    run.world.settle()
    (htlc,) = run.htlcs(run.d)
    for role in tuple(run.carol.drivers):
        run.world.stop(run.carol, role)
    run.world.chain.feerate_per_kw = 20_000
    run.world.chain.submit(serialize(_of(run, run.carol)))
    while run.world.chain.height < htlc.cltv_expiry + 5:
        run.world.mine(1)
        assert run.question not in run.alice.answers

    _mine(run, 2)

    sentences.until(run.world, lambda: run.question in run.alice.answers, "alice knows")
    assert run.alice.answers[run.question].code is not None
    assert _no_htlcs(run.bob, run.u) and _no_htlcs(run.bob, run.d)


def test_a_closed_channel_is_not_looked_at_for_ever() -> None:
    """When all of it is irrevocable, chain watches its funding output alone."""
    run = Claiming(held=True)
    run.all_held()
    a, _ = run.cids
    enforcing.publish(run.alice, a)
    run.world.advance()
    _settle(run)
    sentences.until(run.world, lambda: run.status() == "paid", "it is paid")
    _mine(run, 1)
    assert any(f"/{a}/output/" in key for key in run.bob.rows("chain", "spend"))

    _mine(run, 8)

    for node in (run.alice, run.bob):
        assert node.row("monitors", f"closing/{a}").done
        left = [key for name in ("spend", "tx", "send") for key in node.rows("chain", name)]
        of_it = [key.partition("/")[2].partition("/")[2] for key in left if f"/{a}/" in key]
        assert of_it == [f"{a}/funding"]


def test_a_commitment_is_no_closing_together_whatever_script_was_named() -> None:
    """A shutdown may name the script of a commitment's only output: then all outputs are agreed."""
    run = Claiming(held=True)
    run.all_held()
    a, _ = run.cids
    tx = parse(spending(run.world, a))
    driver = run.bob.drivers[run.bob.keeper(a)]
    core = run.core(a).but(their_shutdown=tx.outputs[0].script)
    driver.rows.write(f"core/{a}", core)

    run.world.chain.submit(serialize(tx))
    run.world.mine(1)

    sentences.until(run.world, lambda: _closed(run.bob, a), "it is seen")
    assert run.bob.row("monitors", f"watch/{a}").ended == "unilateral"
    assert run.bob.row("monitors", f"closing/{a}") is not None


def test_a_spend_that_left_the_chain_leaves_the_output_free() -> None:
    rows, spender = Table(), bytes([1]) * 32
    closing = Closing(raw=b"", txid=bytes(32), height=1, ours=False)
    rows.set(CLOSINGS, (CHANNEL,), closing)
    rows.set(TAKEN, (CHANNEL, 0), TakenOutput(what="theirs/0", by=bytes([1]) * 32, final=True))
    step = Step(rows)

    gone = TxReorged(reason=onchain.reason(CHANNEL, "spender", spender.hex()), txid=spender)
    assert onchain.deep(step, gone) == [CHANNEL]

    row = TAKEN.need(step, CHANNEL, 0)
    assert (row.by, row.final) == (None, False)


# ---- every crash point ---------------------------------------------------------------------------


@pytest.mark.parametrize("share", range(2))
@pytest.mark.parametrize("upstream", [False, True], ids=["claim", "relay"])
def test_every_crash_point_on_chain_survives(
    share: int, covered: Covered, *, upstream: bool
) -> None:
    report = explore(enforcing.story(upstream=upstream), share=share, shares=2)

    assert report.failures == []
    covered("crash points: on chain", report.points)
    assert report.points > 20
