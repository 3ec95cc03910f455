"""HTLCs that do not fit: what the onion says, what arrived, and what was asked for (BOLT 4)."""

from __future__ import annotations

from typing import Any

import pytest

from actors.testkit.node import World, sentences
from actors.testkit.node.stories import diamond
from protocol.channel.messages import AddHtlc, ResolveHtlc
from protocol.crypto import secp
from protocol.crypto.hashes import derive, sha256
from protocol.invoice import decode
from protocol.machine import Deliver, Moment, Step
from protocol.monitor.messages import HtlcArrived
from protocol.onion import failures, payload, sphinx
from protocol.onion.payload import HopPayload
from protocol.payments import receive

AMOUNT, SESSION = 50_000_000, bytes([7]) * 32
CHANNEL = bytes([1]) * 32


class Receiver:
    """bob with an invoice (and a channel to carol, for relays); he hears what a test makes up."""

    def __init__(self) -> None:
        self.world: World = diamond.line_world()
        self.bob, self.carol = self.world.nodes["bob"], self.world.nodes["carol"]
        made = sentences.invoice(self.bob, AMOUNT, "x")
        self.terms = decode(made["bolt11"])
        self.hash: bytes = self.terms.payment_hash
        self.height = self.world.chain.height
        self.secret = derive(self.bob.seed, "node")
        self.number = 0

    def final(self, **changes: Any) -> HopPayload:
        whole = HopPayload(
            amount_msat=AMOUNT,
            cltv_expiry=self.height + 30,
            payment_secret=self.terms.payment_secret,
            total_msat=AMOUNT,
        )
        return whole.but(**changes)

    def onward(self, **changes: Any) -> HopPayload:
        """To carol, with the fee and the blocks that bob wants."""
        rows = self.bob.rows("payments", "terms").items()
        of_carol = next(
            row for key, row in rows if self._peer(key.partition("/")[2]) == self.carol.id
        )
        hop = HopPayload(
            amount_msat=AMOUNT - 10_000,
            cltv_expiry=self.height + 30,
            short_channel_id=self.bob.row("payments", f"channel/{self._to_carol()}").scid,
        )
        assert of_carol.ours.fee_base_msat < 10_000
        return hop.but(**changes)

    def _peer(self, cid: str) -> bytes:
        found: bytes = self.bob.row("payments", f"channel/{cid}").peer
        return found

    def _to_carol(self) -> str:
        rows = self.bob.rows("payments", "channel").items()
        return next(key.partition("/")[2] for key, row in rows if row.peer == self.carol.id)

    def item(self, hop: HopPayload | bytes, **changes: Any) -> HtlcArrived:
        said = hop if isinstance(hop, bytes) else payload.encode(hop)
        hops = [(secp.public_key(self.secret), said)]
        if isinstance(hop, HopPayload) and hop.short_channel_id is not None:
            hops.append((self.carol.id, payload.encode(self.final())))
        onion, self.secrets = sphinx.wrap(SESSION, hops, self.hash)
        self.number += 1
        arrived = HtlcArrived(
            channel_id=CHANNEL,
            htlc_id=self.number,
            amount_msat=AMOUNT,
            payment_hash=self.hash,
            cltv_expiry=self.height + (200 if len(hops) > 1 else 30),
            onion=onion,
        )
        return arrived.but(**changes)

    def hear(self, *items: HtlcArrived) -> list[Any]:
        """-> what the monitors are told."""
        told = []
        rows = self.bob.drivers["payments"].rows
        for item in items:
            step = Step(rows)
            at = Moment(unix_seconds=self.world.now, entropy=bytes(32))
            receive.arrived(step, self.secret, item, at)
            rows.apply(step.changed_rows)
            told += [effect.item for effect in step.effects if isinstance(effect, Deliver)]
        return told

    def failure(self, item: HtlcArrived) -> str:
        (settle,) = self.hear(item)
        assert isinstance(settle, ResolveHtlc) and settle.preimage is None
        return self.read(settle)

    def read(self, settle: ResolveHtlc) -> str:
        if settle.malformed is not None:
            digest, code = settle.malformed
            return f"malformed {code:#x} {len(digest)}"
        assert settle.failure is not None
        found = sphinx.read_failure(self.secrets[:1], settle.failure)
        assert found is not None
        return failures.decode(found[1]).name


@pytest.fixture(scope="module")
def prepared() -> Receiver:
    return Receiver()


@pytest.fixture
def bob(prepared: Receiver) -> Receiver:
    """The same world for all: each test starts from a copy."""
    fresh = Receiver.__new__(Receiver)
    fresh.__dict__.update(prepared.__dict__)
    fresh.world = prepared.world.copy()
    fresh.bob, fresh.carol = fresh.world.nodes["bob"], fresh.world.nodes["carol"]
    return fresh


UNKNOWN = "incorrect_or_unknown_payment_details"


def test_what_fits_is_claimed(bob: Receiver) -> None:
    """Else the cases below could fail for another reason."""
    (claim,) = bob.hear(bob.item(bob.final()))

    assert sha256(claim.preimage) == bob.hash


