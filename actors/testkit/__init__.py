"""The actor test kit: whole nodes in one process, one message at a time.

Runs the production drivers and machines of several nodes over simulated links, wires, disks, chain
and clock. Every message is encoded and decoded. Any actor, or a whole node, can be killed before
and after every durable write and at every message. A world can be copied: run a story once, keep
the world at every point, and start each crash from there.

    world = World()
    alice, bob = world.node("alice"), world.node("bob")
    stories.open_channel(alice, bob, 1_000_000)
    stories.pay(alice, bob, 10_000)
    world.kill(alice, "monitors")
    world.settle()
"""

from actors.testkit.node import Killed, Node
from actors.testkit.world import World

__all__ = ["Killed", "Node", "World"]
