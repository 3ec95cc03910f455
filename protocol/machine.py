"""The contract between a machine and whatever drives it.

A machine's state is a set of rows, key to frozen value, in segments (`protocol.segment`). A step
reads rows and gives back the rows that it changed and what is to be done; it does nothing itself.
Rows of a segment whose name begins with "~" are never stored: they are what the next incarnation
does not need to know.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from protocol.segment import AnySegment, Rows
from protocol.values import Value


class Moment(Value, frozen=True, kw_only=True):
    """Time and dice, brought to a step from outside: 32 fresh random bytes."""

    unix_seconds: float
    entropy: bytes


# ---- effects: what a step may order -------------------------------------------------------------


class Deliver(Value, frozen=True, kw_only=True):
    """Durable: kept in the outbox until the receiver has it on disk; received exactly once."""

    to: str
    item: Value


class Tell(Value, frozen=True, kw_only=True):
    """Volatile: lost when either end restarts. `resume` says again what matters."""

    to: str
    item: Value


class Do(Value, frozen=True, kw_only=True):
    """To the actor's own port: a socket, a chain backend, a wallet. Lost like `Tell`."""

    item: Value


class Wake(Value, frozen=True, kw_only=True):
    """Call `wake` at this time, or a little later; forgotten by a restart."""

    unix_seconds: float


class Again(Value, frozen=True, kw_only=True):
    """Hear this question once more, in a step of its own, as if it had come just now."""

    ask: Ask


class Log(Value, frozen=True, kw_only=True):
    """A line for the operator, by `Do`; the host escapes and cuts it (peers' text may be in it)."""

    text: str


Effect = Deliver | Tell | Do | Wake | Again


class Step:
    """What one event leads to: rows (by way of their `Segment`s) and effects. Built up while a step
    runs, then handed over."""

    __slots__ = ("stored_rows", "changed_rows", "effects")

    def __init__(self, rows: Rows) -> None:
        self.stored_rows = rows
        self.changed_rows: dict[AnySegment, dict[Any, Any]] = {}
        self.effects: list[Effect] = []

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """What is raised inside undoes all that was done inside, and goes on."""
        changes = {segment: dict(rows) for segment, rows in self.changed_rows.items()}
        effects = len(self.effects)
        try:
            yield
        except Exception:
            self.changed_rows = changes
            del self.effects[effects:]
            raise

    def deliver(self, to: str, item: Value) -> None:
        """Durable; `to` is the name of an actor or of a group."""
        self.effects.append(Deliver(to=to, item=item))

    def tell(self, to: str, item: Value) -> None:
        """Volatile: lost when either end restarts."""
        self.effects.append(Tell(to=to, item=item))

    def do(self, item: Value) -> None:
        """An order to the own port."""
        self.effects.append(Do(item=item))

    def answer(self, question: str, result: Any) -> None:
        """To whoever asked; `question` is the id of the `Ask`."""
        self.reply(Answer(id=question, result=result))

    def refuse(self, question: str, code: int, text: str, data: Any = None) -> None:
        """As `answer`, with an error code and what happened in one sentence."""
        self.reply(Answer(id=question, code=code, text=text, data=data))

    def unknown(self, ask: Ask) -> None:
        """The answer to a question that this actor does not know."""
        self.refuse(ask.id, UNKNOWN_METHOD, f"nobody answers {ask.method[:40]!r} here")

    def reply(self, answer: Answer) -> None:
        """An answer that was made elsewhere, to whoever asked."""
        self.tell(asker(answer.id), answer)

    def hear_again(self, ask: Ask) -> None:
        """A question that had to wait: what it meets costs it alone, as when it came."""
        self.effects.append(Again(ask=ask))

    def log(self, text: str) -> None:
        """A line for the operator."""
        self.do(Log(text=text))

    def wake(self, unix_seconds: float) -> None:
        """To be called at this time; each adds one."""
        self.effects.append(Wake(unix_seconds=unix_seconds))


class Machine:
    """`name` is the actor's address. All methods are pure: constants in, rows in, step out. What a
    subclass leaves away does nothing.

    `hears`: the types of all that others may say to it, as a union; what its port reports, if it
    has one, stands in a union of its own (`reports`). `keeps`: its stored segments.
    """

    name: str
    hears: Any
    keeps: tuple[AnySegment, ...] = ()

    def step(self, step: Step, sender: str, item: Any, at: Moment) -> None:
        """One event from `sender`; "port" is the actor's own port."""

    def resume(self, step: Step, name: str | None, at: Moment) -> None:
        """Order again what a crash may have swallowed: after the own start (None), or what was
        addressed to `name`, which has restarted."""

    def drain(self, step: Step, at: Moment) -> None:
        """Once per batch, after its events and before the write."""

    def wake(self, step: Step, at: Moment) -> None:
        """A `Wake` came due."""

    def abandoned(self, step: Step, question: str, at: Moment) -> None:
        """Whoever put the question of this id waits for it no longer: an answer would be lost. What
        it has set going goes on."""

    def aside(self, step: Step, sender: str, item: Any, at: Moment) -> None:
        """A message has ended the actor again and again, and is put aside: what it was about must
        not go on as if it had been heard."""


class Ask(Value, frozen=True, kw_only=True):
    """A question. `id` begins with the name of the actor that asks and a slash, so that whoever has
    it knows where the answer goes; it is unique among those that are open. An asker says it again
    when the other has restarted: what has an effect needs a name of its own in `params`."""

    id: str
    method: str
    params: dict[str, Any] = {}


class Answer(Value, frozen=True, kw_only=True):
    """Exactly one for each `Ask`: a result, or Core Lightning's error code with its text."""

    id: str
    result: Any = None
    code: int | None = None
    text: str = ""
    data: Any = None


def asker(question: str) -> str:
    """Who has put the question of this id."""
    return question.partition("/")[0]


class Abandoned(Value, frozen=True, kw_only=True):
    """The asker says: nobody waits for the answer to this question any more. Whoever hears
    questions hears this too (`Machine.abandoned`)."""

    id: str


UNKNOWN_METHOD, UNFIT = -32601, -32602
ALARM = "ALARM"  # begins a line of the log that the operator is to read now
DEFECT, DEFECT_TEXT = -32603, "a defect of ours: please report the log"


class Quarantined(Value, frozen=True, kw_only=True):
    """The receiver has put a message aside that ended it several times in a row."""

    digest: str
