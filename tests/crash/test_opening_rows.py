"""Rows F21 to F24, G8, G12, G15, G16, and the options of an opening, with two victims each."""

from __future__ import annotations

from typing import Any

import pytest

from actors.testkit.node import World, sentences
from actors.testkit.node.stories import public, several, tale
from actors.testkit.points import at_commit, step_until
from protocol.scid import alias_of, is_alias
from protocol.wire.gossip import AnnouncementSignatures
from tests.kit.wires import say

VICTIMS = pytest.mark.parametrize("victim", ["node", "actor"])
NAMES = pytest.mark.parametrize("name", ["alice", "bob"])
HALF = 259


def _both(world: World) -> tuple[Any, Any]:
    return world.nodes["alice"], world.nodes["bob"]


def _kill(world: World, name: str, victim: str, role: str) -> None:
    world.kill(world.nodes[name], "*" if victim == "node" else role)


def _watch(world: World, name: str, cid: str) -> Any:
    return world.nodes[name].row("monitors", f"watch/{cid}")


# ---- F21: the funding transaction moves -------------------------------------------------------


@NAMES
@VICTIMS
@pytest.mark.parametrize("public_channel", [True, False])
@pytest.mark.parametrize("role", ["funding", "chain", "monitors"])
def test_F21_the_funding_transaction_moves_after_channel_ready_while_one_is_down(
    name: str, victim: str, public_channel: bool, role: str
) -> None:
    """Also a private channel gets its new scid; an announced one is announced at its new place."""
    world = tale.begin()
    alice, bob = _both(world)
    cid = sentences.open_channel(alice, bob, tale.CAPACITY_SAT, announce=public_channel)
    before = alice.row("monitors", f"core/{cid}").scid

    world.chain.reorganise(3)
    _kill(world, name, victim, role)
    sentences.until(world, lambda: world.chain.mempool, "it waits again for a block")
    for _ in range(7):
        world.mine()

    sentences.until(
        world,
        lambda: all(
            node.row("monitors", f"core/{cid}").scid not in (None, before) for node in (alice, bob)
        ),
        "both know the new place",
    )
    scids = [node.row("monitors", f"core/{cid}").scid for node in (alice, bob)]
    assert scids[0] == scids[1]
    sentences.pay(alice, bob, 1_000_000, "at its new place")
    if public_channel:
        sentences.until(
            world, lambda: all(public.knows_all(world, one) for one in world.nodes), "announced"
        )
        assert list(alice.rows("gossiper", "edge")) == [f"edge/{scids[0].hex()}"]


# ---- F22: without confirmation ----------------------------------------------------------------


def _unconfirmed() -> tuple[World, str]:
    world = tale.begin()
    alice, bob = _both(world)
    several.trust(bob, alice)
    world.advance()  # both have seen the newest blocks: an HTLC's expiry depends on it
    cid = sentences.start_opening(alice, bob, tale.CAPACITY_SAT, announce=True, mindepth=0)
    sentences.until(
        world, lambda: sentences.usable(alice, cid) and sentences.usable(bob, cid), "usable at once"
    )
    return world, cid


@NAMES
@VICTIMS
@pytest.mark.parametrize("role", ["funding", "monitors", "peers", "payments"])
def test_F22_an_alias_outlives_a_crash_until_the_real_place_is_known(
    name: str, victim: str, role: str
) -> None:
    world, cid = _unconfirmed()
    alice, bob = _both(world)
    alias = alias_of(bytes.fromhex(cid))
    assert alice.row("monitors", f"core/{cid}").scid == alias
    assert is_alias(alias)

    _kill(world, name, victim, role)
    sentences.pay(alice, bob, 1_000_000, "before it is mined")
    assert [node.row("monitors", f"core/{cid}").scid for node in (alice, bob)] == [alias] * 2
    sentences.until(world, lambda: world.chain.mempool, "it is sent")
    for _ in range(7):
        world.mine()

    scids = [node.row("monitors", f"core/{cid}").scid for node in (alice, bob)]
    assert scids[0] == scids[1] != alias
    assert bob.row("monitors", f"core/{cid}").their_alias == alias
    sentences.until(
        world, lambda: all(public.knows_all(world, one) for one in world.nodes), "announced"
    )


def test_a_stranger_is_not_trusted_with_an_unconfirmed_channel() -> None:
    world = tale.begin()
    alice, bob = _both(world)
    sentences.connect(alice, bob)

    with pytest.raises(sentences.Refused, match="we do not trust you"):
        sentences.ask(
            alice, "funding", "fundchannel",
            **sentences.to_open(bob, tale.CAPACITY_SAT, mindepth=0),
        )  # fmt: skip

    assert not alice.rows("funding", "opening")
    sentences.until(world, lambda: not alice.rows("wallet", "reservation"), "coins are free")


# ---- F23, F24 ---------------------------------------------------------------------------------


