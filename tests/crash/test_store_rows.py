"""Rows M1 to M13 and R1 to R10 of the crash scenarios: updates in flight, lost and old snapshots.

A monitor's snapshot is the channel; updates are numbered and may be in flight, wishes and answers
stand in outboxes.
"""

from __future__ import annotations

import pytest

from actors.engine.host import Gap
from actors.testkit.node import sentences, subsets
from actors.testkit.node.stories import diamond
from actors.testkit.node.world import World
from protocol.channel.messages import ChannelUsable, Durable, Held, Unheld, Update
from protocol.channel.state import check_successor
from storage.errors import Fenced, Stale
from storage.memory import MemoryStore
from tests.conftest import Covered
from tests.kit.claiming import Claiming, Relaying


def _pair() -> tuple[World, str]:
    world = World()
    world.node("alice")
    world.node("bob")
    (cid,) = diamond.linked(world, [("alice", "bob")])
    return world, cid


def _in_flight(world: World, cid: str) -> list[Update]:
    row = sentences.live(world.nodes["alice"], cid)
    return list(row.unacked) if row is not None else []


@pytest.mark.parametrize("victim", ["monitors", "peers", "*"])
def test_M1_updates_in_flight_are_replayed_in_order(victim: str) -> None:
    """The monitor has not written them: nothing that follows has left."""
    world, cid = _pair()
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    made = sentences.invoice(bob, 1_000_000, "m1")
    asked = world.ask(alice, "payments", "pay", bolt11=made["bolt11"])
    for _ in range(1_000):
        if _in_flight(world, cid):
            break
        world.step()
    first = _in_flight(world, cid)[0].update_id
    assert alice.row("monitors", f"core/{cid}").update_id == first - 1
    assert not bob.rows("monitors", "htlc")

    world.kill(alice, victim)

    assert sentences.answered(alice, asked)["status"] == "complete"
    diamond.at_rest(world)


@pytest.mark.parametrize("victim", ["peers", "*"])
def test_M2_and_M3_an_update_is_written_and_its_durability_not_heard(victim: str) -> None:
    world, cid = _pair()
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    made = sentences.invoice(bob, 1_000_000, "m2")
    asked = world.ask(alice, "payments", "pay", bolt11=made["bolt11"])
    before = alice.row("monitors", f"core/{cid}").update_id
    for _ in range(1_000):
        if alice.row("monitors", f"core/{cid}").update_id > before:
            break
        world.step()

    world.kill(alice, victim)
    world.kill(alice, victim)  # M3: and again, before anything came of it

    assert sentences.answered(alice, asked)["status"] == "complete"
    diamond.at_rest(world)


def test_M4_a_channel_takes_the_state_of_its_monitor_and_nothing_is_closed() -> None:
    """LDK 4286: there is no other state that could be older."""
    world, cid = _pair()
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    for number in range(3):
        sentences.pay(alice, bob, 1_000_000, f"m4 {number}")
        world.kill(alice, "peers")
        sentences.until(world, lambda: sentences.live(alice, cid), "the channel lives again")
        core = alice.row("monitors", f"core/{cid}")
        assert sentences.live(alice, cid).channel.core.our_number == core.our_number
    sentences.pay(alice, bob, 1_000_000, "m4 at last")
    diamond.at_rest(world)


def test_M5_a_gap_in_the_updates_is_not_built_on() -> None:
    world, cid = _pair()
    alice = world.nodes["alice"]
    core = alice.row("monitors", f"core/{cid}")
    jump = Update(
        channel_id=bytes.fromhex(cid), update_id=core.update_id + 2,
        core=core.but(update_id=core.update_id + 2),
    )  # fmt: skip

    with pytest.raises(AssertionError, match="gap"):
        alice.drivers["monitors"].hear("peers", 0, jump)
    with pytest.raises(AssertionError):
        check_successor(core, core.but(their_number=core.their_number + 2))


