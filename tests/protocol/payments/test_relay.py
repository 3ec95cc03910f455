"""What comes back for an HTLC that was relayed."""

from __future__ import annotations

from actors.engine.table import Table
from protocol.channel.messages import ResolveHtlc
from protocol.machine import Deliver, Moment, Step
from protocol.monitor.messages import HtlcEnded
from protocol.onion import failures, sphinx
from protocol.payments import relay
from protocol.payments.rows import FORWARDS, Forward, ReceivedPart

UP, DOWN = b"\x01" * 32, b"\x02" * 32
NOW = Moment(unix_seconds=1.0, entropy=bytes(32))


def _settled(failure: bytes) -> bytes:
    """What goes upstream when downstream has failed it with `failure`."""
    part = ReceivedPart(
        channel_id=UP, htlc_id=7, amount_msat=2_000, cltv_expiry=500, shared_secret=b"s" * 32
    )
    row = Forward(
        part=part,
        payment_hash=bytes(32),
        index=1,
        wanted=bytes(8),
        peer=bytes(33),
        out_msat=1_000,
        out_expiry=400,
        onion=b"",
        received_at=0.0,
        channel_id=DOWN,
        tries=1,
    )
    rows = Table()
    rows.set(FORWARDS, row.place, row)
    step = Step(rows)

    ended = HtlcEnded(origin=f"forward/{row.name}/1", channel_id=DOWN, htlc_id=3, failure=failure)
    relay.ended(step, ended, NOW)

    (tell,) = [effect for effect in step.effects if isinstance(effect, Deliver)]
    assert isinstance(tell.item, ResolveHtlc) and tell.item.failure is not None
    return tell.item.failure


def test_a_failure_is_wrapped_once_more() -> None:
    assert _settled(b"x" * 292) == sphinx.obfuscate(b"s" * 32, b"x" * 292)


def test_a_failure_that_said_nothing_becomes_one_of_ours() -> None:
    """The payer can read it, and knows who said so."""
    packet = _settled(b"")

    message = failures.encode("temporary_channel_failure", channel_update=b"")
    expected = sphinx.failure_packet(b"s" * 32, message)
    assert packet == sphinx.obfuscate(b"s" * 32, expected)