@VICTIMS
def test_F23_a_funding_transaction_that_never_confirms_is_forgotten_by_the_accepter(
    victim: str,
) -> None:
    """Both were down all the time; the opener keeps the channel, for the money is its own."""
    world = tale.begin()
    alice, bob = _both(world)
    cid = sentences.start_opening(alice, bob, tale.CAPACITY_SAT, announce=False)
    world.settle()
    for node in (alice, bob):
        for role in list(node.drivers):
            world.stop(node, role)
    world.chain.mempool.clear()
    world.chain.mine(2017)

    for node in (alice, bob):
        _kill(world, node.name, "node", "*")
    _kill(world, "bob", victim, "funding")
    world.tick()
    world.settle(limit=200_000)  # wallets and gossipers read two thousand blocks

    sentences.until(world, lambda: not bob.rows("funding", "opening"), "bob has forgotten it")
    assert bob.row("monitors", f"setup/{cid}") is None
    (record,) = alice.rows("funding", "opening").values()
    assert (record.channel_id.hex(), record.state) == (cid, "confirming")
    assert alice.row("monitors", f"setup/{cid}") is not None


@VICTIMS
def test_F24_the_accepter_dies_after_funding_signed_and_has_a_policy_all_the_same(
    victim: str,
) -> None:
    world = tale.begin()
    alice, bob = _both(world)
    sentences.connect(alice, bob)
    world.ask(
        alice, "funding", "fundchannel", number="open",
        **sentences.to_open(bob, tale.CAPACITY_SAT),
    )  # fmt: skip
    step_until(world, lambda w: any(int.from_bytes(data[:2], "big") == 35 for _, data in
                                    w.wires.get(("bob", "alice"), ())))  # fmt: skip

    _kill(world, "bob", victim, "gossiper")
    sentences.until(world, lambda: world.chain.mempool or "open" in alice.answers, "it goes on")
    if not world.chain.mempool:  # funding_signed died with its sender: a person tries again
        sentences.start_opening(alice, bob, tale.CAPACITY_SAT, announce=True)
        sentences.until(world, lambda: world.chain.mempool, "sent")
    for _ in range(7):
        world.mine()

    sentences.until(
        world, lambda: all(public.knows_all(world, one) for one in world.nodes), "both policies"
    )


# ---- G8, G12, G15, G16 ------------------------------------------------------------------------


def _announced() -> tuple[World, str]:
    world = tale.begin()
    alice, bob = _both(world)
    cid = sentences.open_channel(alice, bob, tale.CAPACITY_SAT, announce=True)
    for _ in range(4):
        world.mine()
    sentences.until(
        world, lambda: all(public.knows_all(world, one) for one in world.nodes), "announced"
    )
    return world, cid


@NAMES
@VICTIMS
def test_G8_a_half_that_is_still_there_leads_to_no_second_announcement(
    name: str, victim: str
) -> None:
    world, _ = _announced()
    before = public.announcements(world.nodes[name])
    serial = world.nodes[name].row("gossiper", "~serial")

    _kill(world, name, victim, "gossiper")
    said = []
    for _ in range(200):
        said += [
            int.from_bytes(data[:2], "big") for queue in world.wires.values() for _, data in queue
        ]
        if not world.step():
            world.tick(0.25)

    assert HALF not in said
    assert before == public.announcements(world.nodes[name])
    assert serial == world.nodes[name].row("gossiper", "~serial"), "nothing was made anew"


def test_G12_halves_for_a_wrong_place_are_bounded_and_go_with_the_channel() -> None:
    """One half is kept for a channel, whatever the peer sends; none for an unknown channel."""
    world = tale.begin()
    alice, bob = _both(world)
    cid = sentences.open_channel(alice, bob, tale.CAPACITY_SAT, announce=True)
    size = len(bob.disks["monitors"].data)

    for number in range(50):
        for channel in (bytes.fromhex(cid), number.to_bytes(32, "big")):
            half = AnnouncementSignatures(
                channel_id=channel, short_channel_id=number.to_bytes(8, "big"),
                node_signature=bytes(64), bitcoin_signature=bytes(64),
            )  # fmt: skip
            if ("alice", "bob") in world.wires:
                say(world, "alice", "bob", half)
                world.settle()

    assert len(bob.disks["monitors"].data) <= size + 2
    world.advance(30)
    sentences.until(world, lambda: sentences.usable(alice, cid), "connected again")
    sentences.close(alice, cid)
    sentences.until(world, lambda: _watch(world, "bob", cid).ended, "closed")
    assert bob.row("monitors", f"core/{cid}").their_half is None


@NAMES
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("row", ["own", "edge", "node"])
def test_G15_the_gossiper_crashes_alone_and_is_told_again(name: str, when: str, row: str) -> None:
    world = tale.begin()
    alice, bob = _both(world)
    sentences.open_channel(alice, bob, tale.CAPACITY_SAT, announce=True)
    for _ in range(3):
        world.chain.mine()
    world.tick()

    crashed = at_commit(
        world, name, "gossiper", when, "actor", lambda w: w.nodes[name].rows("gossiper", row)
    )

    sentences.until(
        crashed, lambda: all(public.knows_all(crashed, one) for one in crashed.nodes), "announced"
    )


