"""A peer that plays with order and outputs of openings; a wire that breaks at a bad moment."""

from __future__ import annotations

from typing import Any

import pytest

from actors.testkit.explore import Story, explore
from actors.testkit.node import Node, World, sentences
from actors.testkit.node.stories import several, tale
from actors.testkit.node.wires import on_wire
from actors.testkit.points import step_until
from protocol.bitcoin.transaction import Outpoint, display, parse
from protocol.chain.port import Tried
from protocol.channel.messages import ChannelEnded, FundingConfirmed
from protocol.channel.state import channel_id
from protocol.crypto.keys import ChannelSecrets
from protocol.funding import establishment
from protocol.funding.policy import OpeningPolicy
from protocol.machine import Ask
from protocol.monitor.messages import ForgetUnfunded, Guard
from protocol.wallet.messages import ReleaseCoins, ReserveCoins
from protocol.wire import registry, setup
from protocol.wire.opening import AcceptChannel, FundingCreated, FundingSigned
from tests.conftest import Covered
from tests.kit import enforcing
from tests.kit.wires import say, take

SIGNED, ACCEPT = 35, 33
ATTACKER = ChannelSecrets(b"a" * 32, 1)


def _fake(world: World, sender: str, receiver: str, number: int = 0) -> Any:
    """open_channel of the attacker, accepted; -> what makes its funding_created."""
    asked = establishment.open_channel(
        network="regtest", temporary_id=bytes([number]) * 32, amount_sat=100_000, push_msat=0,
        feerate_per_kw=1000, kind=frozenset({12, 22}), announce=False,
        party=establishment.our_party(OpeningPolicy(), ATTACKER, 100_000),
        first_point=ATTACKER.commitment_point(0), upfront=b"",
    )  # fmt: skip
    say(world, sender, receiver, asked)
    step_until(world, lambda w: on_wire(w, receiver, sender, ACCEPT))
    accepted = registry.decode(take(world, receiver, sender, ACCEPT))
    assert isinstance(accepted, AcceptChannel)
    peer = world.nodes[sender].id

    def created(funding: Outpoint) -> FundingCreated:
        channel = establishment.first_channel(
            opened=asked, accepted=accepted, funding=funding, we_opened=True, peer=peer,
            key_index=1, minimum_depth=1,
            ours=establishment.our_party(OpeningPolicy(), ATTACKER, 100_000),
        )  # fmt: skip
        return FundingCreated(
            temporary_channel_id=asked.temporary_channel_id,
            funding_txid=funding.txid,
            funding_output_index=funding.vout,
            signature=establishment.sign_first(channel, ATTACKER),
        )

    return created


def _asked() -> tuple[World, Node, Node]:
    """bob has signed alice's opening, and his signature is on its way."""
    world = tale.begin()
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    sentences.connect(alice, bob)
    return world, alice, bob


def _ask(world: World, alice: Node, bob: Node) -> None:
    world.ask(
        alice, "funding", "fundchannel", number="first",
        **sentences.to_open(bob, tale.CAPACITY_SAT, announce=False),
    )  # fmt: skip
    step_until(world, lambda w: on_wire(w, "bob", "alice", SIGNED))


@pytest.mark.parametrize("order", ["fake first", "signature first"])
def test_nobody_opens_a_channel_on_an_output_of_ours(order: str) -> None:
    """The peer knows the output as soon as it hears funding_created: it must not be its channel."""
    world, alice, bob = _asked()
    created = _fake(world, "bob", "alice")
    _ask(world, alice, bob)
    signed = take(world, "bob", "alice", SIGNED)
    (ours,) = [row for row in alice.rows("funding", "~nego").values() if row.we_opened]
    said = [created(ours.channel.setup.funding).encode(), signed]

    for message in said if order == "fake first" else said[::-1]:
        say(world, "bob", "alice", message)
    sentences.until(world, lambda: world.chain.mempool, "alice's transaction is sent")

    (record,) = alice.rows("funding", "opening").values()
    assert record.we_opened
    core = alice.row("monitors", f"core/{record.channel_id.hex()}")
    assert core.signed[0].signature == registry.decode(signed).signature  # type: ignore[union-attr]