def test_M6_a_lost_or_older_monitor_is_refused() -> None:
    """By its mark; and by what others have heard of it, when the mark was put back too."""
    world, _ = _pair()
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    old = alice.disks["monitors"].copy()
    sentences.pay(alice, bob, 1_000_000, "newer")
    old.mirror = alice.disks["monitors"].mirror

    with pytest.raises(Stale):
        MemoryStore(old)
    old.mirror = old.mark
    alice.disks["monitors"] = old
    with pytest.raises(Gap, match="an old copy"):
        world.kill(alice)
        world.settle()


def test_M7_what_was_held_is_looked_at_again_after_every_restart() -> None:
    """LDK 4518: the reason is gone while the channel is not alive."""
    run = Claiming()
    run.step_until(lambda: run.claim() is not None, "the intent is written")
    run.without(run.cids[1])
    for _ in range(20):
        run.world.advance()
    assert run.live(run.cids[0]).inbox
    run.world.stop(run.bob, "peers")
    run.again(run.cids[1])
    run.world.settle()
    assert not [row for row in run.bob.rows("monitors", "claim").values() if not row.released]

    run.world.start_again(run.bob, "peers")

    run.claimed()


def test_M8_a_preimage_does_not_wait_behind_a_held_revoke_and_ack() -> None:
    """LDK 3680: B's preimage is written while B holds one."""
    run = Claiming()
    a, b = run.cids
    run.step_until(lambda: run.claim() is not None, "the intent is written")
    run.without(a)
    run.step_until(lambda: bool(run.live(b).inbox), "B holds a revoke_and_ack")
    assert run.has_claim(b)
    run.again(a)
    run.claimed()


def test_M11_what_is_told_is_kept_until_its_receiver_has_it() -> None:
    run = Relaying()
    run.step_until(lambda: run.knows_preimage(run.d), "downstream has the preimage")
    keeper = run.bob.drivers[run.bob.keeper(run.d)]
    assert keeper.outbox.waiting["payments"], "the end of the HTLC is not in the outbox"
    run.world.kill(run.bob, "payments")
    run.world.kill(run.bob, run.bob.keeper(run.d))
    run.paid()


def test_M12_nothing_is_forgotten_while_it_is_needed() -> None:
    """The claim stays until it is released and its parts are gone. (LDK 3450, A4)"""
    run = Claiming()
    run.step_until(lambda: run.status() == "paid", "it is paid")
    assert all(run.has_claim(cid) for cid in run.cids)
    run.claimed()
    assert not any(run.has_claim(cid) for cid in run.cids)


@pytest.mark.parametrize("how", ["error", "full", "torn"])
def test_M13_and_R8_a_write_that_fails_ends_the_actor_and_nothing_else(how: str) -> None:
    run = Claiming()
    run.step_until(lambda: run.claim() is not None, "the intent is written")
    for name in run.keepers:
        disk = run.bob.disks[name]
        disk.how, disk.fail_at = how, 1

    run.claimed()


def test_R1_and_R2_a_restart_in_every_step_of_a_restart_converges() -> None:
    run = Claiming()
    run.step_until(lambda: any(run.has_claim(cid) for cid in run.cids), "one has the claim")
    for count in range(12):
        run.world.kill(run.bob, "*" if count % 3 else "payments")
        for _ in range(count):
            run.world.step()
    run.claimed()


def test_R3_a_replay_that_is_written_twice_has_no_second_effect() -> None:
    run = Claiming()
    run.claimed()
    paid = sentences.ask(run.bob, "payments", "waitanyinvoice", lastpay_index=0)
    for _ in range(3):
        run.world.kill(run.bob, "payments")
        run.world.advance(1)
    assert diamond.balance_msat(run.bob) == run.amount
    assert sentences.ask(run.bob, "payments", "waitanyinvoice", lastpay_index=0) == paid


def test_R4_an_earlier_incarnation_writes_no_more() -> None:
    world, _ = _pair()
    disk = world.nodes["alice"].disks["payments"]
    old = MemoryStore(disk)
    MemoryStore(disk)
    with pytest.raises(Fenced):
        old.commit({b"r/x": b"late"})


