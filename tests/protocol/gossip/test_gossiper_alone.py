"""The gossiper alone on a bench."""

from __future__ import annotations

from protocol.channel.proof import Side
from protocol.gossip.messages import OwnChannel, OwnTerms
from tests.kit.benches import TIP, bench, settings

PEER = settings("bob").node_id
CHANNEL = bytes([1]) * 32


def test_a_gossiper_keeps_our_channels_and_tells_payments_its_terms_after_every_restart() -> None:
    gossiper = bench("gossiper")
    gossiper.hear("chain", TIP)
    side = Side(node_id=PEER, funding_key=PEER)
    own = OwnChannel(
        channel_id=CHANNEL, scid=bytes(8), txid=bytes(32), theirs=side, their_half=None,
        called=bytes(8), key_index=1, capacity_sat=1_000_000, least_msat=1, most_msat=10**9,
    )  # fmt: skip
    gossiper.hear("monitors", own)
    (terms,) = gossiper.take(OwnTerms)
    assert (terms.channel_id, terms.peer, terms.public) == (CHANNEL, PEER, False)

    gossiper.restart()
    gossiper.linked("payments")
    assert gossiper.take(OwnTerms) == [terms]