def test_two_fakes_on_one_output_are_one() -> None:
    world, alice, _ = _asked()
    first = _fake(world, "bob", "alice")
    output = Outpoint(b"\x11" * 32, 0)
    say(world, "bob", "alice", first(output))
    step_until(world, lambda w: on_wire(w, "alice", "bob", SIGNED))
    take(world, "alice", "bob", SIGNED)  # bob's own node would say that it knows nothing of it
    world.settle()

    for number in range(1, 4):
        both = [_fake(world, "bob", "alice", 2 * number + one)(output) for one in (0, 1)]
        for created in both:
            say(world, "bob", "alice", created)
        world.settle()

    kept = {key.removeprefix("watch/") for key in alice.rows("monitors", "watch")}
    openings = alice.rows("funding", "opening").values()
    assert kept == {row.channel_id.hex() for row in openings}
    assert len(openings) == 1


def test_a_strangers_opening_takes_no_watch_of_ours_away() -> None:
    """On another output of a real channel's transaction, where there is none."""
    world = World()
    for name in ("alice", "bob", "carol"):
        world.node(name)
    world.advance()
    alice, bob, carol = (world.nodes[name] for name in ("alice", "bob", "carol"))
    cid = sentences.open_channel(alice, bob, tale.CAPACITY_SAT)
    txid = alice.row("monitors", f"setup/{cid}").funding_txid
    sentences.connect(carol, alice)
    created = _fake(world, "carol", "alice")

    say(world, "carol", "alice", created(Outpoint(txid, 7)))
    for _ in range(4):
        world.mine()
    sentences.close(bob, cid)

    sentences.until(
        world, lambda: alice.row("monitors", f"watch/{cid}").ended == "mutual", "alice has seen it"
    )


def test_a_signature_that_is_taken_back_at_once_is_none() -> None:
    """An error right behind funding_signed: nothing is sent, the coins are free, alice is told."""
    world, alice, bob = _asked()
    _ask(world, alice, bob)
    (ours,) = alice.rows("funding", "~nego").values()

    say(world, "bob", "alice", setup.Error(channel_id=ours.channel.id, data=b"I cannot"))
    sentences.until(world, lambda: "first" in alice.answers, "the question is answered")

    assert "I cannot" in alice.answers["first"].text
    assert not world.chain.mempool
    sentences.until(world, lambda: not alice.rows("wallet", "reservation"), "coins are free")


def test_a_wire_that_breaks_while_the_monitors_are_away_costs_no_channel() -> None:
    """The peer speaks of a channel that is not born yet: it is told to come later."""
    world, alice, bob = _asked()
    _ask(world, alice, bob)
    world.stop(alice, "monitors")
    step_until(world, lambda w: alice.rows("funding", "opening"))
    world.cut(alice, bob)
    for _ in range(20):
        world.advance()
    world.start_again(alice, "monitors")
    (record,) = alice.rows("funding", "opening").values()

    sentences.confirm(world, alice)
    cid = record.channel_id.hex()

    sentences.until(
        world, lambda: all(sentences.usable(node, cid) for node in (alice, bob)), "usable"
    )
    sentences.pay(alice, bob, 1_000_000, "over it")


def test_channel_ready_before_the_others_have_signed_is_kept() -> None:
    """bob, who trusts alice, is ready at once; carol takes her time."""
    world = several.begin()
    alice, bob, carol = (world.nodes[name] for name in ("alice", "bob", "carol"))
    for peer in (bob, carol):
        sentences.connect(alice, peer)
    world.ask(
        alice, "funding", "multifundchannel", number="both",
        destinations=several.destinations(world),
    )  # fmt: skip
    step_until(world, lambda w: on_wire(w, "carol", "alice", SIGNED))
    late = take(world, "carol", "alice", SIGNED)
    world.settle()
    say(world, "carol", "alice", late)

    result = sentences.answered(alice, "both")

    assert len(result["channel_ids"]) == 2
    cid = several.channels(world)["bob"]
    sentences.until(
        world, lambda: all(sentences.usable(node, cid) for node in (alice, bob)), "usable"
    )


