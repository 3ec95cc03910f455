"""Each protective rule, switched off: something that must not happen then happens.

The numbers are those of the list of switches in the crash scenarios.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from actors.engine import driver
from actors.engine.driver import Driver
from actors.engine.host import Switches
from actors.testkit.explore import first_failure
from actors.testkit.node import sentences
from actors.testkit.node.stories import diamond, public, tale
from protocol.channel import machine as channel_machine
from protocol.channel import reestablish
from protocol.gossip import own_channels
from protocol.monitor import claims as monitor_claims
from protocol.monitor import machine as monitor_machine
from protocol.monitor.rows import CORES
from protocol.payments import claims as payment_claims
from protocol.peer import hosting
from tests.crash import test_claim_rows as claims
from tests.crash import test_forward_rows as forwards
from tests.crash import test_gossip_rows as gossip_rows
from tests.kit.claiming import Claiming, Relaying

Patch = pytest.MonkeyPatch
FAILS = (AssertionError, sentences.Refused, KeyError)


def _no_hold(patch: Patch) -> None:
    patch.setattr(channel_machine, "waits", lambda live, message: False)


def test_1_without_the_hold_a_claim_is_forgotten_on_one_channel(monkeypatch: Patch) -> None:
    _no_hold(monkeypatch)
    run = Claiming()
    claims.finish_a_without_b(run)

    with pytest.raises(AssertionError, match="secret is on A's disk"):
        claims.secret_is_kept_back(run)


def test_2_without_the_hold_a_forward_is_forgotten_downstream(monkeypatch: Patch) -> None:
    _no_hold(monkeypatch)
    run = Relaying(held=True)
    forwards.downstream_waits(run)

    with pytest.raises(AssertionError):
        forwards.the_preimage_is_not_forgotten(run)


@pytest.mark.parametrize("rule", [field.name for field in dataclasses.fields(Switches)])
def test_3_and_12_without_a_rule_of_the_driver_a_claim_ends_wrong(rule: str) -> None:
    """Save before send; inbox marks (repeated ids are dropped); resume; announced restarts."""
    switches = dataclasses.replace(Switches(), **{rule: False})

    assert first_failure(diamond.line(switches)).failures, f"{rule} protects no relay"
    assert first_failure(diamond.claim(2, switches)).failures, f"{rule} protects no claim"


def test_4_without_keeping_what_is_not_acknowledged_a_claim_is_lost(monkeypatch: Patch) -> None:
    """An entry of the outbox is gone as soon as it was said."""

    def forgets(self: Driver, name: str) -> None:
        self.outbox.waiting.pop(name, None)
        linked(self, name)

    linked = Driver.linked
    monkeypatch.setattr(driver.Driver, "linked", forgets)

    assert first_failure(diamond.claim(2)).failures


def test_5_without_a_hold_for_what_is_gone_already_a_restart_forgets(monkeypatch: Patch) -> None:
    """After a restart of the channel the hold has to be there, whatever HTLCs are left."""
    monkeypatch.setattr(monitor_claims, "holds", lambda step, cid: ())
    run = Claiming()
    claims.finish_a_without_b(run)
    run.world.kill(run.bob, "peers")
    for _ in range(20):
        run.world.advance()

    with pytest.raises(AssertionError):
        claims.secret_is_kept_back(run)


def test_6_without_looking_again_what_was_held_stays_held(monkeypatch: Patch) -> None:
    monkeypatch.setattr(hosting, "unheld", lambda us, step, channel_id, at: None)
    run = Claiming()
    claims.finish_a_without_b(run)
    run.again(run.cids[1])

    with pytest.raises(FAILS):
        run.claimed()


def test_7_without_half_proofs_on_disk_nothing_is_announced(monkeypatch: Patch) -> None:
    """The monitor forgets the peer's half with every update."""
    write = monitor_machine.snapshot.write

    def forgets(step: Any, cid: bytes, update: Any) -> None:
        write(step, cid, update)
        CORES.put(step, CORES.need(step, cid).but(their_half=None), cid)

    monkeypatch.setattr(monitor_machine.snapshot, "write", forgets)
    assert _fails(lambda: first_failure(public.story()))


def test_8_without_the_cross_check_a_lost_proof_stays_lost(monkeypatch: Patch) -> None:
    """Whatever stands in the graph of an own channel is believed to be right."""
    world = gossip_rows._announced()
    monkeypatch.setattr(own_channels, "_is_right", lambda step, scid, funding: True)
    gossip_rows._lose(world, "alice", "said/")

    with pytest.raises(AssertionError):
        sentences.until(world, lambda: public.knows_all(world, "alice"), "it knows it again", 100)


def test_9_without_the_mark_channel_ready_is_said_again_for_ever_or_never(
    monkeypatch: Patch,
) -> None:
    """The mark is lost with every restart: the channel is never usable again."""
    born = monitor_machine.snapshot.born

    def forgets(step: Any, cid: bytes, watch: Any) -> Any:
        found = born(step, cid, watch)
        core = found.channel.core.but(ready_sent=False)
        return found.but(channel=found.channel.but(core=core), confirmed=None)

    monkeypatch.setattr(monitor_machine.snapshot, "born", forgets)
    assert _fails(lambda: first_failure(tale.story()))


def test_10_in_another_order_than_at_first_the_dance_breaks(monkeypatch: Patch) -> None:
    """Always the revoke_and_ack first, whatever went first before the crash."""
    again = reestablish.on_reestablish

    def other_order(turn: Any, message: Any) -> None:
        core = turn.channel.core
        turn.set(turn.channel.with_core(commit_sent_last=not core.commit_sent_last))
        again(turn, message)

    monkeypatch.setattr(channel_machine.reestablish, "on_reestablish", other_order)
    assert _fails(lambda: first_failure(tale.story()))


def test_11_claims_that_are_named_by_their_hash_alone_take_the_wrong_parts(
    monkeypatch: Patch,
) -> None:
    """Two sets of one hash then have one name: the second's parts are taken for the first's."""
    monkeypatch.setattr(payment_claims, "payment_id", lambda payment_hash, places: payment_hash)

    with pytest.raises(AssertionError):
        claims.second_set_is_held_for_itself()


def _fails(story: Callable[[], Any]) -> bool:
    """A finding of the enumeration, or of the undisturbed story; a broken patch is none."""
    try:
        return bool(story().failures)
    except (AssertionError, sentences.Refused):
        return True
