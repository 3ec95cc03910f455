"""The supervision tree, as data. Start order is reading order: read this first.

node (the first process, the operator's)
  Thespian's admin and logger
    supervisor             starts, watches and restarts the leaves; owns nothing
      chain  wallet  funding  gossiper  router  monitors  peers  payments  api
"""

from __future__ import annotations

from typing import NamedTuple


class Child(NamedTuple):
    """`restarts` in `window_seconds` are normal; more, and the supervisor gives up loudly.

    `remakeable`: its snapshot can be learnt again from other actors and from peers, so that a
    missing one is no reason to refuse the start.
    """

    name: str
    durable: bool
    port: str
    remakeable: bool = False
    restarts: int = 30
    window_seconds: float = 30.0


TREE = (
    Child("chain", durable=True, port="actors.ports.chain:ChainPort"),
    Child("wallet", durable=True, port="actors.ports.wallet:WalletPort"),
    Child("funding", durable=True, port=""),
    Child("gossiper", durable=True, port="", remakeable=True),
    Child("router", durable=True, port="", remakeable=True),
    Child("monitors", durable=True, port=""),
    Child("peers", durable=False, port="actors.ports.peers:PeersPort"),
    Child("payments", durable=True, port=""),
    Child("api", durable=False, port="actors.ports.api:ApiPort"),
)
ORDER = {child.name: place for place, child in enumerate(TREE)}
BACKOFF_SECONDS = (0.0, 0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
HEARTBEAT_SECONDS, HUNG_SECONDS = 1.0, 10.0
