"""Messages that end their actor: counted, put aside whole, and heard again when that may help.

Three deaths in a row by the same message are enough, by an exception, a crash or a hang. Without an
exception they count from the second one on, for only then is on record what was being heard
(`witness.py`). A life that was killed may have been so by anybody: by chance that is twice while it
hears the same, but not six times. What a port reports is never put aside, for the world is as it
is. What is put aside is a dead letter: it stays, is shown (`listdeadletters`), and is heard once
more by order (`retrydeadletter`) and by each new release. The rest of the actor lives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from actors.engine.system import ABOUT_LETTERS as METHODS
from actors.engine.system import System
from actors.engine.witness import Witness
from protocol.machine import ALARM, Ask
from protocol.values import Value
from storage.schema import Schema
from storage.store import Store

EXCEPTION, PROVED, UNPROVED, LIMIT = 2, 3, 1, 6
ONE_TRY = LIMIT - 1
CAREFUL_SECONDS = 60.0
SUSPECT, LETTER = b"q/", b"d/"
WITHOUT_A_WORD = "killed, or want of memory, without a word"

Stage = Callable[[bytes, bytes | None], None]


class Suspect(Value, frozen=True, kw_only=True):
    """What a message has done so far: LIMIT points are too many. `cause` of the last death."""

    points: int
    cause: str


class Letter(Value, frozen=True, kw_only=True):
    """A message that was put aside: `item`, of type `kind`, as it is written in an outbox.

    `again`: it is to be heard once more. `retry`: the question that asked for that."""

    sender: str
    kind: str
    item: bytes
    cause: str
    unix_seconds: float
    release: str
    again: bool = False
    retry: str = ""


SUSPECTS, LETTERS = Schema("suspect", Suspect), Schema("letter", Letter)


class Letters:
    """What one driver knows of the messages that have ended it."""

    def __init__(
        self, system: System, name: str, store: Store | None, witness: Witness | None
    ) -> None:
        self.system, self.name, self.store, self.witness = system, name, store, witness
        self.suspects: dict[str, Suspect] = {}
        self._recorded = False
        self.letters: dict[str, Letter] = {}
        self._careful_until = self._forgets_at = float("-inf")

    def load(self, key: bytes, value: bytes) -> None:
        digest = key[2:].decode()
        if key[:2] == SUSPECT:
            self.suspects[digest] = SUSPECTS.decode(value, key.hex())
        else:
            self.letters[digest] = LETTERS.decode(value, key.hex())

    def begin(self, now: float) -> list[str]:
        """Once in a life, before anything is heard; -> what the log is to say."""
        told: list[str] = []
        self._forgets_at = now + CAREFUL_SECONDS
        witness = self.witness
        if witness is not None:
            for digest, points in witness.counts.items() if self.store is None else ():
                self.suspects[digest] = Suspect(points=points, cause=WITHOUT_A_WORD)
            if witness.silent:
                self._careful_until = now + CAREFUL_SECONDS
            if witness.accused:
                points = PROVED if witness.proof else UNPROVED
                self.suspect(witness.accused, points, witness.proof or WITHOUT_A_WORD)
                told.append(f"the life before ended while it heard {witness.accused}")
        for digest, letter in self.letters.items():
            if letter.release != self.system.release:
                self._retry(digest, letter.but(release=self.system.release, retry=""))
                told.append(f"{letter.kind} ({digest}) is heard once more: this is a new release")
            elif letter.again and self._points(digest) >= LIMIT:
                self._write(digest, letter.but(again=False))
        return told

    # ---- while messages are heard ----

    def watched(self, sender: str, item: Any, now: float, stage: Stage) -> str:
        """Its digest, if there is a reason to look at what is heard; else nothing. A suspect that
        has not come again by now does not: it was volatile."""
        if self.suspects and now > self._forgets_at:
            for digest in [one for one in self.suspects if one not in self.letters]:
                self._forget(digest, stage)
        if self.suspects or self.letters or now < self._careful_until:
            return self.digest(sender, item)
        return ""

    def digest(self, sender: str, item: Any) -> str:
        """32 hex digits: the same message of the same sender."""
        return hashlib.sha256(sender.encode() + self.system.encode(item)).hexdigest()[:32]

    def on_record(self, digest: str) -> None:
        """It is heard from now on, until the batch is `heard` or it is `suspect`."""
        if self.witness is not None:
            self.witness.hearing(digest)
            self._recorded = True

    def heard(self) -> None:
        """All of the batch, and what follows from it."""
        if self._recorded and self.witness is not None:
            self.witness.heard()
        self._recorded = False

    def condemned(self, digest: str) -> bool:
        """Whether it is to be put aside, and not heard."""
        letter = self.letters.get(digest)
        return self._points(digest) >= LIMIT or letter is not None and not letter.again

    def _points(self, digest: str) -> int:
        known = self.suspects.get(digest)
        return 0 if known is None else known.points

    def suspect(self, digest: str, points: int, cause: str) -> None:
        """On disk before the actor ends, in a commit of its own."""
        if self.witness is not None:
            self.witness.heard()
        row = Suspect(points=self._points(digest) + points, cause=cause[:300])
        self.suspects[digest] = row
        if self.witness is not None and row.points >= LIMIT:
            self.witness.knows()
        if self.store is not None:
            self.store.commit({SUSPECT + digest.encode(): SUSPECTS.encode(row)})
        self._remember()

    def passed(self, digest: str, stage: Stage) -> None:
        """Only failures in a row count."""
        if digest in self.suspects:
            self._forget(digest, stage)

    def _forget(self, digest: str, stage: Stage) -> None:
        del self.suspects[digest]
        stage(SUSPECT + digest.encode(), None)
        self._remember()

    def _remember(self) -> None:
        """Without a store."""
        if self.store is None and self.witness is not None:
            self.witness.remember({one: row.points for one, row in self.suspects.items()})

    def put_aside(self, digest: str, sender: str, item: Any, now: float, stage: Stage) -> str:
        """-> what the log is to say; nothing when it has been put aside before."""
        if digest in self.letters:
            return ""
        row = self.suspects.pop(digest)
        self.letters[digest] = letter = Letter(
            sender=sender,
            kind=type(item).__name__,
            item=self.system.letter(self.name).encode(item),
            cause=row.cause,
            unix_seconds=now,
            release=self.system.release,
        )
        stage(SUSPECT + digest.encode(), None)
        stage(LETTER + digest.encode(), LETTERS.encode(letter))
        return (
            f"{ALARM} put aside {letter.kind} of {sender}, which has ended us again and again "
            f"({digest}): {row.cause}"
        )

    # ---- dead letters ----

    def rows(self) -> list[dict[str, Any]]:
        """For `listdeadletters`."""
        return [
            {
                "id": f"{self.name}/{digest}",
                "actor": self.name,
                "sender": letter.sender,
                "message": letter.kind,
                "cause": letter.cause,
                "put_aside_at": round(letter.unix_seconds, 3),
            }
            for digest, letter in self.letters.items()
        ]

    def to_hear(self) -> list[str]:
        """Digests of those that are to be heard once more, the oldest first."""
        return [digest for digest in self._oldest_first() if self.letters[digest].again]

    def _oldest_first(self) -> list[str]:
        return sorted(self.letters, key=lambda digest: self.letters[digest].unix_seconds)

    def _before(self, digest: str) -> str:
        """An older one about the same thing, which has to be heard first; or nothing."""
        about = self.system.child(self.name).about
        if about is None or (key := about(self.item(digest)[1])) is None:
            return ""
        same = (other for other in self._oldest_first() if about(self.item(other)[1]) == key)
        oldest = next(same)  # itself, if there is no older one
        return "" if oldest == digest else oldest

    def item(self, digest: str) -> tuple[str, Any]:
        """Sender and message of a letter."""
        letter = self.letters[digest]
        return letter.sender, self.system.letter(self.name).decode(letter.item, digest)

    def retry(self, digest: str, ask: Ask) -> str:
        """It may be heard now; or one sentence why not."""
        letter = self.letters.get(digest)
        if letter is None:
            return "there is no such dead letter: see listdeadletters"
        if letter.retry == ask.id:  # asked again, for the actor has died of it
            return "it has ended the actor once more, and is put aside again: see its log"
        if letter.kind == "Ask":
            return "a question is not retried: ask it again"
        if before := self._before(digest):
            return f"an older one about the same has to be heard first: {self.name}/{before}"
        self._retry(digest, letter.but(retry=ask.id))
        return ""

    def _retry(self, digest: str, letter: Letter) -> None:
        """It has one try; on disk before that."""
        self.suspects[digest] = Suspect(points=ONE_TRY, cause=letter.cause)
        self._write(digest, letter.but(again=True))

    def _write(self, digest: str, letter: Letter) -> None:
        """With what it is suspected of, in one commit."""
        self.letters[digest] = letter
        if self.store is not None:
            place = digest.encode()
            suspected = SUSPECTS.encode(self.suspects[digest])
            self.store.commit({LETTER + place: LETTERS.encode(letter), SUSPECT + place: suspected})

    def delivered(self, digest: str, stage: Stage) -> None:
        """A letter was heard, and lives."""
        if self.letters.pop(digest, None) is not None:
            stage(LETTER + digest.encode(), None)


def readable(error: BaseException) -> str:
    """A defect in one line."""
    return f"{type(error).__name__}: {error}"


__all__ = ["METHODS", "Letter", "Letters", "readable"]
