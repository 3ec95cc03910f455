"""What the actors of a Lightning node are made with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from actors.engine.hardened import Note
from actors.ports.descriptors import MOST_GUESTS
from protocol.crypto import keys
from protocol.crypto.hashes import derive
from protocol.funding.policy import OpeningPolicy
from protocol.networks import CHAIN_HASH, DEPTHS


@dataclass(frozen=True, repr=False)
class Settings(Note):
    """`seed` (32 bytes) never leaves the machine. `host`, `port`: where it listens; `announced`:
    addresses as (kind, host, port). `rpc`: how its bitcoind is reached. `guests`: so many
    connections without a channel there may be. `policy`: what it asks of a channel; the usual one
    of the network, with `zeroconf_peers` (hex), unless it is given."""

    network: str
    seed: bytes
    folder: str = ""
    host: str = ""
    port: int = 0
    alias: str = "daruma"
    zeroconf_peers: tuple[str, ...] = ()
    announced: tuple[tuple[str, str, int], ...] = ()
    rpc: dict[str, Any] = field(default_factory=dict)
    first_pid: int = 0
    guests: int = MOST_GUESTS
    policy: OpeningPolicy | None = None

    @property
    def node_id(self) -> bytes:
        """33 bytes."""
        return keys.node_id(self.seed)

    @property
    def node_secret(self) -> bytes:
        """32 bytes."""
        return keys.node_secret(self.seed)

    @property
    def channel_seed(self) -> bytes:
        return derive(self.seed, "channels")

    @property
    def chain_hash(self) -> bytes:
        """32 bytes, as in messages (BOLT 0)."""
        return bytes.fromhex(CHAIN_HASH[self.network])

    @property
    def channel_policy(self) -> OpeningPolicy:
        """What we accept of openers: as given, else by the network."""
        if self.policy is not None:
            return self.policy
        trusted = frozenset(bytes.fromhex(node) for node in self.zeroconf_peers)
        depth = DEPTHS.get(self.network, 1)
        return OpeningPolicy(minimum_depth=depth, zeroconf_peers=trusted)
