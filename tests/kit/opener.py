"""Whoever opens channels with a funding actor that stands on a bench."""

from __future__ import annotations

from typing import Any

from protocol.crypto.keys import ChannelSecrets
from protocol.funding import establishment
from protocol.funding.messages import ToPeer
from protocol.funding.policy import OpeningPolicy
from protocol.wire import registry
from protocol.wire.opening import OpenChannel
from tests.kit.benches import TIP, bench

ATTACKER = ChannelSecrets(b"a" * 32, 1)


class Opener:
    """Funding alone on a bench, and whoever opens channels with it."""

    def __init__(self, **policy: Any) -> None:
        self.bench = bench("funding", policy=OpeningPolicy(**policy))
        self.hear(TIP, "chain")

    def hear(self, item: Any, sender: str = "peers") -> list[Any]:
        """-> what is said to anybody."""
        self.bench.hear(sender, item)
        return self.bench.take(object)

    def told(self, item: Any) -> list[Any]:
        """-> the messages that go to the peer."""
        said = [one.message for one in self.hear(item) if isinstance(one, ToPeer)]
        return [registry.decode(message) for message in said]


def asking(number: int, **changes: Any) -> OpenChannel:
    """Its open_channel with this temporary id."""
    party = establishment.our_party(OpeningPolicy(), ATTACKER, 100_000)
    message = establishment.open_channel(
        network="regtest",
        temporary_id=number.to_bytes(32, "big"),
        amount_sat=100_000,
        push_msat=0,
        feerate_per_kw=1000,
        kind=frozenset({12, 22}),
        announce=True,
        party=party,
        first_point=ATTACKER.commitment_point(0),
        upfront=b"",
    )
    return message.but(**changes)


def node_id(number: int) -> bytes:
    """Of a peer."""
    return b"\x02" + number.to_bytes(32, "big")
