"""Funding alone on a bench."""

from __future__ import annotations

from protocol.funding.messages import IsConnected, PeerState
from tests.kit.benches import TIP, bench, settings

PEER = settings("bob").node_id


def test_funding_asks_whether_the_peer_is_there_before_anything_is_kept() -> None:
    funding = bench("funding")
    funding.hear("chain", TIP)
    wanted = {"id": PEER.hex(), "amount_sat": 100_000, "announce": False, "push_msat": 0}
    assert funding.ask("fundchannel", destinations=[wanted]) is None
    (question,) = funding.take(IsConnected)
    assert question.peer == PEER
    absent = PeerState(
        peer=PEER, purpose=question.purpose, place=0, features=frozenset(), absent="gone"
    )
    funding.hear("peers", absent)

    (answer,) = funding.answers.values()
    assert answer.code is not None and "gone" in answer.text
    assert not funding.rows("opening")