def test_R5_and_R10_what_was_said_before_is_dropped_by_its_number() -> None:
    world, cid = _pair()
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    payments = alice.drivers["payments"]
    usable = ChannelUsable(
        channel_id=bytes.fromhex(cid), key_index=1, peer=bytes(33), scid=bytes(8)
    )
    payments.hear("monitors", payments._marks["monitors"], usable)
    assert alice.row("payments", f"channel/{cid}").peer == bob.id

    sentences.pay(alice, bob, 1_000_000, "after it")
    with pytest.raises(Gap):
        payments.hear("monitors", payments._marks["monitors"] + 2, usable)


@pytest.mark.parametrize("share", range(2))
def test_R7_the_whole_node_at_every_combination_of_disks(share: int, covered: Covered) -> None:
    """Of the one who relays: payments and the monitors of both channels."""
    report = subsets.every(
        diamond.line(), "bob", ["payments", "monitors-1", "monitors-2"], share=share, shares=4
    )
    assert report.failures == []
    covered("combinations of disks: a relay, a part", report.possible + report.refused)
    assert report.possible == report.survived > 0


# ---- bugs of others that must not be ours, by the number of their thread -------------------------


def test_ldk_3907_one_of_two_holds_is_not_enough_to_go_on() -> None:
    run = Claiming()
    a, b = run.cids
    run.step_until(lambda: run.claim() is not None, "the intent is written")
    run.without(b)
    for _ in range(20):
        run.world.advance()
    peers = run.bob.drivers["peers"]
    assert run.live(a).inbox
    peers.hear("monitors-1", 0, Held(channel_id=bytes.fromhex(a), hold="ours/77"))
    peers.hear("monitors-1", 0, Unheld(channel_id=bytes.fromhex(a), hold="ours/77"))
    run.world._flush(run.bob, "peers")

    assert run.live(a).inbox, "it went on with a hold left"
    run.again(b)
    run.claimed()


def test_ldk_4739_letting_go_of_what_is_not_held_changes_nothing() -> None:
    run = Claiming()
    (a, _) = run.cids
    for hold in ("ours/0", "claim/" + "00" * 32):
        unheld = Unheld(channel_id=bytes.fromhex(a), hold=hold)
        run.bob.drivers["peers"].hear("monitors-1", 0, unheld)
    run.claimed()


def test_ldk_3737_and_4436_durability_that_is_heard_out_of_order_frees_nothing_early() -> None:
    """An acknowledgement names the highest update: of an older one nothing more follows."""
    run = Relaying()
    run.step_until(lambda: run.live(run.u) and run.live(run.u).unacked, "an update is in flight")
    row = run.live(run.u)
    old = Durable(channel_id=row.channel.id, update_id=row.unacked[0].update_id - 1)
    run.bob.drivers["peers"].hear("monitors-1", 0, old)
    assert run.live(run.u).unacked == row.unacked
    run.paid()


def test_ldk_2112_the_sender_is_told_that_he_paid_whatever_dies() -> None:
    """The last revoke_and_ack is durable, payments has not heard."""
    run = Claiming()
    run.step_until(lambda: not run.alice.rows("monitors", "htlc") and run.claim() is None
                   and run.status() == "paid", "alice's HTLCs are gone")  # fmt: skip
    run.world.kill(run.alice, "payments")
    run.world.kill(run.alice)
    run.claimed()
    row = run.alice.row("payments", f"payment/{run.hash}")
    assert row.status == "complete"


def test_ldk_4854_two_htlcs_of_one_hash_and_amount_are_told_apart() -> None:
    """Both halves are equal: each is settled by its own number."""
    world, cid = _pair()
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    made = sentences.invoice(bob, 40_000_000, "twins")
    for number in (1, 2):
        sentences.send_part(alice, bob, made, 20_000_000, number)
    invoice = lambda: bob.rows("payments", "invoice")["invoice/twins"]  # noqa: E731
    sentences.until(world, lambda: invoice().status == "paid", "both are claimed")
    diamond.at_rest(world)
    assert diamond.balance_msat(bob) == 40_000_000
    assert alice.row("monitors", f"core/{cid}").our_next_htlc == 2
