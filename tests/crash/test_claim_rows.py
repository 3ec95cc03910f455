"""Rows P1 to P18 of the crash scenarios: a claim over several channels, and what may die in it.

A and B are the channels of the set, each kept by a monitor of its own. Numbers in brackets are
those of LDK's threads on asynchronous persistence, whose bugs must not be ours.
"""

from __future__ import annotations

import pytest

from actors.testkit.explore import explore
from actors.testkit.node import sentences, subsets
from actors.testkit.node.stories import diamond
from actors.tree import NODE
from protocol.channel.messages import claim_hold
from protocol.machine import Step
from protocol.monitor import claims as monitor_claims
from protocol.monitor.messages import Claim, ClaimKept, Release
from protocol.monitor.rows import HTLCS
from protocol.payments import claims as payment_claims
from protocol.payments import sent_parts
from protocol.router.messages import Hop, Route
from tests.conftest import Covered
from tests.kit.claiming import Claiming, spending

VICTIMS = pytest.mark.parametrize("victim", ["*", "payments"])


def _intended(run: Claiming) -> None:
    run.step_until(lambda: run.claim() is not None, "the intent is written")


def _held(run: Claiming) -> None:
    """A hold invoice, its whole set there."""
    key = f"set/{run.hash}"
    run.step_until(lambda: getattr(run.bob.row("payments", key), "whole", False), "it is whole")


def _settle(run: Claiming) -> None:
    preimage = run.bob.row("payments", f"hash/{run.hash}")
    assert preimage is not None
    sentences.ask(run.bob, "payments", "holdinvoicesettle", payment_hash=run.hash)


@VICTIMS
def test_P1_nothing_is_durable_and_the_user_decides_again(victim: str) -> None:
    run = Claiming(held=True)
    _held(run)

    run.world.kill(run.bob, victim)

    def state() -> str:
        asked = {"payment_hash": run.hash}
        return str(sentences.ask(run.bob, "payments", "holdinvoicelookup", **asked)["state"])

    sentences.until(run.world, lambda: state() == "accepted", "it waits for the user again")
    assert not run.bob.rows("payments", "claim")
    _settle(run)
    run.claimed()


@VICTIMS
def test_P2_the_intent_is_durable_and_no_channel_has_it(victim: str) -> None:
    run = Claiming()
    _intended(run)
    assert not any(run.has_claim(cid) for cid in run.cids)

    run.world.kill(run.bob, victim)

    run.claimed()


def _one_has_it(run: Claiming) -> None:
    """A has the claim; B's disk takes no write."""
    _intended(run)
    run.without(run.cids[1])
    run.step_until(lambda: run.has_claim(run.cids[0]), "A has it")


def test_P3_a_channel_cannot_have_the_claim_while_payments_never_had_it() -> None:
    """The write order forbids it; such disks were put together by hand, and are refused."""
    before, versions = subsets.record(diamond.claim(2))
    tried = 0
    for chosen in subsets.combinations(versions, [("bob", r) for r in before.nodes["bob"].disks]):
        older = chosen["bob", "payments"].disk.data
        kept = [v for (_, role), v in chosen.items() if role.startswith("monitors")]
        claimed = any(key.startswith(b"r/claim/") for v in kept for key in v.disk.data)
        knows = any(key.startswith((b"r/claim/", b"r/paid/")) for key in older)
        if claimed and not knows:
            assert not subsets.fits(subsets.completed(chosen, versions))
            tried += 1
    assert tried > 10


@pytest.mark.parametrize("victim", ["*", "payments", "peers"])
def test_P4_one_channel_has_it_and_the_other_is_told_again(victim: str) -> None:
    """(3772: a claim that is under way is no reason to refuse a start.)"""
    run = Claiming()
    _one_has_it(run)

    run.world.kill(run.bob, victim) if victim != "*" else _kill_all(run)

    if victim != "*":
        run.again(run.cids[1])
    run.claimed()


def _kill_all(run: Claiming) -> None:
    """B's monitor too: it comes back with the others."""
    run.world.start_again(run.bob, run.bob.keeper(run.cids[1]))
    run.world.kill(run.bob)


@VICTIMS
def test_P5_all_have_it_and_the_event_was_not_told(victim: str) -> None:
    run = Claiming()
    run.step_until(lambda: all(run.has_claim(cid) for cid in run.cids), "all have it")
    assert run.status() == "unpaid"

    run.world.kill(run.bob, victim)

    run.claimed()
    event = sentences.ask(run.bob, "payments", "waitevent", lastevent=0)
    assert (event["type"], event["amount_received_msat"]) == ("invoice_paid", run.amount)


