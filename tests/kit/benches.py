"""One actor of a Lightning node on a bench, with the settings of a test."""

from __future__ import annotations

from typing import Any

from actors.settings import Settings
from actors.testkit.bench import Bench
from actors.tree import NODE
from protocol.chain.messages import Tip
from protocol.crypto.hashes import sha256
from protocol.funding.policy import OpeningPolicy

SYSTEM = NODE.sized(monitors=1)
HEIGHT = 100
TIP = Tip(height=HEIGHT, hash=bytes(32), feerate_per_kw=1000)


def settings(name: str = "alice", **changes: Any) -> Settings:
    policy = OpeningPolicy(minimum_depth=3)
    return Settings(
        **{"network": "regtest", "seed": sha256(name.encode()), "policy": policy, **changes}
    )


def bench(actor: str, name: str = "alice", system: Any = SYSTEM, **changes: Any) -> Bench:
    return Bench(system, actor, settings=settings(name, **changes), asker="api")
