"""A message that ends its actor again and again, in a whole node: what is left of the node."""

from __future__ import annotations

from typing import Any

import pytest

from actors.testkit.node import Node, World, sentences
from actors.testkit.node.stories import tale
from protocol.monitor import snapshot

AMOUNT = 5_000_000


class Stumbling:
    """alice's monitor cannot write what becomes of her channel with bob, after so many updates;
    the one with carol is as good as any."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.world: World = tale.begin()
        self.world.node("carol")
        self.alice, self.bob, self.carol = (self.world.nodes[n] for n in ("alice", "bob", "carol"))
        self.bad = sentences.open_channel(self.alice, self.bob, 1_000_000)
        self.good = sentences.open_channel(self.alice, self.carol, 1_100_000)
        self.world.deadly = (ValueError,)
        self.well, write = False, snapshot.write
        ours = self.alice.row("monitors", f"setup/{self.bad}")

        def stumble(step: Any, cid: bytes, update: Any) -> None:
            # both ends run the same code: only alice stumbles
            here = snapshot.SETUPS.need(step, cid) == ours
            if here and not self.well:
                raise ValueError("a defect")
            write(step, cid, update)

        patch.setattr(snapshot, "write", stumble)

    def letters(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = sentences.ask(self.alice, "monitors", "listdeadletters")
        return rows

    def pay_bob(self) -> str:
        made = sentences.invoice(self.bob, AMOUNT, "to bob")
        return self.world.ask(self.alice, "payments", "pay", bolt11=made["bolt11"])

    def goes_on(self, node: Node, cid: str) -> None:
        sentences.until(self.world, lambda: sentences.usable(node, cid), "it is usable again")


def test_an_update_that_is_put_aside_stops_its_channel_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Stumbling(monkeypatch)
    question = run.pay_bob()
    (letter,) = sentences.until(run.world, run.letters, "it is put aside")
    for _ in range(5):
        run.world.advance(30)

    # the channel rests, and says why; what its peer says of it ends nobody
    assert (letter["message"], letter["sender"]) == ("Update", "peers")
    assert sentences.live(run.alice, run.bad) is None
    (row,) = [
        row
        for row in sentences.ask(run.alice, "monitors", "listpeerchannels")
        if row["channel_id"] == run.bad
    ]
    assert "put aside" in row["status"][0]
    assert run.letters() == [letter]
    crashes = run.world.crashes
    sentences.pay(run.alice, run.carol, AMOUNT, "to carol")
    assert run.carol.row("monitors", f"core/{run.good}").ours_msat == AMOUNT
    assert run.world.crashes == crashes

    # so it stays, whoever dies
    for role in ("peers", "monitors", "*"):
        run.world.kill(run.alice, role)
        run.world.advance(30)
    assert sentences.live(run.alice, run.bad) is None and run.letters() == [letter]

    run.well = True
    sentences.ask(run.alice, "monitors", "retrydeadletter", id=letter["id"])
    run.goes_on(run.alice, run.bad)
    assert run.letters() == []
    sentences.answered(run.alice, question)
    assert run.bob.row("monitors", f"core/{run.bad}").ours_msat == AMOUNT


def test_a_release_that_can_write_it_needs_no_order(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Stumbling(monkeypatch)
    question = run.pay_bob()
    sentences.until(run.world, run.letters, "it is put aside")

    run.well = True
    monkeypatch.setattr(run.world.system, "release", "another")
    run.world.kill(run.alice)

    run.goes_on(run.alice, run.bad)
    sentences.answered(run.alice, question)
    assert run.letters() == []


@pytest.mark.parametrize("role", ["peers", "monitors", "*"])
def test_a_channel_that_rests_leaves_its_neighbour_with_the_same_peer_alone(
    monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    """After every restart its peer asks for it, and hears that it is there, and no more."""
    run = Stumbling(monkeypatch)
    run.well = True
    neighbour = sentences.open_channel(run.alice, run.bob, 1_200_000)
    run.well = False
    for number in range(4):
        made = sentences.invoice(run.bob, AMOUNT, f"to bob {number}")
        run.world.ask(run.alice, "payments", "pay", bolt11=made["bolt11"])
        run.world.advance(5)
    sentences.until(run.world, run.letters, "it is put aside")

    run.world.kill(run.alice, role)
    run.world.advance(30)
    for _ in range(10):
        run.world.advance(3)
        assert sentences.usable(run.alice, neighbour) and sentences.usable(run.bob, neighbour)
    assert sentences.live(run.alice, run.bad) is None
