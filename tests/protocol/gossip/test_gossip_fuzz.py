"""Gossip that somebody has chewed on: complained of or ignored, never a defect of ours."""

from __future__ import annotations

import random

import pytest

from protocol.gossip.messages import Complain
from protocol.wire import gossip
from protocol.wire.gossip import (
    GossipTimestampFilter,
    QueryChannelRange,
    QueryShortChannelIds,
    ReplyChannelRange,
    ReplyShortChannelIdsEnd,
)
from tests.kit.chew import chewed
from tests.kit.gossip import CHAIN, NOW, QUERIES_EX, Listener, channel, node, place, update

IDS = gossip.encode_ids([place(5), place(6)])
SOUND = [
    channel(place(7)),
    update(place(5), 0, NOW),
    update(place(7), 1, NOW),
    node(0),
    QueryShortChannelIds(
        chain_hash=CHAIN, encoded_short_ids=IDS, query_flags=gossip.encode_flags([31, 5])
    ).encode(),
    QueryChannelRange(
        chain_hash=CHAIN, first_blocknum=0, number_of_blocks=9999, query_option=b"\x03"
    ).encode(),
    GossipTimestampFilter(chain_hash=CHAIN, first_timestamp=0, timestamp_range=2**32 - 1).encode(),
    ReplyChannelRange(
        chain_hash=CHAIN, first_blocknum=0, number_of_blocks=9999, sync_complete=1,
        encoded_short_ids=IDS, timestamps=b"\0" + bytes(16), checksums=bytes(16),
    ).encode(),
    ReplyShortChannelIdsEnd(chain_hash=CHAIN, full_information=1).encode(),
]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_chewed_gossip_never_ends_the_gossiper(seed: int) -> None:
    dice = random.Random(seed)
    listener = Listener()
    for height in (5, 6):
        listener.knows(place(height))
    listener.up(features=QUERIES_EX)

    for _ in range(1500):
        said = listener.wire(chewed(dice.choice(SOUND), dice))
        assert sum(isinstance(item, Complain) for item in said) <= 1

    assert set(listener.rows.shown("edge")) == {f"edge/{place(height).hex()}" for height in (5, 6)}
