"""Whole Lightning nodes in the kit: several in one process, one message at a time.

Every message is encoded and decoded. Any actor, or a whole node, can be killed before and after
every durable write and at every message. A world can be copied: run a story once, keep the world
at every point, and start each crash from there.

    world = World()
    alice, bob = world.node("alice"), world.node("bob")
    sentences.open_channel(alice, bob, 1_000_000)
    sentences.pay(alice, bob, 10_000)
    world.kill(alice, "monitors")
    world.settle()
"""

from actors.testkit.node.node import Node
from actors.testkit.node.world import World
from actors.testkit.site import Killed

__all__ = ["Killed", "Node", "World"]
