"""Rows D1 to D13: the commitment dance, cut and killed at each of its steps."""

from __future__ import annotations

from typing import Any

import pytest

from actors.testkit.node import Node, World, sentences
from actors.testkit.node.stories import tale
from actors.testkit.node.wires import on_wire
from actors.testkit.points import at_commit, step_until
from protocol.wire import registry

ADD, COMMIT, REVOKE, FEE, SHUTDOWN = 128, 132, 133, 134, 38
AMOUNT = tale.TO_BOB_MSAT
VICTIMS = pytest.mark.parametrize("victim", ["node", "actor"])


def _open() -> tuple[World, str]:
    world = tale.begin()
    tale.open_it(world)
    return world, tale.the_channel(world)


def _paying() -> World:
    """alice has just been asked to pay bob."""
    world, _ = _open()
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    bolt11 = sentences.ask(
        bob, "payments", "invoice", label="x", amount_msat=AMOUNT, description="x"
    )["bolt11"]
    world.ask(alice, "payments", "pay", number="the payment", bolt11=bolt11)
    return world


def _paid_once(world: World) -> None:
    """The payment arrives once, and the channel goes on."""
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    cid = tale.the_channel(world)
    sentences.until(
        world,
        lambda: (
            bob.row("monitors", f"core/{cid}").ours_msat == AMOUNT
            and not bob.rows("monitors", "htlc")
        ),
        "it was paid",
    )
    assert [row.status for row in alice.rows("payments", "payment").values()] == ["complete"]
    assert alice.row("monitors", f"core/{cid}").our_next_htlc == 1
    sentences.pay(bob, alice, 1_000_000, "and back")
    assert alice.row("monitors", f"core/{cid}").failed is None


def _core(world: World, name: str) -> Any:
    return world.nodes[name].row("monitors", f"core/{tale.the_channel(world)}")


def _deliver(world: World, sender: str, receiver: str) -> None:
    world._deliver_wire((sender, receiver))


def test_D1_an_add_without_its_commitment_is_forgotten() -> None:
    world = step_until(_paying(), lambda w: on_wire(w, "alice", "bob", ADD))
    _deliver(world, "alice", "bob")  # the add arrives, commitment_signed does not

    world.cut(world.nodes["alice"], world.nodes["bob"])

    _paid_once(world)


@VICTIMS
def test_D2_a_durable_commitment_that_was_not_sent_is_sent_again(victim: str) -> None:
    crashed = at_commit(
        _paying(), "alice", "monitors", "after", victim, lambda w: _core(w, "alice").their_number
    )
    assert not on_wire(crashed, "alice", "bob", COMMIT)

    _paid_once(crashed)


def test_D3_D6_nothing_is_said_before_it_is_durable() -> None:
    """At every moment: a commitment_signed or revoke_and_ack under way is in its sender's store."""
    world = _paying()
    seen = {COMMIT: 0, REVOKE: 0}
    signed: dict[str, dict[bytes, int]] = {"alice": {}, "bob": {}}
    for _ in range(3000):
        _number_commitments(world, signed)
        for (sender, _receiver), queue in world.wires.items():
            for _, data in queue:
                kind = int.from_bytes(data[:2], "big")
                if kind == COMMIT:
                    seen[COMMIT] += 1
                    assert _stored(world, sender).their_number == signed[sender][data]
                if kind == REVOKE:
                    seen[REVOKE] += 1
                    _assert_revoked(world, sender, data)
        if not world.step():
            break
    assert seen[COMMIT] and seen[REVOKE]


def _number_commitments(world: World, signed: dict[str, dict[bytes, int]]) -> None:
    """Each different commitment_signed of a side is for its next commitment number."""
    for (sender, _), queue in world.wires.items():
        for _, data in queue:
            if int.from_bytes(data[:2], "big") == COMMIT:
                signed[sender].setdefault(data, len(signed[sender]) + 1)


def _stored(world: World, name: str) -> Any:
    """The core as it is on the disk."""
    from actors.tree import NODE

    key = f"core/{tale.the_channel(world)}"
    data = world.nodes[name].disks["monitors"].data[b"r/" + key.encode()]
    return NODE.keeps["monitors"].decode(key, data)


def _assert_revoked(world: World, sender: str, data: bytes) -> None:
    message: Any = registry.decode(data)
    node = world.nodes[sender]
    secrets = node.drivers["funding"].machine.us.secrets(  # type: ignore[attr-defined]
        node.row("monitors", f"setup/{tale.the_channel(world)}").key_index
    )
    number = _stored(world, sender).our_number
    known = {secrets.commitment_secret(n): n for n in range(number + 2)}
    released = [known[message.per_commitment_secret]]
    assert released and released[0] < number, "the secret of the newest commitment was released"


