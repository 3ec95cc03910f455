"""The actor test kit: the actors of a `System` in one process, one message at a time.

Runs the production driver and your machines over simulated links, disks, ports and clock. Every
message is encoded and decoded. Any actor, or a whole node, can be killed before and after every
durable write and at every message; `explore` does so at all of them
(docs/actors.md).

    world = World(BANK)
    bank = world.node("bank")
    ask(bank, "east", "transfer", id="1", to="west", amount=5)
    world.kill(bank, "east")
    world.settle()
"""

from actors.engine.host import Switches
from actors.testkit.depth_two import explore_twice
from actors.testkit.explore import Story, explore
from actors.testkit.sentences import Refused, ask, ask_once, until
from actors.testkit.site import Killed, Node
from actors.testkit.world import World

__all__ = [
    "Killed", "Node", "Refused", "Story", "Switches", "World", "ask", "ask_once", "explore",
    "explore_twice", "until",
]  # fmt: skip
