"""A peer that breaks a rule of BOLT 2: the channel fails, or the connection ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from protocol.channel import machine
from protocol.crypto import secp
from protocol.errors import PeerFault
from protocol.wire import closing, commitment, opening, registry
from protocol.wire.message import Message
from tests.kit.pair import End, Pair

ORDER = secp.ORDER


def _pair() -> Pair:
    pair = Pair()
    pair.ready()
    return pair


def _hear(end: End, message: Message) -> str:
    """-> why the channel failed, or the warning that ends the connection."""
    try:
        end.turn(lambda turn: machine.hear_peer(turn, message))
    except PeerFault as fault:
        return f"warning: {fault}"
    return end.channel.core.failed or ""


def _add(pair: Pair, **changes: object) -> commitment.UpdateAddHtlc:
    add = commitment.UpdateAddHtlc(
        channel_id=pair.bob.channel.id,
        id=0,
        amount_msat=10_000_000,
        payment_hash=bytes(32),
        cltv_expiry=500,
        onion_routing_packet=bytes(1366),
    )
    return add.but(**changes)


def _high_s(signature: bytes) -> bytes:
    s = ORDER - int.from_bytes(signature[32:], "big")
    return signature[:32] + s.to_bytes(32, "big")


CASES: list[tuple[str, Callable[[Pair], Message], str]] = [
    ("id out of order", lambda p: _add(p, id=5), "id out of order"),
    ("zero amount", lambda p: _add(p, amount_msat=0), "warning: update_add_htlc with an amount"),
    ("no height", lambda p: _add(p, cltv_expiry=500_000_000), "no block height"),
    ("too much", lambda p: _add(p, amount_msat=10**12), "max_htlc_value_in_flight"),
    ("cannot afford", lambda p: _add(p, amount_msat=599_000_000), "cannot afford"),
    (
        "fulfill of nothing",
        lambda p: commitment.UpdateFulfillHtlc(
            channel_id=p.bob.channel.id, id=9, payment_preimage=bytes(32)
        ),
        "not irrevocably committed",
    ),
    (
        "commitment without change",
        lambda p: commitment.CommitmentSigned(
            channel_id=p.bob.channel.id, signature=bytes(64), htlc_signatures=()
        ),
        "without any change",
    ),
    (
        "revocation nobody asked for",
        lambda p: commitment.RevokeAndAck(
            channel_id=p.bob.channel.id,
            per_commitment_secret=bytes([1]) * 32,
            next_per_commitment_point=secp.public_key(bytes([1]) * 32),
        ),
        "nobody asked for",
    ),
    (
        "feerate out of bounds",
        lambda p: commitment.UpdateFee(channel_id=p.bob.channel.id, feerate_per_kw=1),
        "out of all bounds",
    ),
    (
        "shutdown to nowhere",
        lambda p: closing.Shutdown(channel_id=p.bob.channel.id, scriptpubkey=b"\x51"),
        "warning: shutdown with a script",
    ),
    (
        "closing too early",
        lambda p: closing.ClosingSigned(
            channel_id=p.bob.channel.id, fee_satoshis=1, signature=bytes(64)
        ),
        "before the channel was empty",
    ),
    (
        "reestablish in the middle",
        lambda p: commitment.ChannelReestablish(
            channel_id=p.bob.channel.id,
            next_commitment_number=0,
            next_revocation_number=0,
            your_last_per_commitment_secret=bytes(32),
            my_current_per_commitment_point=secp.public_key(bytes([1]) * 32),
        ),
        "commitment number 0",
    ),
    (
        "an opening message",
        lambda p: opening.FundingSigned(channel_id=p.bob.channel.id, signature=bytes(64)),
        "warning: FundingSigned is not for a funded channel",
    ),
]


@pytest.mark.parametrize(("name", "make", "text"), CASES, ids=[name for name, _, _ in CASES])
def test_a_rule_is_broken(name: str, make: Callable[[Pair], Message], text: str) -> None:
    pair = _pair()

    assert text in _hear(pair.bob, make(pair))


@pytest.mark.parametrize("spoil", ["high s", "another digest", "one too many"])
def test_a_wrong_signature_fails_the_channel_and_changes_nothing(spoil: str) -> None:
    """The old commitment stays ours: nothing was revoked for the false one."""
    pair = _pair()
    pair.offer(pair.alice, 10_000_000)
    add, signed = (m for m in pair.alice.outbox)
    pair.bob.hear(add)
    message = commitment.CommitmentSigned.decode(signed[2:])
    good = message.signature
    wrong = {
        "high s": message.but(signature=_high_s(good)),
        "another digest": message.but(signature=secp.sign(bytes([3]) * 32, bytes(32))),
        "one too many": message.but(htlc_signatures=(*message.htlc_signatures, good)),
    }[spoil]

    why = _hear(pair.bob, wrong)

    assert "signature" in why
    assert pair.bob.disk.core.our_number == 0
    assert not any(
        isinstance(m, bytes) and int.from_bytes(m[:2], "big") == 133 for m in pair.bob.outbox
    )


def test_a_revocation_with_another_secret_fails_the_channel() -> None:
    pair = _pair()
    pair.offer(pair.alice, 10_000_000)
    for data in list(pair.alice.outbox):
        pair.bob.hear(data)
    pair.alice.outbox.clear()
    revoke = commitment.RevokeAndAck.decode(pair.bob.outbox.popleft()[2:])

    why = _hear(pair.alice, revoke.but(per_commitment_secret=bytes([9]) * 32))

    assert "does not fit" in why
    assert pair.alice.disk.core.failed == why


def test_two_commitments_in_a_row_do_not_reach_the_monitor() -> None:
    """The second needs a point that we have not sent: it cannot be honest."""
    pair = _pair()
    pair.offer(pair.alice, 10_000_000)
    messages = [registry.decode(data) for data in pair.alice.outbox]

    pair.bob.turn(
        *(lambda turn, m=m: machine.hear_peer(turn, m) for m in (*messages, messages[-1]))
    )

    assert "before our revoke_and_ack" in (pair.bob.channel.core.failed or "")
    assert pair.bob.disk.core.our_number <= 1


def test_update_fee_before_channel_ready_fails_the_channel() -> None:
    pair = Pair()
    pair.connect()
    fee = commitment.UpdateFee(channel_id=pair.bob.channel.id, feerate_per_kw=2000)

    assert "before channel_ready" in _hear(pair.bob, fee)


# ---- a peer that answers an HTLC wrongly, or twice -----------------------------------------------

PREIMAGE = bytes([3]) * 32


def _committed() -> Pair:
    """alice's HTLC 0 is irrevocable, and nothing is on its way."""
    pair = _pair()
    pair.offer(pair.alice, 10_000_000, PREIMAGE)
    pair.run()
    return pair