@pytest.mark.parametrize(
    ("said", "arrived", "name"),
    [
        ({}, {"amount_msat": AMOUNT - 1}, "final_incorrect_htlc_amount"),
        ({}, {"cltv_expiry": 20}, "final_incorrect_cltv_expiry"),
        ({"payment_secret": bytes(32)}, {}, UNKNOWN),
        ({"payment_secret": None, "total_msat": None}, {}, UNKNOWN),
        ({"total_msat": AMOUNT - 1, "amount_msat": AMOUNT - 1}, {}, UNKNOWN),
        ({"total_msat": AMOUNT - 1}, {}, UNKNOWN),
        ({"total_msat": 2 * AMOUNT + 1}, {}, UNKNOWN),
        ({"keysend_preimage": bytes(32), "payment_secret": None, "total_msat": None}, {}, UNKNOWN),
    ],
)  # fmt: skip
def test_a_final_htlc_that_does_not_fit(
    bob: Receiver, said: dict[str, Any], arrived: dict[str, Any], name: str
) -> None:
    assert bob.failure(bob.item(bob.final(**said), **arrived)) == name


def test_an_expiry_that_is_too_near(bob: Receiver) -> None:
    near = bob.height + receive.FINAL_CLTV - 1

    assert bob.failure(bob.item(bob.final(cltv_expiry=near), cltv_expiry=near)) == UNKNOWN


def test_an_unknown_hash(bob: Receiver) -> None:
    bob.hash = bytes(32)

    assert bob.failure(bob.item(bob.final())) == UNKNOWN


@pytest.mark.parametrize("at", [0, 20, 700, 1365])
def test_an_onion_that_does_not_decode_is_malformed(bob: Receiver, at: int) -> None:
    item = bob.item(bob.final())
    spoilt = item.onion[:at] + bytes([item.onion[at] ^ 1]) + item.onion[at + 1 :]

    (settle,) = bob.hear(item.but(onion=spoilt))

    digest, code = settle.malformed
    assert digest == sha256(spoilt)
    assert code & 0x8000 and code & 0x4000


def test_an_onion_of_another_payment_is_malformed(bob: Receiver) -> None:
    """Repeated for a hash that it was not made for."""
    item = bob.item(bob.final())

    (settle,) = bob.hear(item.but(payment_hash=bytes([5]) * 32))

    assert settle.malformed[1] == sphinx.INVALID_ONION_HMAC


@pytest.mark.parametrize("said", [b"\x02\x01", b"\x02\x01\x05", b"\xfe\x00\x00\x00\x08\x00"])
def test_a_payload_that_does_not_decode(bob: Receiver, said: bytes) -> None:
    """A length that lies, no expiry, and a type that is not written as short as it can be."""
    assert bob.failure(bob.item(said)) == "invalid_onion_payload"


def test_parts_that_do_not_add_up_are_failed_all(bob: Receiver) -> None:
    """Two parts that name different totals: neither is kept."""
    half = bob.item(bob.final(amount_msat=AMOUNT // 2), amount_msat=AMOUNT // 2)
    assert bob.hear(half) == []
    other = bob.item(
        bob.final(amount_msat=AMOUNT // 2, total_msat=AMOUNT + 1), amount_msat=AMOUNT // 2
    )

    told = bob.hear(other)

    assert sorted(settle.htlc_id for settle in told) == [half.htlc_id, other.htlc_id]
    assert {bob.read(settle) for settle in told} == {UNKNOWN}
    assert not bob.bob.rows("payments", "set")


def test_a_part_that_comes_after_the_set_is_whole_is_failed_alone(bob: Receiver) -> None:
    (claim,) = bob.hear(bob.item(bob.final()))

    assert bob.failure(bob.item(bob.final())) == UNKNOWN
    assert len(claim.parts) == 1


@pytest.mark.parametrize(
    ("said", "arrived", "name"),
    [
        ({"short_channel_id": bytes(8)}, {}, "unknown_next_peer"),
        ({"amount_msat": AMOUNT}, {}, "fee_insufficient"),
        ({"amount_msat": AMOUNT + 1}, {}, "fee_insufficient"),
        ({"amount_msat": 0}, {}, "amount_below_minimum"),
        ({"cltv_expiry": 1}, {}, "expiry_too_soon"),
        ({}, {"cltv_expiry": 10_000}, "expiry_too_far"),
    ],
)
def test_a_relay_that_does_not_fit(
    bob: Receiver, said: dict[str, Any], arrived: dict[str, Any], name: str
) -> None:
    assert bob.failure(bob.item(bob.onward(**said), **arrived)) == name


def test_a_relay_without_the_blocks_that_are_asked_for(bob: Receiver) -> None:
    hop = bob.onward()

    near = hop.cltv_expiry + 79  # 80 are wanted
    assert bob.failure(bob.item(hop, cltv_expiry=near)) == "incorrect_cltv_expiry"


def test_a_relay_that_fits_is_offered(bob: Receiver) -> None:
    (offer,) = bob.hear(bob.item(bob.onward()))

    assert isinstance(offer, AddHtlc)
    assert offer.amount_msat == AMOUNT - 10_000
