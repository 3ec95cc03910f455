"""The node's tree, as data. Start order is reading order: read this first.

node (the first process, the operator's)
  Thespian's admin and logger
    supervisor             starts, watches and restarts the leaves; owns nothing
      chain  wallet  funding  gossiper  router  monitors-1  monitors-2  peers  payments  api
"""

from __future__ import annotations

from typing import Any

from actors.engine.system import Child, System
from actors.settings import Settings
from protocol import features
from protocol.api.machine import Machine as Api
from protocol.api.rpc import VERSION
from protocol.chain.machine import Machine as Chain
from protocol.crypto.keys import NodeKey
from protocol.funding.machine import Machine as Funding
from protocol.gossip import addresses
from protocol.gossip.machine import Machine as Gossiper
from protocol.machine import Ask
from protocol.monitor.machine import Machine as Monitors
from protocol.monitor.resting import channel_of
from protocol.payments.machine import Machine as Payments
from protocol.peer.machine import Machine as Peers
from protocol.router.machine import Machine as Router
from protocol.wallet.machine import Machine as Wallet

MONITORS = 2  # for ever: which of them keeps a channel follows from its id and this number
ASK_THE_CHANNELS = "or start once with --rebuild payments: the channels know the rest"


def _chain(name: str, settings: Settings, of: System) -> Chain:
    return Chain()


def _wallet(name: str, settings: Settings, of: System) -> Wallet:
    return Wallet()


def _funding(name: str, settings: Settings, of: System) -> Funding:
    return Funding(settings.network, settings.channel_seed, settings.channel_policy)


def _gossiper(name: str, settings: Settings, of: System) -> Gossiper:
    key = NodeKey(settings.node_secret, settings.chain_hash)
    told = features.encode(features.OUR_INIT)
    places = addresses.encode([addresses.Address(*place) for place in settings.announced])
    return Gossiper(settings.channel_seed, key, told, settings.alias, key.id[:3], places)


def _router(name: str, settings: Settings, of: System) -> Router:
    return Router(settings.node_id)


def _monitors(name: str, settings: Settings, of: System) -> Monitors:
    return Monitors(name, len(of.members("monitors")), settings.channel_seed)


def _peers(name: str, settings: Settings, of: System) -> Peers:
    s = settings
    return Peers(s.network, s.channel_seed, s.node_secret, s.guests)


def _payments(name: str, settings: Settings, of: System) -> Payments:
    return Payments(settings.network, settings.node_secret)


def _api(name: str, settings: Settings, of: System) -> Api:
    s = settings
    return Api(
        monitors=len(of.members("monitors")),
        network=s.network,
        node_id=s.node_id.hex(),
        alias=s.alias,
        host=s.host,
        port=s.port,
        folder=s.folder,
        announced=s.announced,
        actors=of.names,
    )


def _channel(item: Any) -> bytes | None:
    """The id (32 bytes) of the channel that a message to a monitor is about: it begins with that
    of a transaction, and is evenly spread."""
    if isinstance(item, Ask):
        channel = item.params.get("channel_id")
        return None if channel is None else bytes.fromhex(channel)
    return channel_of(item)


def _identity(settings: Settings) -> bytes:
    return f"{settings.network} ".encode() + settings.node_id


# fmt: off
NODE = System([
    Child("chain", Chain, _chain, "actors.ports.chain:ChainPort"),
    Child("wallet", Wallet, _wallet, "actors.ports.wallet:WalletPort"),
    Child("funding", Funding, _funding),
    Child("gossiper", Gossiper, _gossiper, remakeable=True, credited=True),
    Child("router", Router, _router, remakeable=True, later=("scipy.sparse.csgraph",)),
    Child("monitors", Monitors, _monitors, members=MONITORS, about=_channel),
    Child("peers", Peers, _peers, "actors.ports.peers:PeersPort"),
    Child("payments", Payments, _payments, rebuildable=ASK_THE_CHANNELS),
    Child("api", Api, _api, "actors.ports.api:ApiPort"),
], identity=_identity, release=VERSION)
# fmt: on
