"""A refusal on its way to the monitor: what the monitor still calls an offer is not made again."""

from __future__ import annotations

from protocol.channel.messages import Born
from tests.kit.pair import Pair


def test_an_offer_whose_refusal_is_not_written_does_not_live_again() -> None:
    """The monitor died with the refusal in hand: its payer will be told, and may pay elsewhere."""
    pair = Pair()
    pair.ready()
    alice = pair.alice
    alice.write_allowed = False
    origin = pair.offer(alice, 10**12)
    assert [one[0] for update in alice.live.unacked for one in update.refused] == [origin]

    alice.tell(Born(channel=alice.disk, adds=tuple(alice.adds.values())))

    assert origin not in alice.live.adds
    assert len(alice.live.unacked) == 1
