"""Payments alone on a bench: what it hears, keeps and says, and what a restart leaves of it."""

from __future__ import annotations

import pytest

from actors.engine.cold import Cold
from actors.testkit.bench import Bench
from protocol.channel.messages import AddHtlc, ChannelUsable
from protocol.crypto.hashes import sha256
from protocol.machine import Answer
from protocol.monitor.messages import (
    Claim,
    ClaimKept,
    HtlcArrived,
    HtlcEnded,
    Release,
    ReportState,
    StateReported,
)
from protocol.onion import payload, sphinx
from protocol.onion.payload import HopPayload
from protocol.segment import AnySegment, Key
from tests.kit.benches import HEIGHT, TIP, bench, settings

AMOUNT, SCID = 50_000_000, "0000010000010001"
CHANNEL, OTHER = bytes([1]) * 32, bytes([2]) * 32


def _payments() -> Bench:
    """With a whole snapshot, at a height."""
    found = bench("payments")
    assert found.delivered == [("monitors", ReportState())]
    found.hear("monitors", StateReported(of=1, used=False), durable=True)
    found.hear("chain", TIP)
    return found


def _result(answer: Answer | None) -> object:
    assert answer is not None and answer.code is None, answer
    return answer.result


def _arrives(made: dict[str, str], channel: bytes, amount_msat: int, height: int) -> HtlcArrived:
    """An HTLC for an invoice of ours."""
    hop = HopPayload(
        amount_msat=amount_msat,
        cltv_expiry=height,
        payment_secret=bytes.fromhex(made["payment_secret"]),
        total_msat=AMOUNT,
    )
    payment_hash = bytes.fromhex(made["payment_hash"])
    hops = [(settings().node_id, payload.encode(hop))]
    return HtlcArrived(
        channel_id=channel, htlc_id=0, amount_msat=amount_msat, payment_hash=payment_hash,
        cltv_expiry=height, onion=sphinx.wrap(bytes([7]) * 32, hops, payment_hash)[0],
    )  # fmt: skip


def test_payments_claims_a_set_on_all_its_channels_and_is_paid_when_all_have_it() -> None:
    payments = _payments()
    made = payments.ask("invoice", label="x", amount_msat=AMOUNT, description="x")
    terms = _result(made)
    assert isinstance(terms, dict)
    payments.take(ReportState)

    payments.hear("monitors", _arrives(terms, CHANNEL, AMOUNT // 2, HEIGHT + 50), durable=True)
    assert not payments.take(Claim), "half of it is not it"
    payments.restart()
    payments.hear("chain", TIP)
    payments.hear("monitors", _arrives(terms, OTHER, AMOUNT // 2, HEIGHT + 50), durable=True)

    claims = payments.take(Claim)
    assert sorted(claim.channel_id for claim in claims) == [CHANNEL, OTHER]
    assert {claim.parts for claim in claims} == {((CHANNEL, 0), (OTHER, 0))}
    assert {sha256(claim.preimage).hex() for claim in claims} == {terms["payment_hash"]}

    kept = [ClaimKept(channel_id=one.channel_id, payment_id=one.payment_id) for one in claims]
    payments.hear("monitors", kept[0], durable=True)
    assert payments.row("invoice/x").status == "unpaid" and not payments.take(Release)
    payments.restart()
    payments.hear("monitors", kept[1], durable=True)
    assert payments.row("invoice/x").status == "paid"
    assert [one.channel_id for one in payments.take(Release)] == [CHANNEL, OTHER]


def test_payments_says_again_what_a_monitor_may_not_have_heard() -> None:
    payments = _payments()
    terms = _result(payments.ask("invoice", label="x", amount_msat=AMOUNT, description="x"))
    assert isinstance(terms, dict)
    payments.deaf.add("monitors")
    payments.hear("monitors", _arrives(terms, CHANNEL, AMOUNT, HEIGHT + 50), durable=True)
    (claim,) = payments.take(Claim)

    payments.restart()
    assert not payments.take(Claim), "there is no link yet"
    payments.linked("monitors")
    assert payments.take(Claim) == [claim]
    payments.deaf.clear()
    payments.linked("monitors")
    payments.take(Claim)
    payments.linked("monitors")
    assert not payments.take(Claim), "it has been acknowledged"


def test_a_question_that_had_to_wait_costs_itself_alone() -> None:
    """It is asked in the step of somebody else's message, which is heard all the same."""
    payments = bench("payments")
    assert payments.ask("pay", bolt11=7) is None

    payments.hear("monitors", StateReported(of=1, used=False), durable=True)
    payments.hear("chain", TIP)

    assert [answer.code for answer in payments.answers.values()] == [-32603]
    assert "the question pay met a defect" in payments.log[-1]
    made = payments.ask("invoice", label="x", amount_msat=1000, description="x")
    assert made is not None and made.code is None


def test_a_start_reads_what_is_under_way_and_no_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much there has been: the rest stays on the disk until somebody asks for it."""
    payments = _payments()
    peer = settings("bob").node_id
    usable = ChannelUsable(channel_id=CHANNEL, key_index=1, peer=peer, scid=bytes.fromhex(SCID))
    payments.hear("monitors", usable, durable=True)
    done, pending = (sha256(bytes([number])).hex() for number in (1, 2))
    hop = {"id": peer.hex(), "channel": "1x1x1", "amount_msat": 1000, "delay": 20}
    for payment_hash in (done, pending):
        _result(payments.ask("sendpay", route=[hop], payment_hash=payment_hash))
    (first, _) = payments.take(AddHtlc)
    ended = HtlcEnded(origin=first.origin, channel_id=CHANNEL, htlc_id=0, preimage=bytes([1]))
    payments.hear("monitors", ended, durable=True)
    assert payments.row(f"payment/{done}").status == "complete"
    read: list[str] = []

    def get(cold: Cold, segment: AnySegment, key: Key) -> object:
        read.append(segment.place(key))
        return before(cold, segment, key)

    before = Cold.get
    monkeypatch.setattr(Cold, "get", get)
    monkeypatch.delattr(Cold, "below")
    payments.restart()
    payments.hear("chain", TIP)
    payments.pass_time(1)
    assert {place for place in read if place.startswith("payment/")} == {f"payment/{pending}"}
