"""One simulated Lightning node: its secrets, its wallet's coins, and the roles of its actors."""

from __future__ import annotations

from typing import Any

from actors.settings import Settings
from actors.testkit import fork, site
from actors.testkit.node import ports
from actors.tree import NODE
from protocol.crypto.hashes import sha256
from protocol.funding.policy import OpeningPolicy

# the questions of the API are put by the story itself
ROLES = tuple(name for name in NODE.sized(monitors=1).names if name != "api")


class Node(site.Node):
    """Listens, with the policy of this moment from the next start of `funding` on."""

    def __init__(self, world: Any, name: str) -> None:
        super().__init__(world, name)
        self.seed = sha256(b"seed of " + name.encode())
        self.policy = OpeningPolicy(minimum_depth=3)
        self.id = self.settings.node_id
        self.monitors = self.system.members("monitors")
        self.purse = ports.SimWallet(self.seed)
        self.listening = False

    @property
    def settings(self) -> Settings:
        return Settings(network="regtest", seed=self.seed, policy=self.policy)

    def starting(self, role: str) -> None:
        """A new life of `peers` listens when it says so, not before."""
        if role == "peers":
            self.listening = False

    def branched(self, twin: Any) -> None:
        twin.purse = fork.shallow(self.purse)

    def keeper(self, cid: str) -> str:
        """Which monitor has this channel."""
        return self.system.keeper("monitors", bytes.fromhex(cid))
