"""The living channels of all peers, and turns on them."""

from __future__ import annotations

from collections.abc import Callable

from protocol.chain.messages import TIP
from protocol.channel.headroom import Headroom
from protocol.channel.living import Live, Turn
from protocol.crypto.keys import ChannelSecrets, NodeKey
from protocol.machine import Step
from protocol.networks import CHAIN_HASH
from protocol.peer.port import Write
from protocol.peer.rows import LIVES, TOUCHED
from protocol.router.messages import Capacity, FindRoutes
from protocol.scid import alias_of


class Us:
    """Who we are to every peer: the network, the node's key, and the channels' secrets, each made
    once. `guests`: so many may be connected that we have no channel with."""

    def __init__(
        self, network: str, channel_secret: bytes, node_secret: bytes, guests: int
    ) -> None:
        self.network, self.guests = network, guests
        self.node = NodeKey(node_secret, bytes.fromhex(CHAIN_HASH[network]))
        self._master = channel_secret
        self._secrets: dict[int, ChannelSecrets] = {}

    def secrets(self, index: int) -> ChannelSecrets:
        """Of the channel with this key index."""
        if index not in self._secrets:
            self._secrets[index] = ChannelSecrets(self._master, index)
        return self._secrets[index]


def turn(us: Us, step: Step, row: Live, *events: Callable[[Turn], None]) -> None:
    """Some events on one channel; what the peer gets now is written, the rest is unsent."""
    tip = TIP.get(step)
    height = tip.height if tip is not None else None
    turn = Turn(row, us.secrets(row.channel.setup.key_index), us.node, height)
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


def touched(step: Step) -> list[Live]:
    """The channels that had a turn since this was last asked."""
    keys = TOUCHED.below(step)
    for key in keys:
        TOUCHED.drop(step, *key)
    rows = [LIVES.get(step, *key) for key in keys]
    return [row for row in rows if row is not None]


def of_peer(step: Step, node: bytes) -> list[Live]:
    """The living channels with one peer."""
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
