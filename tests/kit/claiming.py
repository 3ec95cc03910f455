"""A payment in parts at the moment of its claim, in the kit: steps that can be stopped anywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from actors.engine.host import Switches
from actors.testkit.node import sentences
from actors.testkit.node.stories import diamond
from actors.testkit.node.world import World
from protocol.bitcoin.transaction import Outpoint, Transaction, TxIn, TxOut, serialize


class Claiming:
    """alice pays bob over `count` channels, each kept by another of bob's monitors."""

    def __init__(
        self, count: int = 2, *, held: bool = False, switches: Switches | None = None
    ) -> None:
        self.world = diamond.claim_world(count, switches)
        self.alice, self.bob = self.world.nodes["alice"], self.world.nodes["bob"]
        self.cids = [view.id for view in sentences.channels(self.bob) if view.ended is None]
        self.keepers = [self.bob.keeper(cid) for cid in self.cids]
        self.amount = (count - 1) * diamond.CAPACITY_SAT * 1000 + 100_000_000
        method = "holdinvoice" if held else "invoice"
        self.invoice = sentences.ask(
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
        return sentences.live(self.bob, cid)

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

    def all_held(self) -> None:
        """The set is whole, and waits for the user."""
        key = f"set/{self.hash}"
        sentences.until(self.world, lambda: self.bob.row("payments", key), "parts are there")
        sentences.until(self.world, lambda: self.bob.row("payments", key).whole, "all are")
        self.world.settle()

    def without(self, cid: str) -> None:
        """The disk of this channel's monitor takes no write from now on."""
        self.world.stop(self.bob, self.bob.keeper(cid))

    def again(self, cid: str) -> None:
        self.world.start_again(self.bob, self.bob.keeper(cid))

    def claimed(self) -> None:
        """All parts, once, and nothing is left over."""
        sentences.until(
            self.world,
            lambda: self.question in self.alice.answers,
            "the payment is answered",
        )
        assert self.alice.answers[self.question].code is None
        sentences.until(self.world, lambda: self.status() == "paid", "the invoice is paid")
        diamond.at_rest(self.world)
        assert diamond.balance_msat(self.bob) == self.amount
        (row,) = self.bob.rows("payments", "invoice").values()
        assert row.received_msat == self.amount
        others = self.bob.rows("payments", "paid")
        assert list(others) == [f"paid/{row.pay_index}"], "it was paid more than once"


class Relaying:
    """alice pays carol over bob; U is his channel with alice, D the one with carol."""

    amount = 50_000_000

    def __init__(self, *, held: bool = False) -> None:
        self.world = diamond.line_world()
        self.alice, self.bob, self.carol = (self.world.nodes[n] for n in ("alice", "bob", "carol"))
        self.u = next(v.id for v in sentences.channels(self.bob) if v.setup.peer == self.alice.id)
        self.d = next(v.id for v in sentences.channels(self.bob) if v.setup.peer == self.carol.id)
        self.before = diamond.balance_msat(self.bob)
        asked = {"label": "x", "amount_msat": self.amount, "description": "x"}
        method = "holdinvoice" if held else "invoice"
        self.invoice = sentences.ask(self.carol, "payments", method, **asked)
        self.hash = self.invoice["payment_hash"]
        self.question = self.world.ask(self.alice, "payments", "pay", bolt11=self.invoice["bolt11"])

    @property
    def row(self) -> Any:
        rows = list(self.bob.rows("payments", "forward").values())
        return rows[-1] if rows else None

    def htlcs(self, cid: str) -> list[Any]:
        found = self.bob.rows("monitors", "htlc").items()
        return [row for key, row in found if key.startswith(f"htlc/{cid}/")]

    def core(self, cid: str) -> Any:
        return self.bob.row("monitors", f"core/{cid}")

    def knows_preimage(self, cid: str) -> bool:
        """U: it is to be settled with it; D: it was learned."""
        learned = self.bob.rows("monitors", "preimage")
        wishes = self.bob.rows("monitors", "resolve_htlc").items()
        return any(key.startswith(f"preimage/{cid}/") for key in learned) or any(
            key.startswith(f"resolve_htlc/{cid}/") and row.preimage for key, row in wishes
        )

    def live(self, cid: str) -> Any:
        return sentences.live(self.bob, cid)

    step_until = Claiming.step_until
    without, again = Claiming.without, Claiming.again

    def settle(self) -> None:
        """carol says yes to what she held."""
        self.wait_for_carol()
        sentences.ask(self.carol, "payments", "holdinvoicesettle", payment_hash=self.hash)

    def wait_for_carol(self) -> None:
        key = f"set/{self.hash}"
        sentences.until(self.world, lambda: self.carol.row("payments", key), "it is there")

    def paid(self) -> None:
        """Once, with the fee, and nothing is left over."""
        answers = self.alice.answers
        sentences.until(self.world, lambda: self.question in answers, "the payment is answered")
        assert answers[self.question].code is None, answers[self.question].text
        diamond.at_rest(self.world)
        assert diamond.balance_msat(self.carol) == self.amount
        earned = sum(diamond.fees(self.bob))
        assert diamond.balance_msat(self.bob) - self.before == earned > 0


def spending(world: World, cid: str) -> bytes:
    """Some transaction that spends the funding output: not a closing together."""
    setup = world.nodes["alice"].row("monitors", f"setup/{cid}")
    outpoint = Outpoint(setup.funding_txid, setup.funding_index)
    tx = Transaction(
        version=2,
        inputs=(TxIn(outpoint, 0x80000000),),
        outputs=(TxOut(setup.capacity_sat - 500, b"\x00\x14" + bytes(20)),),
        locktime=0x20000000,
    )
    return serialize(tx)
