"""Which machine belongs to which name, and the secret that each needs, made from the seed."""

from __future__ import annotations

from typing import Any

from actors.descriptors import MOST_GUESTS
from actors.shards import group_of
from protocol import features, opening
from protocol.api.machine import Machine as Api
from protocol.chain.machine import Machine as Chain
from protocol.crypto.hashes import derive
from protocol.crypto.keys import NodeKey, node_id, node_secret
from protocol.funding.machine import Machine as Funding
from protocol.gossip import addresses
from protocol.gossip.machine import Machine as Gossiper
from protocol.monitor.machine import Machine as Monitors
from protocol.opening import CHAIN_HASH, Policy
from protocol.payments.machine import Machine as Payments
from protocol.peer.machine import Machine as Peers
from protocol.router.machine import Machine as Router
from protocol.wallet.machine import Machine as Wallet


def make_machine(
    name: str, network: str, seed: bytes, *, policy: Policy | None = None, **shown: Any
) -> Any:
    """`shown`: what the API tells of the node (alias, host, port, folder), `monitors`, how many
    share the channels, and `guests`, how many connections without a channel there may be."""
    monitors = shown.get("monitors", 1)
    match group_of(name):
        case "chain":
            return Chain()
        case "wallet":
            return Wallet()
        case "funding":
            trusted = frozenset(bytes.fromhex(node) for node in shown.get("zeroconf_peers", ()))
            depth = opening.DEPTHS.get(network, 1)
            policy = policy or Policy(minimum_depth=depth, zeroconf_peers=trusted)
            return Funding(network, derive(seed, "channels"), policy)
        case "gossiper":
            key = NodeKey(node_secret(seed), bytes.fromhex(CHAIN_HASH[network]))
            told = features.encode(features.OUR_INIT)
            alias = shown.get("alias", "daruma")
            places = addresses.encode([addresses.Address(*x) for x in shown.get("announced", ())])
            return Gossiper(derive(seed, "channels"), key, told, alias, key.id[:3], places)
        case "router":
            return Router(node_id(seed))
        case "monitors":
            return Monitors(name, monitors, derive(seed, "channels"))
        case "peers":
            guests = shown.get("guests", MOST_GUESTS)
            return Peers(network, derive(seed, "channels"), node_secret(seed), guests)
        case "payments":
            return Payments(network, node_secret(seed))
        case "api":
            shown.pop("zeroconf_peers", None)
            shown.pop("monitors", None)
            shown.pop("guests", None)
            return Api(monitors=monitors, network=network, node_id=node_id(seed).hex(), **shown)
    raise AssertionError(name)
