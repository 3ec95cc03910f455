"""The peers: connections, init, ping, and the channels of each (`protocol/channel`).

Owns: nothing durable. Hears: its port (connections and their messages), monitors (channels are
born from them), funding, chain, the API. Delivers: monitors (updates), funding (opening messages).
Nothing is dialled or accepted before the monitors have given all channels.
"""

from __future__ import annotations

from typing import assert_never

from protocol import machine as contract
from protocol.chain.messages import Tip
from protocol.channel import living, machine, messages
from protocol.funding.messages import IsConnected, ToPeer, TryLater
from protocol.gossip.messages import Complain, Digested, Reconnect, ToWire, WireDrained
from protocol.machine import Ask, Moment, Step
from protocol.monitor.messages import Addresses, PeerAddress, Reborn
from protocol.peer import channels, connections, gossip, hosting, session
from protocol.peer.channels import Us
from protocol.peer.connections import TICK_SECONDS
from protocol.peer.port import Connected, Disconnected, Drained, Received
from protocol.peer.rows import LIVES, PEERS, TOUCHED, UNBORN
from protocol.router.messages import FindRoutes

Heard = (
    messages.Born | messages.Ended | messages.Durable | messages.AddHtlc | messages.ResolveHtlc
    | messages.Held | messages.Unheld | messages.CloseRequest | messages.FundingConfirmed
    | messages.FundingBuried | Addresses | PeerAddress | ToPeer | IsConnected | TryLater | ToWire
    | Digested | Reconnect | Complain | FindRoutes | Tip | Ask | messages.Rests
)  # fmt: skip
Report = Connected | Received | Disconnected | Drained


class Machine(contract.Machine):
    """The peers actor's decisions: a table of contents."""

    name = "peers"
    hears = Heard
    reports = Report
    keeps = ()

    def __init__(
        self, network: str, channel_secret: bytes, node_secret: bytes, guests: int
    ) -> None:
        self.us = Us(network, channel_secret, node_secret, guests)

    def drain(self, step: Step, at: Moment) -> None:
        for row in channels.touched(step):
            hosting.turn(self.us, step, at, row, machine.drain)
            TOUCHED.drop(step, row.channel.id)

    def wake(self, step: Step, at: Moment) -> None:
        connections.wake(self.us, step, at)

    def resume(self, step: Step, name: str | None, at: Moment) -> None:
        match name:
            case None:
                step.wake(at.unix_seconds + TICK_SECONDS)
            case "monitors":
                for row in LIVES.below(step).values():
                    channels.turn(self.us, step, row, living.monitor_restarted)
                for (channel_id,) in UNBORN.below(step):
                    step.tell("monitors", Reborn(channel_id=channel_id))
                connections.say_addresses(step)
            case "gossiper":
                gossip.gossiper_restarted(step)
            case "funding":
                # its negotiations are forgotten: a new connection tells the peers so
                for peer in PEERS.below(step).values():
                    if peer.negotiations:
                        why = "the opening was interrupted"
                        connections.hang_up(self.us, step, peer, at, why)

    def abandoned(self, step: Step, question: str, at: Moment) -> None:
        connections.abandoned(step, question)

    def step(self, step: Step, sender: str, item: Heard | Report, at: Moment) -> None:
        match item:
            # the world
            case Received():
                session.received(self.us, step, item, at)
            case Connected():
                connections.connected(self.us, step, item, at)
            case Disconnected():
                connections.disconnected(self.us, step, item.node_id, item.reason, at)
            case Drained():
                step.tell("gossiper", WireDrained(peer=item.node_id))
            # monitors, of a channel
            case messages.Born():
                hosting.born(self.us, step, item, at)
            case messages.Ended():
                hosting.ended(step, item.channel_id)
            case messages.Rests():
                hosting.rests(self.us, step, item.channel_id, at)
            case (
                messages.Durable() | messages.AddHtlc() | messages.ResolveHtlc() | messages.Held()
                | messages.Unheld() | messages.CloseRequest() | messages.FundingConfirmed()
                | messages.FundingBuried()
            ):  # fmt: skip
                hosting.hear_monitor(self.us, step, item, at)
            case Addresses():
                connections.adopted(step, sender, item)
            case PeerAddress():
                connections.known(step, item)
            # funding
            case ToPeer():
                session.to_peer(step, item)
            case IsConnected():
                connections.is_there(step, item)
            case TryLater():
                connections.let_go(self.us, step, item.peer, at, "the channel is not here yet")
            # others
            case ToWire() | Digested() | Reconnect() | Complain():
                gossip.ordered(self.us, step, item, at)
            case FindRoutes():
                channels.fill_in(step, item)
            case Tip():
                hosting.tip(self.us, step, item)
            case Ask():
                connections.ask(self.us, step, item, at)
            case _:
                assert_never(item)
