"""BOLT 7, announcement_signatures: both halves arrive, whoever was first, gone, or forgetful."""

from __future__ import annotations

import pytest

from protocol.channel import announcing, machine, proof
from protocol.channel.living import Turn
from protocol.channel.messages import FundingBuried
from protocol.errors import PeerFault
from protocol.wire import registry
from protocol.wire.gossip import AnnouncementSignatures
from tests.kit.pair import End, Pair

SCID, ELSEWHERE = bytes(7) + b"\x01", bytes(7) + b"\x02"


def _pair() -> Pair:
    """A public channel, ready, and not deep enough."""
    pair = Pair(private=False)
    pair.ready()
    return pair


def _bury(end: End, scid: bytes = SCID) -> None:
    end.tell(FundingBuried(channel_id=end.channel.id, key_index=1, scid=scid))


def _halves_in(end: End) -> list[AnnouncementSignatures]:
    messages = [registry.decode(data) for data in end.outbox]
    return [message for message in messages if isinstance(message, AnnouncementSignatures)]


def _both_know(pair: Pair) -> bool:
    """Each has the other's half, and both make the same announcement of them."""
    wholes = set()
    for end in (pair.alice, pair.bob):
        half = end.disk.core.their_half
        if half is None:
            return False
        turn = Turn(end.live, end.secrets, end.node, end.height)
        ours, theirs = announcing.sides(turn)
        bare = proof.unsigned(end.node.chain_hash, SCID, ours, theirs)
        mine = proof.sign_half(bare, end.node.secret, end.secrets.funding)
        wholes.add(proof.whole(bare, ours, mine, half))
    return len(wholes) == 1


def _reconnect(pair: Pair) -> None:
    pair.cut()
    pair.connect()


@pytest.mark.parametrize("first", ["alice", "bob"])
def test_both_halves_are_exchanged_whoever_sees_the_depth_first(first: str) -> None:
    """G5, G6: the early one is kept, and looked at when our own depth has come."""
    pair = _pair()
    ends = [pair.alice, pair.bob] if first == "alice" else [pair.bob, pair.alice]
    for end in ends:
        assert not _both_know(pair)
        _bury(end)
        pair.run()

    assert _both_know(pair)


@pytest.mark.parametrize("forgetful", ["alice", "bob"])
def test_a_half_that_came_early_survives_a_crash(forgetful: str) -> None:
    """G4, G5: it is on disk before the depth is known."""
    pair = _pair()
    late = pair.alice if forgetful == "alice" else pair.bob
    early = pair.bob if forgetful == "alice" else pair.alice
    _bury(early)
    pair.run()
    assert late.disk.core.their_half is not None

    late.crash()
    _reconnect(pair)
    _bury(late)
    pair.run()

    assert _both_know(pair)


def test_a_half_that_was_lost_on_the_way_is_said_on_the_next_connection() -> None:
    """G2, G3."""
    pair = _pair()
    for end in (pair.alice, pair.bob):
        _bury(end)
    pair.cut()
    assert not _both_know(pair)

    pair.connect()

    assert _both_know(pair)


def test_whoever_has_both_is_silent_and_answers_one_who_has_lost_it() -> None:
    """G10: "MUST respond with its own", once on each connection, and not for ever."""
    pair = _pair()
    for end in (pair.alice, pair.bob):
        _bury(end)
    pair.run()
    _reconnect(pair)
    assert not _halves_in(pair.alice) + _halves_in(pair.bob), "nothing to say"

    pair.bob.disk = pair.bob.disk.with_core(their_half=None)
    pair.bob.crash()
    pair.cut()
    pair.connect()

    assert _both_know(pair)


def test_a_half_said_twice_changes_nothing() -> None:
    """G14: it is answered once."""
    pair = _pair()
    _bury(pair.alice)
    _bury(pair.bob)
    (half,) = [data for data in pair.alice.outbox if data[:2] == b"\x01\x03"]
    pair.run()
    before = pair.bob.disk.core.update_id

    pair.bob.hear(half)
    pair.bob.hear(half)

    assert pair.bob.disk.core.update_id == before
    assert not _halves_in(pair.bob)


def test_a_wrong_half_is_refused_and_ours_is_kept() -> None:
    """G11: a warning, and the true one is taken later."""
    pair = _pair()
    _bury(pair.alice)
    _bury(pair.bob)
    half = _halves_in(pair.alice)[0]
    for wrong in (
        half.but(bitcoin_signature=half.node_signature),
        half.but(short_channel_id=ELSEWHERE),
    ):
        with pytest.raises(PeerFault) as fault:
            pair.bob.turn(lambda turn, m=wrong: machine.hear_peer(turn, m))
        assert not fault.value.fatal
        assert pair.bob.disk.core.their_half is None

    _reconnect(pair)

    assert _both_know(pair)


def test_a_wrong_half_that_came_early_is_dropped_when_the_depth_comes() -> None:
    pair = _pair()
    _bury(pair.alice, ELSEWHERE)
    pair.run()
    assert pair.bob.disk.core.their_half is not None

    _bury(pair.bob)

    assert pair.bob.disk.core.their_half is None


def test_nothing_is_said_of_a_private_channel_or_before_both_are_ready() -> None:
    """ "Otherwise: MUST NOT send the announcement_signatures message"."""
    private = Pair(private=True)
    private.ready()
    early = Pair(private=False)
    early.connect()
    for pair in (private, early):
        _bury(pair.alice)
        assert not _halves_in(pair.alice)

    half = AnnouncementSignatures(
        channel_id=private.bob.channel.id, short_channel_id=SCID, node_signature=bytes(64),
        bitcoin_signature=bytes(64),
    )  # fmt: skip
    with pytest.raises(PeerFault, match="private"):
        private.bob.turn(lambda turn: machine.hear_peer(turn, half))


def test_a_channel_that_moves_is_announced_in_its_new_place() -> None:
    """A reorganisation gives another scid: the halves for the old one are worth nothing."""
    pair = _pair()
    for end in (pair.alice, pair.bob):
        _bury(end, ELSEWHERE)
    pair.run()
    for end in (pair.alice, pair.bob):
        _bury(end)
    pair.run()
    _reconnect(pair)

    assert _both_know(pair)