def finish_a_without_b(run: Claiming) -> None:
    """A's dance goes on as far as it can, while B cannot write."""
    _one_has_it(run)
    run.world.settle()
    for _ in range(20):
        run.world.advance()


def secret_is_kept_back(run: Claiming) -> None:
    """alice's revoke_and_ack of the commitment without the HTLC is not applied, and not on disk."""
    a, b = run.cids
    core = run.core(a)
    assert core.their_number == core.their_revoked + 1, "the peer's secret is on A's disk"
    assert run.incoming(a), "A has forgotten the HTLC, and with it the preimage"
    assert run.has_claim(a)
    assert not run.has_claim(b)
    assert run.live(a).holds
    assert run.live(a).inbox or not run.live(a).online  # peers wait for all monitors at a start


def test_P6_the_secret_is_held_back_until_all_have_the_preimage() -> None:
    run = Claiming()
    finish_a_without_b(run)

    secret_is_kept_back(run)

    run.again(run.cids[1])
    run.claimed()


def test_P6_after_a_restart_of_all_the_preimage_is_still_there() -> None:
    run = Claiming()
    finish_a_without_b(run)
    secret_is_kept_back(run)

    _kill_all(run)

    run.claimed()


def test_P7_a_crash_in_the_replay_puts_the_hold_back() -> None:
    """B cannot write, all else of bob dies, A's channel lives again: it is held again. (3928)"""
    run = Claiming()
    finish_a_without_b(run)

    for role in ("peers", "payments", run.bob.keeper(run.cids[0]), "peers"):
        run.world.kill(run.bob, role)
        for _ in range(20):
            run.world.advance()
        secret_is_kept_back(run)

    run.again(run.cids[1])
    run.claimed()


def test_P8_two_parts_on_one_channel_do_not_wait_for_each_other(covered: Covered) -> None:
    """The second is to be fulfilled while the first one's commitment waits to be revoked. (3680)"""
    story = diamond.claim_on_one()
    world = story.begin()
    bob = world.nodes["bob"]
    story.go_on(world, 0)
    (row,) = bob.rows("payments", "invoice").values()
    assert row.status == "paid"

    report = explore(story)

    assert report.failures == []
    covered("crash points: a claim on one channel", report.points)
    assert report.points > 50


def test_P9_a_revoke_and_ack_in_the_middle_of_the_claim() -> None:
    """B waits for one when the claim comes: the preimage is written all the same. (4235)"""
    run = Claiming()
    a, b = run.cids
    _intended(run)
    run.without(a)
    run.step_until(lambda: run.has_claim(b), "B has it")
    run.step_until(lambda: bool(run.live(b).inbox), "B holds a revoke_and_ack")
    assert run.live(b).resolutions or run.incoming(b)

    run.again(a)

    run.claimed()


def test_P10_a_channel_that_is_closed_on_chain_keeps_the_preimage() -> None:
    """(A1, 3414: claims of closed channels are as durable as others; 2168: B goes on.)"""
    run = Claiming(held=True)
    _held(run)
    a, b = run.cids
    spend = spending(run.world, a)
    run.world.chain.submit(spend)
    run.world.mine(1)
    sentences.until(run.world, lambda: _ended(run, a), "A is seen to be closed")

    _settle(run)

    sentences.until(run.world, lambda: run.status() == "paid", "B is claimed")
    assert run.has_claim(a), "A's monitor does not know the preimage"
    assert not run.incoming(b)


def _ended(run: Claiming, cid: str) -> bool:
    watch = run.bob.row("monitors", f"watch/{cid}")
    return watch.ended is not None


def test_P11_a_channel_that_is_no_more_does_not_hold_up_the_claim() -> None:
    run = Claiming()
    gone = Claim(
        channel_id=bytes(32),
        payment_id=bytes(32),
        preimage=bytes(32),
        parts=((bytes(32), 0),),
        amount_msat=1,
        label="long ago",
    )
    driver = run.bob.drivers["monitors-1"]

    driver.hear("payments", driver._marks["payments"] + 1, gone)

    told = list(driver.outbox.waiting["payments"].values())
    assert NODE.decode(told[-1]) == ClaimKept(payment_id=bytes(32), channel_id=bytes(32))
    assert not run.has_claim(bytes(32).hex())


