"""A mined commitment, as its other side sees it: what is found, and spends that are valid (BOLT 5).

Both channel types; Bitcoin Core's own library checks each spend.
"""

from __future__ import annotations

import pytest

from protocol.bitcoin import script
from protocol.channel import mined, stages
from protocol.channel.mined import BALANCE, THEIR_BALANCE
from tests.kit import enforcing
from tests.kit.pair import End, Pair

BOTH = pytest.mark.parametrize("anchors", [True, False])
OURS, THEIRS = bytes([4]) * 32, bytes([5]) * 32
TO = script.p2wpkh(b"\x02" + bytes(32))


def _pair(*, anchors: bool) -> Pair:
    """An HTLC each way, irrevocable; bob reads what alice publishes."""
    pair = Pair(anchors=anchors)
    pair.ready()
    pair.offer(pair.bob, 60_000_000, OURS, 1)
    pair.offer(pair.alice, 50_000_000, THEIRS, 2)
    pair.run()
    return pair


def _seen(pair: Pair, tx: object) -> mined.Mined:
    bob = pair.bob
    ours = mined.is_ours(bob.disk, bob.secrets, tx)  # type: ignore[arg-type]
    return mined.read(bob.disk, bob.secrets, tx, ours=ours, known={})  # type: ignore[arg-type]


def _published(end: End) -> object:
    return enforcing.signed(end.disk, end.secrets)


@BOTH
@pytest.mark.parametrize("what", [BALANCE, "ours/0", "theirs/0"])
def test_each_output_is_found_and_taken(what: str, *, anchors: bool) -> None:
    pair = _pair(anchors=anchors)
    tx = enforcing.signed(pair.alice.disk, pair.alice.secrets)

    seen = _seen(pair, tx)
    (found,) = [one for one in seen.outputs if one.what == what]
    preimage = THEIRS if what == "theirs/0" else None
    way = mined.our_way(pair.bob.disk, pair.bob.secrets, seen, found, preimage)
    assert way is not None
    taken = mined.take(tx.txid, found, way, TO, 1000)

    assert (seen.ours, seen.revoked, len(seen.outputs)) == (False, None, 3)
    assert taken is not None
    assert enforcing.verifies(taken, 0, tx.outputs[found.vout])
    assert taken.locktime == (500 if what == "ours/0" else 0)
    fee_sat = found.amount_sat - taken.outputs[0].amount_sat
    assert taken.weight <= fee_sat <= taken.weight + 5  # 1,000 satoshi for 1,000 of weight
    spoilt = taken._replace(outputs=(taken.outputs[0]._replace(script=b"\x6a"),))
    assert not _verifies(spoilt, tx.outputs[found.vout])


def _verifies(tx: object, out: object) -> bool:
    try:
        return enforcing.verifies(tx, 0, out)  # type: ignore[arg-type]
    except Exception:
        return False


@BOTH
def test_an_htlc_of_theirs_is_not_taken_without_its_preimage(*, anchors: bool) -> None:
    pair = _pair(anchors=anchors)
    seen = _seen(pair, _published(pair.alice))
    (found,) = [one for one in seen.outputs if one.what == "theirs/0"]

    assert mined.our_way(pair.bob.disk, pair.bob.secrets, seen, found, None) is None


@BOTH
def test_the_commitment_that_is_signed_and_not_revoked_is_read_as_well(*, anchors: bool) -> None:
    """alice has two: the one before bob's new HTLC, and the one with it."""
    pair = _pair(anchors=anchors)
    before = enforcing.signed(pair.alice.disk, pair.alice.secrets)
    pair.offer(pair.bob, 70_000_000, bytes([6]) * 32, 3)
    for data in list(pair.bob.outbox):
        pair.alice.hear(data)
    pair.bob.outbox.clear()  # bob never hears alice's revoke_and_ack
    after = enforcing.signed(pair.alice.disk, pair.alice.secrets)
    assert before.txid != after.txid

    assert {one.what for one in _seen(pair, before).outputs} == {BALANCE, "ours/0", "theirs/0"}
    with_it = {BALANCE, "ours/0", "ours/1", "theirs/0"}
    assert {one.what for one in _seen(pair, after).outputs} == with_it
    assert _seen(pair, after).revoked is None


