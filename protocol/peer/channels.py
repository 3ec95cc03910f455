"""The living channels of all peers, and turns on them."""

from __future__ import annotations

from collections.abc import Callable

from protocol.chain.messages import TIP
from protocol.channel.headroom import Headroom
from protocol.channel.living import Live, Turn
from protocol.crypto.keys import ChannelSecrets, NodeKey
from protocol.machine import Step
from protocol.peer.port import Write
from protocol.peer.rows import LIVES, TOUCHED
from protocol.router.messages import Capacity, FindRoutes
from protocol.scid import alias_of


class Channels:
    def __init__(self, channel_secret: bytes, node: NodeKey) -> None:
        self._master, self._node = channel_secret, node
        self._secrets: dict[int, ChannelSecrets] = {}

    def _secrets_of(self, channel: Live) -> ChannelSecrets:
        index = channel.channel.setup.key_index
        if index not in self._secrets:
            self._secrets[index] = ChannelSecrets(self._master, index)
        return self._secrets[index]

    def turn(self, step: Step, row: Live, *events: Callable[[Turn], None]) -> None:
        """Some events on one channel; what the peer gets now is written, the rest is held."""
        tip = TIP.get(step)
        height = tip.height if tip is not None else None
        turn = Turn(row, self._secrets_of(row), self._node, height)
        for event in events:
            event(turn)
        for item in turn.to_monitor:
            step.tell("monitors", item)
        node = row.channel.setup.peer
        for message in turn.to_peer:
            step.do(Write(node_id=node, message=message.encode()))
        cid = row.channel.id
        LIVES.put(step, turn.live, cid)
        TOUCHED.put(step, True, cid)

    def touched(self, step: Step) -> list[Live]:
        """The channels that had a turn since this was last asked."""
        keys = TOUCHED.below(step)
        for key in keys:
            TOUCHED.drop(step, *key)
        rows = [LIVES.get(step, *key) for key in keys]
        return [row for row in rows if row is not None]

    def of_peer(self, step: Step, node: bytes) -> list[Live]:
        return [row for row in LIVES.below(step).values() if row.channel.setup.peer == node]


# ---- what each of our channels can take now, for who looks for routes ----------------------------


def fill_in(step: Step, question: FindRoutes) -> None:
    """On its way from payments to the router."""
    rows = LIVES.below(step).values()
    capacities = tuple(_capacity(row) for row in rows if row.channel.core.usable)
    step.tell("router", question.but(capacities=capacities))


def _capacity(row: Live) -> Capacity:
    channel = row.channel
    return Capacity(
        channel_id=channel.id,
        scid=channel.core.scid or alias_of(channel.id),
        peer=channel.setup.peer,
        spendable_msat=Headroom(channel).spendable_msat,
        minimum_msat=max(1, channel.setup.theirs.htlc_minimum_msat),
        ready=row.established,
    )
