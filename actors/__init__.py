"""WHO does it. One line for each actor; the tree is in tree.py.

    chain      blocks, confirmations, spends, rebroadcast       over a bitcoind-like backend
    wallet     on-chain coins, addresses, reservations          over bdkpython
    funding    one machine for each opening
    monitors   the durable truth of each channel
    peers      connections and living channels                  keeps nothing
    payments   invoices, received, sent and relayed payments
    gossiper   what the network tells of its channels, and what we tell
    router     the graph, and the ways through it
    api        JSON-RPC on a unix socket                        keeps nothing

The engine (engine/) runs machines as durable, supervised actors; it knows no Lightning, and neither
does its kit (testkit/, but for node/). What an own actor needs is here.
"""

from __future__ import annotations

from typing import Any

from actors.engine.door import DOOR, Refused
from actors.engine.port import CannotStart, PortHost
from actors.engine.system import Child, System
from protocol.errors import Refusal
from protocol.machine import Answer, Ask, Machine, Moment, Step
from protocol.segment import Segment
from protocol.values import Value

__all__ = [
    "DOOR", "Answer", "Ask", "CannotStart", "Child", "Machine", "Moment", "PortHost", "Refusal",
    "Refused", "Segment", "Step", "System", "Value", "ask", "run",
]  # fmt: skip


def run(system: str, folder: str, settings: Any = None) -> int:
    """Run the system that stands at "module:NAME" until SIGTERM or SIGINT, in a folder of its own,
    which is made if it is not there; -> exit status."""
    from actors.engine.run import run as work  # starts the actor library: not for whoever only asks

    return work(system, folder, settings)


def ask(folder: str, to: str, method: str, /, *, timeout_s: float = 30.0, **params: Any) -> Any:
    """Ask an actor of a running system that has a `DOOR` (see `actors.engine.door.ask`)."""
    from actors.engine.door import ask as work

    return work(folder, to, method, timeout_s=timeout_s, **params)