@NAMES
def test_G16_a_gossiper_that_is_behind_announces_when_it_comes_back(name: str) -> None:
    """Both halves are made and durable while it is away, and everybody else is done."""
    world = tale.begin()
    alice, bob = _both(world)
    cid = sentences.open_channel(alice, bob, tale.CAPACITY_SAT, announce=True)
    node = world.nodes[name]
    world.stop(node, "gossiper")
    for _ in range(4):
        world.mine()
    sentences.until(
        world,
        lambda: all(one.row("monitors", f"core/{cid}").their_half for one in (alice, bob)),
        "both have both",
    )
    world.kill(node, "funding")
    world.kill(node, "monitors")

    world.start_again(node, "gossiper")

    sentences.until(
        world, lambda: all(public.knows_all(world, one) for one in world.nodes), "announced"
    )


# ---- options of an opening --------------------------------------------------------------------


def test_close_to_is_promised_and_kept() -> None:
    world = tale.begin()
    alice, bob = _both(world)
    script = alice.purse.script(77)
    cid = sentences.open_channel(alice, bob, tale.CAPACITY_SAT, close_to=script.hex())
    assert bob.row("monitors", f"setup/{cid}").theirs.shutdown_script == script

    with pytest.raises(sentences.Refused, match="another close_to"):
        sentences.ask(
            alice, "monitors", "close", channel_id=cid, script=alice.purse.script(78).hex(),
            feerate_per_kw=1000, chosen=True,
        )  # fmt: skip
    sentences.close(alice, cid)

    assert alice.row("monitors", f"core/{cid}").our_shutdown == script


def test_a_reserve_that_is_asked_for_is_what_the_peer_must_keep() -> None:
    world = tale.begin()
    alice, bob = _both(world)

    cid = sentences.open_channel(alice, bob, tale.CAPACITY_SAT, reserve_sat=20_000)

    assert bob.row("monitors", f"setup/{cid}").theirs.channel_reserve_sat == 20_000


def test_a_large_channel_waits_longer() -> None:
    world = tale.begin()
    alice, bob = _both(world)

    cid = sentences.start_opening(alice, bob, 50_000_000)

    assert alice.row("monitors", f"setup/{cid}").minimum_depth == 6


def test_a_channel_with_an_alias_is_named_by_it() -> None:
    world = tale.begin()
    alice, bob = _both(world)

    cid = sentences.open_channel(alice, bob, tale.CAPACITY_SAT, kind=[12, 22, 46])

    for node in (alice, bob):
        assert node.row("monitors", f"setup/{cid}").kind == {12, 22, 46}
        assert node.row("monitors", f"core/{cid}").their_alias == alias_of(bytes.fromhex(cid))


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({"amount_sat": 9_999}, 302),
        ({"push_msat": tale.CAPACITY_SAT * 1000 + 1}, -32602),
        ({"kind": [12, 22, 46], "announce": True}, -32602),
        ({"kind": [22]}, -32602),
        ({"reserve_sat": tale.CAPACITY_SAT}, -32602),
        ({"amount_sat": 60 * 100_000_000 * 100}, 301),
    ],
)
def test_a_wish_that_cannot_be_granted_is_refused_with_its_code(
    wish: dict[str, Any], code: int
) -> None:
    world = tale.begin()
    alice, bob = _both(world)
    sentences.connect(alice, bob)
    wanted = {"amount_sat": tale.CAPACITY_SAT, "announce": False} | wish

    with pytest.raises(sentences.Refused) as refused:
        sentences.ask(alice, "funding", "fundchannel", **sentences.to_open(bob, **wanted))

    assert refused.value.code == code
    assert not alice.rows("funding", "~group")
    assert not alice.rows("funding", "opening")


def test_who_drops_out_early_is_left_out_when_enough_remain() -> None:
    world = several.begin()
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    sentences.connect(alice, bob)  # and not to carol

    result = sentences.ask(
        alice, "funding", "multifundchannel", destinations=several.destinations(world), least=1
    )

    assert [row["id"] for row in result["channel_ids"]] == [bob.id.hex()]
    assert [row["id"] for row in result["failed"]] == [world.nodes["carol"].id.hex()]
    assert len(alice.rows("funding", "opening")) == 1


def test_without_enough_of_them_nothing_is_opened() -> None:
    world = several.begin()
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    sentences.connect(alice, bob)

    with pytest.raises(sentences.Refused, match="not connected"):
        sentences.ask(
            alice, "funding", "multifundchannel", destinations=several.destinations(world)
        )

    world.settle()
    for node in (alice, bob):
        assert not node.rows("funding", "~nego")
        assert not node.rows("funding", "opening")
    assert not world.chain.mempool
