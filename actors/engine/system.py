"""A system of actors, as data: who there is, which machine each runs, what each may hear and keep.

    BANK = System([Child("east", Account), Child("west", Account)])

Everything else is read off the machines: names and their order, the types that can be read from a
link or an outbox (msgpack with a tag for the type; nothing else can), the schemas of the rows. The
same declaration runs in the kit and as supervised processes.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from typing import Any, get_args

import msgspec

from actors.engine import groups
from actors.engine.groups import group_of
from actors.engine.keeps import Keeps
from protocol.machine import DEFECT, Abandoned, Answer, Ask, Machine, Quarantined
from protocol.values import Value
from storage.schema import UNREADABLE, Schema

MAX_MESSAGE = 64 << 20
ABOUT_LETTERS = ("listdeadletters", "retrydeadletter")
TOO_LONG = "the answer is too long: ask for a part of it"
_NAME = re.compile("[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Child:
    """One line of the tree.

    `machine`: its class, which says what it `hears` and `keeps`; one that keeps nothing has no
    store. `make(name, settings, system)` gives an instance; `machine(name)` does if there is none.
    `port`: "module:Class" of its touch with the world, loaded in its own process.

    `members`: so many share the work, and what is said to `name` goes to the one that keeps the
    key (bytes) that `about` finds in the message, or, about none, to all. For ever: which of them
    keeps a key follows from this number.

    `remakeable`: its snapshot can be learnt again from others, so that a missing one is no reason
    to refuse the start. `rebuildable`: something would be lost, but it may be made anew if the
    operator says so; the words that tell him how, after "restore the store from a backup".

    `restarts` in `window_seconds` are normal (a hang counts for five), and half as many in a row
    for reasons of its own (an exception, a crash, a hang), until a life lasts that long; more, and
    the whole tree is started anew; if it goes on like that, the system ends.
    `credited`: it may fall behind without holding up those who read from the world.
    `later`: modules that are dear to import, and that it imports itself when it needs them; a life
    that begins later finds them imported.
    """

    name: str
    machine: Any
    make: Callable[[str, Any, System], Any] | None = None
    port: str = ""
    members: int = 1
    about: Callable[[Any], bytes | None] | None = None
    remakeable: bool = False
    rebuildable: str = ""
    credited: bool = False
    later: tuple[str, ...] = ()
    restarts: int = 20
    window_seconds: float = 60.0

    @property
    def durable(self) -> bool:
        """Whether it keeps anything."""
        return bool(self.machine.keeps)

    @property
    def all_reported(self) -> Any:
        """The union of what its port reports: what others may say too, if the machine has no union
        of its own for it."""
        return getattr(self.machine, "reports", self.machine.hears)

    @property
    def all_heard(self) -> Any:
        """The union of what others say to it and what its port reports."""
        asked = Abandoned if Ask in self.hears else self.machine.hears
        return self.machine.hears | self.all_reported | asked

    @property
    def hears(self) -> frozenset[Any]:
        """The types of what others say to it, asked or told."""
        heard = _types(self.machine.hears)
        return heard | {Abandoned} if Ask in heard else heard


class System:
    """`children` in the order of their start. `identity(settings)` gives the bytes by which a store
    knows whose it is. `title` begins what is written to standard error. `release`: messages that
    were put aside are tried once more by another one. `hung_seconds`: an actor that has not come
    back from its work for so long is killed, unless it waits for its disk."""

    def __init__(
        self,
        children: Iterable[Child],
        *,
        identity: Callable[[Any], bytes] = lambda settings: b"",
        title: str = "daruma",
        release: str = "",
        hung_seconds: float = 10.0,
    ) -> None:
        self.children = tuple(children)
        _check_names([one.name for one in self.children])
        for one in self.children:
            if one.port and not all(one.port.partition(":")):
                raise ValueError(f"the port of {one.name} is named module:Class, not {one.port!r}")
        self.identity, self.title, self.release = identity, title, release
        self.hung_seconds = hung_seconds
        self._groups = {one.name: groups.members(one.name, one.members) for one in self.children}
        self._children = {one.name: one for one in self.children}
        self.names = tuple(name for names in self._groups.values() for name in names)
        self.order = {name: place for place, name in enumerate(self.names)}
        self.hears = {one.name: one.hears for one in self.children}
        self._heard_by = {
            name: one.hears for one in self.children for name in (one.name, *self._groups[one.name])
        }
        self.keeps = {one.name: Keeps(one.machine.keeps) for one in self.children}
        kinds = {Quarantined}.union(*self.hears.values())
        item: Any = reduce(or_, sorted(kinds, key=lambda kind: kind.__name__))
        self.outbox = Schema("outbox", item)
        self._reported = {one.name: _types(one.all_reported) for one in self.children}
        self._letters = {one.name: Schema("item", one.all_heard) for one in self.children}
        self._encoder = msgspec.msgpack.Encoder()
        self._item: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(item)
        self._frame: msgspec.msgpack.Decoder[tuple[int, list[tuple[int, Any]]]]
        self._frame = msgspec.msgpack.Decoder(tuple[int, list[tuple[int, item]]])

    def __deepcopy__(self, _memo: Any) -> System:
        return self  # constant

    # ---- who there is ----

    def child(self, name: str) -> Child:
        """Of an actor, or of its group. Raises `KeyError`."""
        return self._children[group_of(name)]

    def machine(self, name: str, settings: Any = None) -> Machine:
        """A new one for the actor of this name."""
        child = self.child(name)
        made: Machine = child.make(name, settings, self) if child.make else child.machine(name)
        return made

    def members(self, group: str) -> tuple[str, ...]:
        """Names of the actors of a group."""
        return self._groups[group]

    def sized(self, **members: int) -> System:
        """The same with other numbers of members."""
        children = [
            replace(one, members=members.get(one.name, one.members)) for one in self.children
        ]
        return System(
            children,
            identity=self.identity,
            title=self.title,
            release=self.release,
            hung_seconds=self.hung_seconds,
        )

    def keeper(self, group: str, key: bytes) -> str:
        """Which of a group keeps what is found by `key`."""
        return groups.keeper(self._groups[group], key)

    # ---- what is said ----

    def encode(self, value: Any) -> bytes:
        """msgpack, without any check; see `written`."""
        return self._encoder.encode(value)

    def written(self, item: Any) -> bytes:
        """A message as it goes over a link. Raises `TypeError` for one that no receiver could read,
        or that is too long; too long an answer becomes an error."""
        kind = type(item).__name__
        try:
            data = self._encoder.encode(item)
            self._item.decode(data)
        except UNREADABLE as error:
            raise TypeError(f"nobody could read this {kind}: {error}") from None
        if len(data) <= MAX_MESSAGE:
            return data
        if isinstance(item, Answer):
            return self.written(Answer(id=item.id, code=DEFECT, text=TOO_LONG))
        raise TypeError(f"a {kind} of {len(data)} bytes, more than {MAX_MESSAGE}")

    def decode(self, data: bytes) -> Any:
        """Raises `msgspec.MsgspecError` for anything that nobody here hears."""
        return self._item.decode(data)

    def letter(self, name: str) -> Schema:
        """How what this actor hears is written when it is put aside."""
        return self._letters[group_of(name)]

    def decode_frame(self, data: bytes) -> tuple[int, list[tuple[int, Any]]]:
        """What comes over a link. Raises `msgspec.MsgspecError`."""
        return self._frame.decode(data)

    def check(self, to: str, item: Any) -> None:
        """Raises `TypeError` when nobody is called `to`, or it does not hear such a message."""
        heard = self._heard_by.get(to)
        if heard is None:
            raise TypeError(f"nobody is called {to!r}")
        if type(item) is Ask and item.method in ABOUT_LETTERS:
            return  # the driver answers for everybody
        if type(item) not in heard:
            raise TypeError(f"{to} does not hear a {type(item).__name__}")

    def check_report(self, name: str, item: Any) -> None:
        """Raises `TypeError` when this is nothing that the actor's port may report."""
        if type(item) not in self._reported[group_of(name)]:
            raise TypeError(f"the port of {name} may not report a {type(item).__name__}")

    def receivers(self, to: str, item: Any) -> tuple[str, ...]:
        """Who is meant by `to`: an actor, or those of a group whom the message is about."""
        names = self._groups.get(to)
        if names is None or len(names) == 1:
            return names or (to,)
        about = self._children[to].about
        key = about(item) if about else None
        return names if key is None else (groups.keeper(names, key),)


def _types(union: Any) -> frozenset[Any]:
    """Raises `TypeError` for a message that could not be written."""
    kinds = frozenset(get_args(union) or (union,))
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, Value)):
            raise TypeError(f"{getattr(kind, '__name__', kind)} is no message: those are `Value`s")
    return kinds


def _check_names(names: list[str]) -> None:
    """Raises `ValueError` for names that would be taken for something else."""
    for name in names:
        if not _NAME.fullmatch(name) or name == "port":
            raise ValueError(
                f"no actor can be called {name!r}: small letters, digits and underscores, not port"
            )
    if len(set(names)) < len(names):
        raise ValueError(f"each actor needs a name of its own: {sorted(names)}")


def load(place: str) -> Any:
    """What stands at "module:NAME"."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