@pytest.mark.parametrize("order", [0, 1])
def test_a_coin_is_never_chosen_for_two_openings(order: int) -> None:
    """Also when a release comes between the library's choice and its row."""
    world = tale.begin()
    alice = world.nodes["alice"]
    world.stop(alice, "funding")  # which would give back what it has not asked for
    wallet = alice.drivers["wallet"]
    wallet.hear("chain", 0, alice.row("chain", "~tip"))

    def asks(purpose: str) -> ReserveCoins:
        outputs = ((b"\x00\x20" + bytes(32), 1_000_000),)
        return ReserveCoins(purpose=purpose, outputs=outputs, feerate_per_kw=1000)

    wallet.hear("funding", 0, asks("c"))
    wallet.flush()
    world.settle()
    batch = [asks("a"), ReleaseCoins(purpose="c")]
    for item in batch if order == 0 else batch[::-1]:
        wallet.hear("funding", 0, item)
    wallet.flush()
    world.settle()
    wallet.hear("funding", 0, asks("b"))
    wallet.flush()
    world.settle()

    rows = [parse(row.raw) for row in alice.rows("wallet", "reservation").values()]
    coins = [spent.outpoint for tx in rows for spent in tx.inputs]
    assert len(rows) == 2
    assert len(coins) == len(set(coins))


def test_a_monitor_that_refuses_one_of_a_group_ends_all_of_it() -> None:
    """Told by hand: nothing is sent, coins are free, the question is answered, peers are told."""
    world = several.begin()
    alice = world.nodes["alice"]
    for name in several.AMOUNTS:
        sentences.connect(alice, world.nodes[name])
    world.ask(
        alice, "funding", "multifundchannel", number="both",
        destinations=several.destinations(world),
    )  # fmt: skip
    world.stop(alice, "monitors")
    step_until(world, lambda w: len(alice.rows("funding", "opening")) == 2)
    record = next(iter(alice.rows("funding", "opening").values()))

    ended = ChannelEnded(
        channel_id=record.channel_id, key_index=record.key_index, reason="duplicate"
    )
    alice.drivers["funding"].hear("monitors", 0, ended)
    while alice.drivers["funding"].busy:
        alice.drivers["funding"].flush()
    world.start_again(alice, "monitors")
    world.settle()

    assert alice.answers["both"].code == -1
    assert not world.chain.mempool
    assert not alice.rows("funding", "opening")
    assert not alice.rows("wallet", "reservation")


def _twin(funding: Outpoint) -> Outpoint:
    """Another output with the same channel id."""
    tail = (int.from_bytes(funding.txid[-2:], "big") ^ 1).to_bytes(2, "big")
    return Outpoint(funding.txid[:-2] + tail, funding.vout ^ 1)


@pytest.mark.parametrize("order", ["twin first", "signature first"])
def test_nobody_opens_a_channel_that_has_the_id_of_ours(order: str) -> None:
    """While the monitor writes the one, funding_signed for the other comes, and its answer late."""
    world, alice, bob = _asked()
    created = _fake(world, "bob", "alice")
    _ask(world, alice, bob)
    signed = take(world, "bob", "alice", SIGNED)
    (ours,) = [row for row in alice.rows("funding", "~nego").values() if row.we_opened]
    funding = ours.channel.setup.funding
    assert channel_id(_twin(funding)) == channel_id(funding)
    said = [created(_twin(funding)).encode(), signed]

    for message in said if order == "twin first" else said[::-1]:
        say(world, "bob", "alice", message)
    sentences.until(world, lambda: world.chain.mempool, "alice's transaction is sent")

    (record,) = alice.rows("funding", "opening").values()
    assert record.we_opened
    (setup,) = alice.rows("monitors", "setup").values()
    assert setup.funding == funding
    assert list(world.chain.mempool) == [funding.txid]


