"""Which machine belongs to which name, and which secrets it gets of the seed."""

from __future__ import annotations

from typing import Any

from actors.notes import Settings
from protocol import chain, opening, wallet
from protocol.api.machine import Machine as Api
from protocol.crypto import secp
from protocol.crypto.hashes import derive
from protocol.funding.machine import Machine as Funding
from protocol.monitor.machine import Machine as Monitors
from protocol.payments.machine import Machine as Payments
from protocol.peer.machine import Machine as Peers


def node_secret(seed: bytes) -> bytes:
    return derive(seed, "node")


def node_id(seed: bytes) -> bytes:
    """33 bytes: what the world calls this node."""
    return secp.public_key(node_secret(seed))


def make_machine(name: str, settings: Settings) -> Any:
    network, seed = settings.network, settings.seed
    channels = derive(seed, "channels")
    match name:
        case "chain":
            return chain.Machine(network)
        case "wallet":
            return wallet.Machine(network)
        case "funding":
            return Funding(network, channels, opening.Policy())
        case "monitors":
            return Monitors(network)
        case "peers":
            return Peers(network, channels, node_id(seed))
        case "payments":
            return Payments(network, node_secret(seed))
        case "api":
            return Api(network, node_id(seed), settings.alias, settings.host, settings.port)
    raise AssertionError(name)