def test_P12_every_subset_of_three_channels_occurs_and_ends_claimed() -> None:
    """8 subsets of the channels that have it; each with payments before and after it knows."""
    before, versions = subsets.record(diamond.claim(3))
    story, seen = diamond.claim(3), set()
    roles = ["payments", "monitors-1", "monitors-2", "monitors-3"]
    for chosen in subsets.combinations(versions, [("bob", role) for role in roles]):
        full = subsets.completed(chosen, versions)
        if not subsets.fits(full):
            continue
        have = tuple(_claims(chosen["bob", role].disk.data) for role in roles[1:])
        data = chosen["bob", "payments"].disk.data
        intent = any(key.startswith(b"r/claim/") for key in data)
        paid = any(key.startswith(b"r/paid/") for key in data)
        if (have, intent, paid) not in seen:
            seen.add((have, intent, paid))
            story.go_on(subsets.restarted(before, full, "bob"), 0)
    assert len({have for have, intent, _ in seen if intent}) == 8, "a subset is missing"
    assert any(paid for _, _, paid in seen) and any(not intent for _, intent, _ in seen)


def _claims(data: dict[bytes, bytes]) -> bool:
    return any(key.startswith(b"r/claim/") for key in data)


@VICTIMS
def test_P13_an_event_that_was_not_acknowledged_comes_again(victim: str) -> None:
    """(A2, A6: events about the fate of a payment are durable, and told at least once.)"""
    run = Claiming()
    run.claimed()
    first = sentences.ask(run.bob, "payments", "waitevent", lastevent=0)
    paid = sentences.ask(run.bob, "payments", "waitanyinvoice", lastpay_index=0)

    run.world.kill(run.bob, victim)

    assert sentences.ask(run.bob, "payments", "waitevent", lastevent=0) == first
    assert sentences.ask(run.bob, "payments", "waitanyinvoice", lastpay_index=0) == paid
    assert len(bytes.fromhex(first["payment_id"])) == 32


def test_P14_a_second_payment_of_the_same_hash_is_another_one() -> None:
    """alice pays twice: the second set arrives while the first is being claimed. (A5)"""
    run = Claiming(held=True)
    _held(run)
    a, _ = run.cids
    settle = run.world.ask(run.bob, "payments", "holdinvoicesettle", payment_hash=run.hash)
    _intended(run)
    first = run.claim()
    run.without(run.cids[1])
    run.world.settle()
    # a part of a second payment, with the same hash and secret
    _another_part(run, a)
    _kill_all(run)
    sentences.until(run.world, lambda: settle in run.bob.answers, "settled")

    run.claimed()

    event = sentences.ask(run.bob, "payments", "waitevent", lastevent=1)
    assert event["payment_id"] == first.payment_id.hex()
    assert (event["parts"], event["amount_received_msat"]) == (len(first.parts), run.amount)
    second = [row for row in run.alice.rows("payments", "part").values() if row.groupid == 9]
    assert [row.status for row in second] == ["failed"]


def second_set_is_held_for_itself() -> None:
    """The first set of a hash is done, but not gone, when the second is claimed."""
    run = Claiming()
    _intended(run)
    payment_hash, (a, b) = bytes.fromhex(run.hash), [bytes.fromhex(cid) for cid in run.cids]
    run.step_until(lambda: run.incoming(run.cids[0]), "its HTLC is there")
    driver = run.bob.drivers[run.keepers[0]]
    step = Step(driver.rows)
    htlc = run.incoming(run.cids[0])[0]
    HTLCS.put(step, htlc.but(id=htlc.id + 1), a, "theirs", htlc.id + 1)
    for number in (htlc.id, htlc.id + 1):
        places = ((a, number), (b, number))
        name = payment_claims.payment_id(payment_hash, places)
        preimage = run.claim().preimage
        told = Claim(channel_id=a, payment_id=name, preimage=preimage, parts=places,
                     amount_msat=1, label="")  # fmt: skip
        monitor_claims.claim(step, told)
        if number == htlc.id:
            monitor_claims.release(step, Release(channel_id=a, hold=claim_hold(name)))

    assert monitor_claims.holds(step, a) == (claim_hold(name),)


def test_P14_each_set_of_a_hash_is_held_for_itself() -> None:
    second_set_is_held_for_itself()


