"""A payment in parts at the moment of its claim, in the kit: steps that can be stopped anywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from actors.driver import Switches
from actors.testkit import diamond, stories
from actors.testkit.node import Node


class Claiming:
    """alice pays bob over `count` channels, each kept by another of bob's monitors."""

    def __init__(
        self, count: int = 2, *, held: bool = False, switches: Switches | None = None
    ) -> None:
        self.world = diamond.claim_world(count, switches)
        self.alice, self.bob = self.world.nodes["alice"], self.world.nodes["bob"]
        self.cids = [view.id for view in stories.channels(self.bob) if view.ended is None]
        self.keepers = [self.bob.keeper(cid) for cid in self.cids]
        self.amount = (count - 1) * diamond.CAPACITY_SAT * 1000 + 100_000_000
        method = "holdinvoice" if held else "invoice"
        self.invoice = stories.ask(
            self.bob,
            "payments",
            method,
            label="claim",
            amount_msat=self.amount,
            description="claim",
        )
        self.hash = self.invoice["payment_hash"]
        self.pay()

    def pay(self) -> None:
        self.question = self.world.ask(self.alice, "payments", "pay", bolt11=self.invoice["bolt11"])

    # ---- looking ----

    def claim(self) -> Any:
        rows = list(self.bob.rows("payments", "claim").values())
        return rows[0] if rows else None

    def has_claim(self, cid: str) -> bool:
        """Durable in this channel's monitor."""
        return any(key.startswith(f"claim/{cid}/") for key in self.bob.rows("monitors", "claim"))

    def core(self, cid: str) -> Any:
        return self.bob.row("monitors", f"core/{cid}")

    def incoming(self, cid: str) -> list[Any]:
        found = self.bob.rows("monitors", "htlc").items()
        return [row for key, row in found if key.startswith(f"htlc/{cid}/theirs/")]

    def live(self, cid: str) -> Any:
        return stories.live(self.bob, cid)

    def status(self) -> str:
        (row,) = self.bob.rows("payments", "invoice").values()
        return str(row.status)

    # ---- moving ----

    def step_until(self, condition: Callable[[], Any], what: str) -> None:
        """One message at a time, so that it is seen as soon as it is true."""
        for _ in range(3_000):
            if condition():
                return
            if not self.world.step():
                self.world.advance()
        raise AssertionError(f"it never came true: {what}")

    def without(self, cid: str) -> None:
        """The disk of this channel's monitor takes no write from now on."""
        self.world.stop(self.bob, self.bob.keeper(cid))

    def again(self, cid: str) -> None:
        self.world.start_again(self.bob, self.bob.keeper(cid))

    def claimed(self) -> None:
        """All parts, once, and nothing is left over."""
        stories.until(
            self.world,
            lambda: self.question in self.alice.answers or self.asked_again(),
            "the payment is answered",
        )
        assert self.alice.answers[self.question].code is None
        stories.until(self.world, lambda: self.status() == "paid", "the invoice is paid")
        diamond.at_rest(self.world)
        assert diamond.balance_msat(self.bob) == self.amount
        (row,) = self.bob.rows("payments", "invoice").values()
        assert (row.received_msat, row.pay_index) == (self.amount, row.pay_index)

    def asked_again(self) -> bool:
        return False


def forward(node: Node) -> Any:
    rows = list(node.rows("payments", "forward").values())
    return rows[-1] if rows else None
