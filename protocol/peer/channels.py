"""The living channels of all peers: rows "~live/<channel>", and turns on them."""

from __future__ import annotations

from collections.abc import Callable

from protocol.channel.live import Live, Turn
from protocol.crypto.keys import ChannelSecrets, NodeKey
from protocol.machine import Step
from protocol.peer.items import Write


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
        tip = step.get("~tip")
        height = tip.height if tip is not None else None
        turn = Turn(row, self._secrets_of(row), self._node, height)
        for event in events:
            event(turn)
        for item in turn.to_monitor:
            step.say("monitors", item)
        node = row.channel.setup.peer
        for message in turn.to_peer:
            step.do(Write(node_id=node, message=message.encode()))
        cid = row.channel.id.hex()
        step.put(f"~live/{cid}", turn.live)
        step.put(f"~touched/{cid}", True)

    def touched(self, step: Step) -> list[Live]:
        """The channels that had a turn since this was last asked."""
        keys = step.scan("~touched/")
        for key in keys:
            step.drop(key)
        rows = [step.get(f"~live/{key.removeprefix('~touched/')}") for key in keys]
        return [row for row in rows if row is not None]

    def of_peer(self, step: Step, node: bytes) -> list[Live]:
        return [row for row in step.scan("~live/").values() if row.channel.setup.peer == node]