def test_a_monitor_keeps_the_channel_that_it_has_whatever_a_second_opening_wants() -> None:
    """The id is taken there: the second one ends, and the first one's watch and money stay."""
    world, alice, bob = _asked()
    _ask(world, alice, bob)
    sentences.until(world, lambda: world.chain.mempool, "alice's transaction is sent")
    (record,) = alice.rows("funding", "opening").values()
    cid = record.channel_id.hex()
    whole, _ = enforcing.channel(alice, cid)
    second = whole.setup.but(key_index=77)
    monitor = alice.drivers["monitors"]

    monitor.hear("funding", 0, Guard(channel=whole.but(setup=second), since=0))
    monitor.hear("funding", 0, ForgetUnfunded(channel_id=whole.id, key_index=77))
    locked = FundingConfirmed(channel_id=whole.id, key_index=77, scid=bytes(8))
    monitor.hear("funding", 0, locked)
    while monitor.busy:
        monitor.flush()
    world.settle()

    assert alice.row("monitors", f"setup/{cid}") == whole.setup
    assert alice.row("monitors", f"watch/{cid}").confirmed is None
    assert alice.row("funding", f"opening/{record.key_index}").state == "confirming"


@pytest.mark.parametrize("state", ["accepted", "created"])
def test_a_message_of_the_other_role_ends_that_opening_and_nothing_else(state: str) -> None:
    """funding_signed, from who opens, under the temporary id."""
    world, alice, bob = _asked()
    created = _fake(world, "bob", "alice", 7)
    if state == "created":
        say(world, "bob", "alice", created(Outpoint(b"\x11" * 32, 0)))
    life = alice.drivers["funding"]

    signed = FundingSigned(channel_id=bytes([7]) * 32, signature=bytes(64))
    say(world, "bob", "alice", signed)
    accept = _fake(world, "bob", "alice", 9)
    world.settle()

    assert alice.drivers["funding"] is life
    assert accept is not None
    assert [row.temporary_id[0] for row in alice.rows("funding", "~nego").values()] == [9]


def test_a_defect_in_one_opening_ends_it_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    world, alice, bob = _asked()
    _fake(world, "bob", "alice", 7)
    created = _fake(world, "bob", "alice", 8)
    life = alice.drivers["funding"]

    def fails(*_: Any) -> None:
        raise AssertionError("a defect")

    monkeypatch.setattr(establishment, "check_first", fails)
    say(world, "bob", "alice", created(Outpoint(b"\x11" * 32, 0)))
    world.settle()

    assert alice.drivers["funding"] is life
    assert [row.temporary_id[0] for row in alice.rows("funding", "~nego").values()] == [7]


# ---- a transaction that the chain refuses --------------------------------------------------------


def _refused(world: World) -> None:
    alice, bob = world.nodes["alice"], world.nodes["bob"]
    for attempt in range(20):
        number = f"first/{attempt}"
        if number in alice.answers and alice.answers[number].code != 303:
            continue  # interrupted: asked again, as a person would
        if number not in alice.answers and number not in alice.asked:
            sentences.connect(alice, bob)
        try:
            asked = sentences.to_open(bob, tale.CAPACITY_SAT, announce=False)
            sentences.ask_once(alice, "funding", number, "fundchannel", **asked)
        except sentences.Refused as refused:
            if refused.code == 303:
                assert "missingorspent" in refused.text
                return
    raise AssertionError("it was never refused by the chain")


def _nothing_left(world: World) -> None:
    alice = world.nodes["alice"]
    sentences.until(world, lambda: not alice.rows("wallet", "reservation"), "coins are free")
    # a peer whose error was lost with the connection hears it on the next one
    sentences.connect(alice, world.nodes["bob"])
    world.advance(5)
    for node in world.nodes.values():
        for segment in ("opening", "~nego", "~group"):
            assert not node.rows("funding", segment), f"{node.name} keeps an {segment}"
        for segment in ("setup", "core", "watch"):
            assert not node.rows("monitors", segment), f"{node.name} keeps a {segment}"
        assert not [key for key in node.rows("chain", "send")]
    assert sentences.balance_sat(alice) == 100 * 100_000_000
    assert not world.chain.mempool


def _refusing() -> World:
    world = tale.begin()
    world.chain.refuses = True
    return world


