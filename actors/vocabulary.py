"""Everything that may be said between actors, and what each keeps: read off the machines.

Links and stores carry msgpack with a type tag; only what some machine hears can be read from them.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any, get_args

import msgspec

from actors.keeps import Keeps
from actors.shards import group_of
from protocol.api.machine import Machine as Api
from protocol.chain.machine import Machine as Chain
from protocol.funding.machine import Machine as Funding
from protocol.gossip.machine import Machine as Gossiper
from protocol.machine import Quarantined
from protocol.monitor.machine import Machine as Monitors
from protocol.payments.machine import Machine as Payments
from protocol.peer.machine import Machine as Peers
from protocol.router.machine import Machine as Router
from protocol.wallet.machine import Machine as Wallet
from storage.schema import Schema

MACHINES: dict[str, Any] = {
    "chain": Chain,
    "wallet": Wallet,
    "funding": Funding,
    "gossiper": Gossiper,
    "router": Router,
    "monitors": Monitors,
    "peers": Peers,
    "payments": Payments,
    "api": Api,
}
SCHEMAS = {name: Keeps(machine.keeps) for name, machine in MACHINES.items()}
HEARS = {
    name: frozenset(get_args(machine.hears) or (machine.hears,))
    for name, machine in MACHINES.items()
}

ITEMS = sorted({Quarantined}.union(*HEARS.values()), key=lambda kind: kind.__name__)
Item: Any = reduce(or_, ITEMS)
OUTBOX = Schema("outbox", Item)

_encoder = msgspec.msgpack.Encoder()
_item_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Item)

encode = _encoder.encode


def decode_item(data: bytes) -> Any:
    """Raises `msgspec.MsgspecError` for anything that is not in the vocabulary."""
    return _item_decoder.decode(data)


def check(to: str, item: Any) -> None:
    """Raises `TypeError` when nobody is called `to`, or it does not hear such a message."""
    heard = HEARS.get(group_of(to))
    if heard is None:
        raise TypeError(f"nobody is called {to!r}")
    if type(item) not in heard:
        raise TypeError(f"{to} does not hear a {type(item).__name__}")


__all__ = ["HEARS", "ITEMS", "MACHINES", "OUTBOX", "SCHEMAS", "check", "decode_item", "encode"]
