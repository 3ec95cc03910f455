"""What one actor has said durably, and its receivers do not have on their disks yet.

Kept as the bytes that go over the link: what is said again is what was said. Numbers go up from 1
for each receiver, without gaps; those of a store that was made anew begin above all that it can
have said before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from actors.engine.host import Gap
from actors.engine.system import System

OUT, SEQ = b"o/", b"n/"
EPOCH = 1 << 40  # numbers of a store that was made anew begin at its generation times this

Stage = Callable[[bytes, bytes | None], None]


class Outbox:
    """`waiting`: by receiver and number, what is not acknowledged. `remade`: the generation in
    which the store was made anew, or 0."""

    def __init__(self, system: System, remade: int) -> None:
        self.waiting: dict[str, dict[int, bytes]] = {}
        self._system = system
        self._numbers: dict[str, int] = {}
        self.first = remade * EPOCH

    def load(self, key: bytes, value: bytes) -> None:
        """An entry from the disk. Raises `StoreError`."""
        if key[:2] == SEQ:
            self._numbers[key[2:].decode()] = int.from_bytes(value, "big")
            return
        to, number = key[2:-9].decode(), int.from_bytes(key[-8:], "big")
        item = self._system.outbox.decode(value, key.hex())
        self.waiting.setdefault(to, {})[number] = self._system.encode(item)

    def add(self, to: str, data: bytes, stage: Stage) -> int:
        """-> its number."""
        number = self._numbers.get(to, self.first) + 1
        self._numbers[to] = number
        self.waiting.setdefault(to, {})[number] = data
        stage(SEQ + to.encode(), number.to_bytes(8, "big"))
        stage(_key(to, number), self._system.outbox.sealed(data))
        return number

    def entries(self, to: str) -> Iterator[tuple[int, bytes]]:
        """All that `to` has not acknowledged, in order."""
        yield from sorted(self.waiting.get(to, {}).items())

    def acknowledged(self, by: str, number: int) -> list[bytes]:
        """Everything up to this number is durable at `by` -> the keys that go with the next write.
        Raises `Gap` for a number that was never given."""
        said = self._numbers.get(by, self.first)
        if number > said:
            raise Gap(f"{by} has heard {number} of ours, more than we have said: an old copy")
        waiting = self.waiting.get(by, {})
        done = [one for one in waiting if one <= number]
        for one in done:
            del waiting[one]
        return [_key(by, one) for one in done]

    def fork(self) -> Outbox:
        """One that goes its own way."""
        twin = Outbox(self._system, 0)
        twin.first, twin._numbers = self.first, dict(self._numbers)
        twin.waiting = {to: dict(entries) for to, entries in self.waiting.items()}
        return twin


def begins_anew(number: int, seen: int) -> bool:
    """Whether a sender whose last number was `seen` has lost its store, and counts on from a later
    epoch."""
    return number % EPOCH == 1 and number // EPOCH > seen // EPOCH


def _key(to: str, number: int) -> bytes:
    return OUT + to.encode() + b"/" + number.to_bytes(8, "big")
