"""A hand on the wire between two nodes of the kit: to say what a node never would, to take away."""

from __future__ import annotations

from actors.testkit.node.world import World
from protocol.wire.message import Message


def say(world: World, sender: str, receiver: str, message: Message | bytes) -> None:
    """`receiver` hears this from `sender`, after all that is already on its way."""
    raw = message if isinstance(message, bytes) else message.encode()
    world._ticket += 1
    world.wires[sender, receiver].append((world._ticket, raw))


def take(world: World, sender: str, receiver: str, kind: int) -> bytes:
    """The one message of this type off the wire: whoever sent it keeps it back."""
    queue = world.wires[sender, receiver]
    ((ticket, raw),) = [one for one in queue if int.from_bytes(one[1][:2], "big") == kind]
    queue.remove((ticket, raw))
    return raw