def _another_part(run: Claiming, cid: str) -> None:
    """By hand, past alice's own rule that a hash is paid once."""
    driver = run.alice.drivers["payments"]
    row = run.alice.row("payments", f"payment/{run.hash}")
    hop = Hop(
        scid=run.alice.row("payments", f"channel/{cid}").scid,
        direction=int(run.alice.id > run.bob.id),
        node_id=run.bob.id,
        amount_msat=20_000_000,
        delay=200,
    )
    route = Route(channel_id=bytes.fromhex(cid), hops=(hop,))

    def order(step: Step, at: object) -> None:
        second = row.but(groupid=9, living=())
        sent_parts.offer(step, second, route, at, 1)  # type: ignore[arg-type]

    driver._run(order)
    run.world._flush(run.alice, "payments")
    run.world.settle()


def test_P15_a_set_that_is_given_back_is_not_claimed() -> None:
    """Near its expiry a held set goes back whole; the word of the user comes too late."""
    run = Claiming(held=True)
    _held(run)
    expiry = min(part.cltv_expiry for part in run.bob.row("payments", f"set/{run.hash}").parts)
    while run.world.chain.height < expiry - 18:
        run.world.mine(10)

    with pytest.raises(sentences.Refused, match="wrong state"):
        _settle(run)

    sentences.until(run.world, lambda: not run.bob.rows("monitors", "htlc"), "all parts went back")
    assert diamond.balance_msat(run.bob) == 0
    assert not run.bob.rows("monitors", "claim")


@pytest.mark.parametrize("durable", ["one", "all"])
def test_P16_payments_has_lost_everything(durable: str) -> None:
    """One monitor is enough to claim the rest, and to tell the user what was paid."""
    run = Claiming()
    _one_has_it(run)
    run.world.settle()
    fields = run.claim()
    if durable == "all":
        run.again(run.cids[1])
        run.step_until(lambda: all(run.has_claim(cid) for cid in run.cids), "all have it")
    else:
        run.world.start_again(run.bob, run.bob.keeper(run.cids[1]))
    for name in [key for key in run.world.links if key[0] == "bob" and "payments" in key]:
        run.world.links[name].clear()
    run.bob.disks["payments"].lose()
    run.world.kill(run.bob)

    sentences.until(run.world, lambda: run.bob.rows("payments", "invoice"), "it is known again")
    run.claimed()

    gap = sentences.ask(run.bob, "payments", "waitevent", lastevent=0)
    assert gap["type"] == "gap"  # an earlier snapshot may have given the first numbers
    event = sentences.ask(run.bob, "payments", "waitevent", lastevent=gap["index"])
    assert event["payment_id"] == fields.payment_id.hex()
    assert event["payment_hash"] == run.hash
    assert (event["amount_received_msat"], event["parts"]) == (run.amount, len(fields.parts))
    assert event["label"] == "claim"


def test_P17_the_channels_restart_in_the_middle_and_payments_does_not() -> None:
    run = Claiming()
    finish_a_without_b(run)

    run.world.kill(run.bob, "peers")
    for _ in range(20):
        run.world.advance()

    secret_is_kept_back(run)
    run.again(run.cids[1])
    run.claimed()


def test_P18_the_deadline_passed_while_the_node_was_down() -> None:
    """No preimage leaves, not even for one part."""
    run = Claiming(held=True)
    _held(run)
    expiry = min(part.cltv_expiry for part in run.bob.row("payments", f"set/{run.hash}").parts)
    for role in run.bob.roles:
        run.world.stop(run.bob, role)
    while run.world.chain.height < expiry - 10:
        run.world.mine(10)
    for role in run.bob.roles:
        run.world.start(run.bob, role)
    for role in run.bob.roles:
        run.world._announce(run.bob, role)

    with pytest.raises(sentences.Refused):
        _settle(run)

    sentences.until(run.world, lambda: not run.bob.rows("monitors", "htlc"), "all parts went back")
    assert diamond.balance_msat(run.bob) == 0


def test_a_hold_is_derived_and_stored_nowhere() -> None:
    """Mission row 22 in the kit: no row of any store of bob names a hold."""
    run = Claiming()
    finish_a_without_b(run)
    assert run.live(run.cids[0]).holds

    for disk in run.bob.disks.values():
        for key, data in disk.data.items():
            if key.startswith(b"r/"):
                name = claim_hold(run.claim().payment_id).encode()
                assert b"hold" not in key and name not in data