@BOTH
def test_all_of_a_revoked_commitment_is_taken(*, anchors: bool) -> None:
    pair = _pair(anchors=anchors)
    old = enforcing.signed(pair.alice.disk, pair.alice.secrets)
    pair.offer(pair.alice, 10_000_000, bytes([6]) * 32, 3)
    pair.run()

    seen = _seen(pair, old)

    assert seen.revoked is not None
    assert {one.what for one in seen.outputs} == {BALANCE, THEIR_BALANCE, "ours/0", "theirs/0"}
    for found in seen.outputs:
        way = mined.our_way(pair.bob.disk, pair.bob.secrets, seen, found, None)
        assert way is not None and way.locktime == 0
        taken = mined.take(old.txid, found, way, TO, 1000)
        assert taken is not None and enforcing.verifies(taken, 0, old.outputs[found.vout])


@BOTH
def test_our_own_commitment_is_known_as_ours(*, anchors: bool) -> None:
    pair = _pair(anchors=anchors)

    seen = _seen(pair, _published(pair.bob))

    assert seen.ours
    assert {one.what for one in seen.outputs} == {"ours/0", "theirs/0"}


@BOTH
def test_of_an_unknown_commitment_our_balance_is_found(*, anchors: bool) -> None:
    """bob's disk is older than what alice has: nothing is guessed, what needs no point is taken."""
    pair = _pair(anchors=anchors)
    old, secrets = pair.bob.disk, pair.bob.secrets
    for number in (3, 4, 5):
        pair.offer(pair.alice, 10_000_000, bytes([6]) * 32, number)
        pair.run()
    tx = enforcing.signed(pair.alice.disk, pair.alice.secrets)

    seen = mined.read(old, secrets, tx, ours=False, known={})

    assert (seen.point, [one.what for one in seen.outputs]) == (None, [BALANCE])


def test_htlcs_of_one_hash_and_amount_have_an_output_each() -> None:
    """LDK 4854."""
    pair = Pair()
    pair.ready()
    for number in (1, 2):
        pair.offer(pair.alice, 50_000_000, THEIRS, number)
    pair.run()

    seen = _seen(pair, _published(pair.alice))

    places = {one.what: one.vout for one in seen.outputs}
    assert places["theirs/0"] != places["theirs/1"]


def test_the_output_of_equal_htlcs_is_of_the_one_that_still_stands() -> None:
    """carol has fulfilled the first, and publishes the commitment without it: the second must not
    count as missing (it would fail upstream, and she takes it with the preimage)."""
    pair = Pair()
    pair.ready()
    for number in (1, 2):
        pair.offer(pair.bob, 50_000_000, THEIRS, number)
    pair.run()
    pair.settle(pair.alice, 0, preimage=THEIRS)
    while pair.bob.disk.htlcs["ours/0"].stage < stages.UNSIGNED_THEM:
        assert pair.step()
    for data in list(pair.bob.outbox):
        pair.alice.hear(data)  # her new commitment; bob never hears her revoke_and_ack
    tx = enforcing.signed(pair.alice.disk, pair.alice.secrets)

    seen = _seen(pair, tx)

    assert [one.what for one in seen.outputs if one.what != BALANCE] == ["ours/1"]


def test_what_an_output_is_stays_when_an_equal_htlc_is_forgotten() -> None:
    pair = Pair()
    pair.ready()
    for number in (1, 2):
        pair.offer(pair.alice, 50_000_000, THEIRS, number)
    pair.run()
    tx = enforcing.signed(pair.alice.disk, pair.alice.secrets)
    first = {one.vout: one.what for one in _seen(pair, tx).outputs}
    left = {key: htlc for key, htlc in pair.bob.disk.htlcs.items() if key != "theirs/0"}

    now = mined.read(pair.bob.disk.but(htlcs=left), pair.bob.secrets, tx, ours=False, known=first)

    found = {one.what: one.vout for one in now.outputs}
    assert "theirs/0" not in found
    assert first[found["theirs/1"]] == "theirs/1"


def test_an_output_that_its_fee_would_eat_up_is_left() -> None:
    pair = _pair(anchors=True)
    tx = enforcing.signed(pair.alice.disk, pair.alice.secrets)
    seen = _seen(pair, tx)
    found = seen.outputs[0]
    way = mined.our_way(pair.bob.disk, pair.bob.secrets, seen, found, THEIRS)
    assert way is not None

    assert mined.take(tx.txid, found, way, TO, 100_000_000) is None
