"""The supervision tree, as data. Start order is reading order: read this first.

node (the first process, the operator's)
  Thespian's admin and logger
    supervisor             starts, watches and restarts the leaves; owns nothing
      chain  wallet  funding  gossiper  router  monitors-1  monitors-2  peers  payments  api
"""

from __future__ import annotations

from typing import NamedTuple

from actors import shards


class Child(NamedTuple):
    """`restarts` in `window_seconds` are normal; more, and the supervisor gives up loudly.

    `remakeable`: its snapshot can be learnt again from other actors and from peers, so that a
    missing one is no reason to refuse the start. `rebuildable`: something would be lost, but no
    money: it is made anew if the operator says so (--rebuild).
    """

    name: str
    durable: bool
    port: str
    remakeable: bool = False
    rebuildable: bool = False
    restarts: int = 30
    window_seconds: float = 30.0


MONITORS = 2  # for ever: which of them keeps a channel follows from its id and this number


def tree(monitors: int = MONITORS) -> tuple[Child, ...]:
    names = shards.members("monitors", monitors)
    return (
        Child("chain", durable=True, port="actors.ports.chain:ChainPort"),
        Child("wallet", durable=True, port="actors.ports.wallet:WalletPort"),
        Child("funding", durable=True, port=""),
        Child("gossiper", durable=True, port="", remakeable=True),
        Child("router", durable=True, port="", remakeable=True),
        *(Child(name, durable=True, port="") for name in names),
        Child("peers", durable=False, port="actors.ports.peers:PeersPort"),
        Child("payments", durable=True, port="", rebuildable=True),
        Child("api", durable=False, port="actors.ports.api:ApiPort"),
    )


TREE = tree()
ORDER = {child.name: place for place, child in enumerate(TREE)}
BACKOFF_SECONDS = (0.0, 0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
HEARTBEAT_SECONDS, HUNG_SECONDS = 1.0, 10.0