def _fulfill(pair: Pair, preimage: bytes = PREIMAGE) -> commitment.UpdateFulfillHtlc:
    return commitment.UpdateFulfillHtlc(
        channel_id=pair.alice.channel.id, id=0, payment_preimage=preimage
    )


def _fail(pair: Pair) -> commitment.UpdateFailHtlc:
    return commitment.UpdateFailHtlc(channel_id=pair.alice.channel.id, id=0, reason=bytes(256))


def test_a_wrong_preimage_fails_the_channel_and_ends_nothing() -> None:
    pair = _committed()

    assert "does not fit" in _hear(pair.alice, _fulfill(pair, bytes(32)))
    assert pair.alice.preimages == {}
    assert pair.alice.disk.htlcs["ours/0"].preimage is None


@pytest.mark.parametrize("then", [_fail, _fulfill], ids=["failed", "fulfilled again"])
def test_a_fulfilled_htlc_stays_fulfilled(then: Callable[[Pair], Message]) -> None:
    """The preimage is kept whatever the peer says next."""
    pair = _committed()
    assert _hear(pair.alice, _fulfill(pair)) == ""

    assert "not irrevocably committed" in _hear(pair.alice, then(pair))
    assert pair.alice.preimages == {0: PREIMAGE}


@pytest.mark.parametrize("kind", [128, 132, 133])
def test_what_was_said_before_is_not_taken_again(kind: int) -> None:
    """update_add_htlc, commitment_signed and revoke_and_ack of alice, repeated to bob."""
    pair = _pair()
    pair.offer(pair.alice, 10_000_000, PREIMAGE)
    said: dict[int, bytes] = {}
    while pair.alice.outbox or pair.bob.outbox:
        for data in pair.alice.outbox:
            said[int.from_bytes(data[:2], "big")] = data
        pair.step()
    before = pair.bob.disk.core
    message = registry.decode(said[kind])
    assert message is not None

    assert _hear(pair.bob, message) != ""
    after = pair.bob.disk.core
    assert (after.our_number, after.their_revoked, after.ours_msat) == (
        before.our_number, before.their_revoked, before.ours_msat
    )  # fmt: skip