@VICTIMS
@pytest.mark.parametrize("when", ["before", "after"])
def test_D4_D5_the_peers_commitment_before_and_after_its_write(victim: str, when: str) -> None:
    """Before: it comes again. After: the revocation is sent again."""
    crashed = at_commit(
        _paying(), "bob", "monitors", when, victim, lambda w: _core(w, "bob").our_number
    )
    assert (0 if when == "before" else 1) == _stored(crashed, "bob").our_number
    assert not on_wire(crashed, "bob", "alice", REVOKE)

    _paid_once(crashed)


def test_D7_revoke_and_commitment_keep_their_order() -> None:
    """Both are owed after the break: first what was first."""
    world = step_until(
        _paying(),
        lambda w: on_wire(w, "bob", "alice", REVOKE) and on_wire(w, "bob", "alice", COMMIT),
    )
    order = [int.from_bytes(data[:2], "big") for _, data in world.wires["bob", "alice"]]

    world.kill(world.nodes["bob"])
    again: list[int] = []
    for _ in range(2000):
        queue = world.wires.get(("bob", "alice"), ())
        kinds = [int.from_bytes(data[:2], "big") for _, data in queue]
        again = again or [kind for kind in kinds if kind in (COMMIT, REVOKE)]
        if len(again) == 1:
            again = []
        if again or not world.step():
            if again:
                break
            world.tick(0.1)

    assert [kind for kind in order if kind in (COMMIT, REVOKE)] == again
    _paid_once(world)


@VICTIMS
@pytest.mark.parametrize("when", ["before", "after"])
def test_D8_D9_the_peers_revocation_before_and_after_its_write(victim: str, when: str) -> None:
    """D8: it comes again, the secret is stored once. D9: the HTLC is handed on exactly once."""
    crashed = at_commit(
        _paying(), "bob", "monitors", when, victim, lambda w: _core(w, "bob").their_revoked
    )

    _paid_once(crashed)
    assert len(
        [row for row in crashed.nodes["bob"].rows("payments", "invoice").values()
         if row.status == "paid"]
    ) == 1  # fmt: skip


def test_D10_an_old_snapshot_is_found_out_and_never_broadcast() -> None:
    """The peer proves that we are behind: we say so, and do nothing else, for ever."""
    world, cid = _open()
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    old = {role: disk.copy() for role, disk in alice.disks.items()}
    sentences.pay(alice, bob, AMOUNT, "one")
    sentences.pay(alice, bob, AMOUNT, "two")
    world.settle()
    for role, disk in old.items():  # an old copy of the whole node, with its marks
        disk.mirror = disk.mark
        alice.disks[role] = disk

    world.kill(alice)
    sentences.until(world, lambda: _core(world, "alice").failed, "alice learns it")

    assert _core(world, "alice").fell_behind
    assert "lost data" in _core(world, "alice").failed
    assert not world.chain.mempool
    assert _core(world, "bob").failed


@pytest.mark.parametrize("role", ["peers", "monitors", "*"])
def test_D11_shutdown_is_said_again(role: str) -> None:
    world, cid = _open()
    sentences.pay(world.nodes["alice"], world.nodes["bob"], AMOUNT, "one")
    alice = world.nodes["alice"]
    script = alice.purse.script(100)
    world.ask(alice, "monitors", "close", channel_id=cid, script=script.hex(), feerate_per_kw=1000)
    step_until(world, lambda w: on_wire(w, "alice", "bob", SHUTDOWN))

    world.kill(alice, role)

    sentences.until(world, lambda: world.chain.mempool, "closed all the same")


def test_D12_a_fee_that_was_not_committed_is_undone() -> None:
    world, _ = _open()
    world.chain.feerate_per_kw = 3000
    world.chain.mine()
    step_until(_ticking(world), lambda w: on_wire(w, "alice", "bob", FEE))
    _deliver(world, "alice", "bob")

    world.kill(world.nodes["bob"], "peers")

    sentences.until(
        world, lambda: _core(world, "bob").fees[-1].feerate_per_kw == 3000, "the new fee"
    )
    sentences.pay(world.nodes["alice"], world.nodes["bob"], AMOUNT, "at the new feerate")
    assert len(_core(world, "alice").fees) == 1


def _ticking(world: World) -> World:
    world.tick(0.2)
    return world


def _wishes(node: Node) -> int:
    """Offered, or already in a commitment that the peer has not seen."""
    return len(node.rows("monitors", "add_htlc")) + len(node.rows("monitors", "htlc"))


@pytest.mark.parametrize("role", ["peers", "monitors", "payments", "*"])
def test_D13_what_waits_while_the_peer_is_away_is_kept(role: str) -> None:
    world = _paying()
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    step_until(world, lambda w: alice.rows("monitors", "add_htlc"))
    bob.listening = False
    world.cut(alice, bob)
    world.settle()
    assert _wishes(alice) == 1

    world.kill(alice, role)
    world.settle()
    assert _wishes(alice) == 1
    bob.listening = True

    _paid_once(world)