def test_a_funding_transaction_that_the_chain_refuses_leaves_nothing_at_any_crash(
    covered: Covered,
) -> None:
    """Error 303 with the reason; the coins are free again, and neither side keeps a channel."""
    story = Story(begin=_refusing, sentences=[_refused], check=_nothing_left)
    report = explore(story)

    assert report.failures == []
    covered("crash points: a refused opening", report.points)
    assert report.points > 20


def test_the_answer_comes_when_the_chain_has_taken_the_transaction() -> None:
    """Not before: who mines a block right after it finds the channel in it."""
    world, alice, bob = _asked()
    _ask(world, alice, bob)
    step_until(world, lambda w: "first" in alice.answers)

    assert alice.answers["first"].result["txid"] in [display(t) for t in world.chain.mempool]


def test_what_is_refused_after_all_stays_and_is_sent_again() -> None:
    """Between the question and the sending the mempool has changed: a copy may have got out."""
    world, alice, bob = _asked()
    _ask(world, alice, bob)
    step_until(world, lambda w: alice.rows("chain", "~doubt"))
    step_until(world, lambda w: not alice.rows("chain", "~doubt"))
    world.chain.refuses = True
    sentences.until(world, lambda: "first" in alice.answers, "the question is answered")

    assert alice.answers["first"].code == 303
    assert "it will be sent again" in alice.answers["first"].text
    world.chain.refuses = False
    for _ in range(4):
        world.mine()
    (record,) = alice.rows("funding", "opening").values()
    cid = record.channel_id.hex()
    sentences.until(
        world, lambda: all(sentences.usable(node, cid) for node in (alice, bob)), "usable"
    )


def _kept_back(world: World, name: str) -> list[Any]:
    """What the backend has said of the transaction is on its way, and stays there."""
    step_until(world, lambda w: w.nodes[name].rows("chain", "~doubt"))
    queue = world.ports[name, "chain"]
    late = [one for one in queue if isinstance(one[1], Tried)]
    for one in late:
        queue.remove(one)
    assert late
    return late


@pytest.mark.parametrize("whole", [False, True], ids=["this channel", "all channels"])
def test_a_peer_that_takes_it_back_while_the_chain_is_asked_costs_no_coin(*, whole: bool) -> None:
    """The channel lives already, so that its error reaches the channel and not the opening."""
    world, alice, bob = _asked()
    _ask(world, alice, bob)
    late = _kept_back(world, "alice")
    world.settle()
    (record,) = alice.rows("funding", "opening").values()

    named = setup.ALL_CHANNELS if whole else record.channel_id
    say(world, "bob", "alice", setup.Error(channel_id=named, data=b"I cannot"))
    world.settle()
    world.ports["alice", "chain"].extend(late)
    world.settle()

    assert alice.answers["first"].code == -1
    assert not world.chain.mempool
    assert not alice.rows("funding", "opening") and not alice.rows("monitors", "setup")
    assert not alice.rows("wallet", "reservation")


def test_an_error_for_all_channels_right_behind_the_signature_is_a_refusal() -> None:
    world, alice, bob = _asked()
    _ask(world, alice, bob)

    say(world, "bob", "alice", setup.Error(channel_id=setup.ALL_CHANNELS, data=b"no"))
    sentences.until(world, lambda: "first" in alice.answers, "the question is answered")
    world.advance(5)

    assert alice.answers["first"].code == -1
    assert not world.chain.mempool
    assert not alice.rows("funding", "opening") and not alice.rows("wallet", "reservation")


def test_that_it_was_refused_after_all_is_answered_whoever_dies() -> None:
    world, alice, bob = _asked()
    _ask(world, alice, bob)
    step_until(world, lambda w: alice.rows("chain", "~doubt"))
    step_until(world, lambda w: not alice.rows("chain", "~doubt"))
    world.chain.refuses = True
    step_until(world, lambda w: any(r.refused for r in alice.rows("funding", "opening").values()))
    alice.answers.clear()
    ask = Ask(
        id="api/first", method="fundchannel", params=sentences.to_open(bob, tale.CAPACITY_SAT)
    )
    alice.asked["first"] = ("funding", ask)  # its answer was lost

    world.kill(alice, "funding")
    world.settle()

    assert alice.answers["first"].code == 303
