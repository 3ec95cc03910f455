"""One actor alone on a bench: what it hears, keeps, tells and orders.

    bench = Bench(BANK, "east")
    bench.ask("transfer", id="1", to="west", amount=5)
    assert bench.delivered == [("west", Credit(id="1", amount=5))]
    bench.restart()

Under it are the production's driver and a disk in memory: every message and every stored row is
encoded and decoded, and what may not be said or kept is an error here too.
"""

from __future__ import annotations

import hashlib
from typing import Any, TypeVar

from actors.engine.driver import Driver
from actors.engine.letters import LIMIT
from actors.engine.system import System
from actors.testkit.world import START
from protocol.machine import Answer, Ask, Log, Moment
from storage.memory import Disk, MemoryStore

T = TypeVar("T")


class Bench:
    """`delivered`: durable messages, as (to whom, message); `told`: those that may be lost;
    `orders` to the port; `log`; `answers` to `ask`, by their numbers. All of them grow until
    somebody clears them; `take` does so for one kind.

    The receivers have heard what they were told, unless they are `deaf`.
    """

    def __init__(
        self,
        system: System,
        name: str,
        *,
        settings: Any = None,
        asker: str = "door",
        now: float = START,
    ) -> None:
        self.system, self.name, self.settings, self.asker = system, name, settings, asker
        self.now = now
        self.disk = Disk()
        self.deaf: set[str] = set()
        self.delivered: list[tuple[str, Any]] = []
        self.told: list[tuple[str, Any]] = []
        self.orders: list[Any] = []
        self.log: list[str] = []
        self.answers: dict[str, Answer] = {}
        self._numbers: dict[str, int] = {}
        self._asked = self._dice = 0
        self.restart()

    # ---- what happens to it ----

    def restart(self) -> None:
        """A new incarnation: it knows what is on its disk."""
        machine = self.system.machine(self.name, self.settings)
        durable = self.system.child(self.name).durable
        store = MemoryStore(self.disk) if durable else None
        self.machine: Any = machine
        self.driver = Driver(machine, store, self.system, self)
        self.driver.start()
        self._flush()

    def hear(self, sender: str, item: Any, *, durable: bool = False) -> None:
        """A message; a durable one has the sender's next number."""
        item = self.system.decode(self.system.encode(item))
        number = 0
        if durable:
            number = self._numbers[sender] = self._numbers.get(sender, 0) + 1
        self.driver.hear(sender, number, item)
        self._flush()

    def put_aside(self, sender: str, item: Any) -> None:
        """A message that has ended the actor again and again; `retrydeadletter` has it heard."""
        digest = self.driver.letters.digest(sender, item)
        self.driver.letters.suspect(digest, LIMIT, "a test wants it")
        self.hear(sender, item)

    def report(self, item: Any) -> None:
        """Its port has something to say."""
        self.driver.hear_port(item)
        self._flush()

    def linked(self, name: str) -> None:
        """`name` has (re)started."""
        self.driver.linked(name)
        self._flush()

    def pass_time(self, seconds: float) -> None:
        """What is due by then comes due."""
        self.now += seconds
        self.driver.tick()
        self._flush()

    def ask(self, method: str, **params: Any) -> Answer | None:
        """-> the answer, if there is one yet."""
        self._asked += 1
        number = f"{self.asker}/{self._asked}"
        self.hear(self.asker, Ask(id=number, method=method, params=params))
        return self.answers.get(number)

    def _flush(self) -> None:
        self.driver.settle()

    # ---- what it says and keeps ----

    def take(self, kind: type[T]) -> list[T]:
        """All messages and orders of this type so far, in order; they are forgotten then."""
        found = [item for _, item in self.delivered + self.told if isinstance(item, kind)]
        found += [item for item in self.orders if isinstance(item, kind)]
        self.delivered = [one for one in self.delivered if not isinstance(one[1], kind)]
        self.told = [one for one in self.told if not isinstance(one[1], kind)]
        self.orders = [item for item in self.orders if not isinstance(item, kind)]
        return found

    def row(self, place: str) -> Any:
        """By the text of its key: "account/east"; None if there is none."""
        return self.driver.rows.read(place)

    def rows(self, segment: str) -> dict[str, Any]:
        """Of one segment, by the text of their keys."""
        return self.driver.rows.shown(segment)

    # ---- the driver's host ----

    def out(self, to: str, sequence: int, data: bytes) -> None:
        item = self.system.decode(data)
        if to == self.asker and isinstance(item, Answer):
            self.answers[item.id] = item
        elif sequence:
            self.delivered.append((to, item))
            if to not in self.deaf:
                self.driver.acknowledged(to, sequence)
        else:
            self.told.append((to, item))

    def acknowledge(self, to: str, sequence: int) -> None:
        pass

    def port(self, item: Any) -> None:
        if isinstance(item, Log):
            self.log.append(item.text)
        else:
            self.orders.append(item)

    def moment(self) -> Moment:
        self._dice += 1
        entropy = hashlib.sha256(f"{self.name} {self._dice}".encode()).digest()
        return Moment(unix_seconds=self.now, entropy=entropy)
