"""What an actor was hearing when it died: a page of memory that outlives its process.

An exception can be written down by the one whom it ends. A hang, a native crash, want of memory
cannot: so whoever has died without a word has each message on record, from then on, before it hears
it. A store into a mapped file costs a microsecond, and the kernel keeps it whatever the process
dies of. A crash leaves its own trace beside the page, and who kills a life that hangs says so in
it: any other death may have come from outside, and prove nothing.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
from typing import Any, NamedTuple

import msgspec

from actors.engine.lives import leave_words, shared_page, take_words

SIZE, DIGEST = 1 << 14, 32
ALIVE, HUNG, DISK, TOLD, KNOWN = 0, 1, 2, 3, 4
_RECORD = slice(8, 8 + DIGEST)
_COUNTS = 64
MAX_COUNTS, MAX_TRACE = 100, 4096


def page_of(folder: str, name: str) -> str:
    """Where the page of the actor `name` is."""
    return os.path.join(folder, f"{name}.witness")


def hangs(folder: str, name: str) -> None:
    """By the one who is about to kill it for that. Raises `OSError`."""
    shared_page(page_of(folder, name), SIZE)[HUNG] = 1


class Death(NamedTuple):
    """How a life ended, in words. `own`: by something of its own, so that the next one may end like
    it; else somebody may have killed it. `disk`: its disk refuses, which is nobody's fault.
    `known`: it has found out which message ends it, and puts that aside."""

    words: str
    own: bool = False
    disk: bool = False
    known: bool = False


WITHOUT_A_WORD = Death("without a word: a kill from outside, or want of memory")


def death_of(folder: str, name: str) -> Death:
    """Of the life that has just ended; asked for once."""
    with contextlib.suppress(OSError):
        page = shared_page(page_of(folder, name), SIZE)
        disk, hung, silent = page[DISK] == 1, page[HUNG] == 1, page[ALIVE] == 1
        words = take_words(page)
        if page[TOLD]:
            return WITHOUT_A_WORD
        page[TOLD], known = 1, page[KNOWN] == 1
        if words:
            return Death(words, own=not disk, disk=disk, known=known)
        if silent and hung:
            return Death("it hung and was killed", own=True, known=known)
        if silent and (trace := _trace_of(folder, name)):
            return Death(trace, own=True, known=known)
        return WITHOUT_A_WORD._replace(known=known)
    return WITHOUT_A_WORD


def _trace_of(folder: str, name: str) -> str:
    """What a crash has written, in a few words; nothing if there was none. A file of its own, for
    that is all that the interpreter can write to then."""
    try:
        with open(os.path.join(folder, f"{name}.crash"), "rb") as file:
            lines = file.read(MAX_TRACE).decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    where = [line.rpartition(" in ")[2] for line in lines if line.startswith("  File ")]
    return f"a crash ({', in '.join(lines[:1] + where[:1])})" if lines else ""


class Witness:
    """`silent`: the life before ended without a word. `accused`: digest (32 hex digits) of what it
    was hearing then, "" if that is not on record. `proof`: that it hung, or how it crashed; "" if
    it may as well have been killed from outside. `counts`: what actors without a store remember of
    earlier deaths. Raises `OSError`."""

    def __init__(self, folder: str, name: str) -> None:
        self._page = shared_page(page_of(folder, name), SIZE)
        self._trace = os.path.join(folder, f"{name}.crash")
        self.silent = self._page[ALIVE] == 1
        hung = "a hang" if self._page[HUNG] else ""
        self.proof = (hung or _trace_of(folder, name)) if self.silent else ""
        record = self._page[_RECORD].strip(b"\0") if self.silent else b""
        self.accused = record.decode("ascii", "replace")
        self.counts = self._read_counts()
        self._page[_RECORD] = bytes(DIGEST)
        take_words(self._page)
        self._page[ALIVE : KNOWN + 1] = bytes([1, 0, 0, 0, 0])

    def trace_crashes(self) -> None:
        """From now on this process leaves a trace if it crashes. Raises `OSError`."""
        self._file = open(self._trace, "wb")  # noqa: SIM115 - open as long as the process lives
        faulthandler.enable(self._file, all_threads=False)

    def hearing(self, digest: str) -> None:
        """On record from now on."""
        self._page[_RECORD] = digest.encode().ljust(DIGEST, b"\0")

    def knows(self) -> None:
        """Which message it is that ends its actor: there is an end to it."""
        self._page[KNOWN] = 1

    def heard(self) -> None:
        """It did no harm."""
        self._page[_RECORD] = bytes(DIGEST)

    def ends(self, words: str = "", *, disk: bool = False) -> None:
        """This life ends by itself: because it is to (no words), or of something."""
        leave_words(self._page, words)
        self._page[ALIVE], self._page[DISK] = 0, int(disk)

    def remember(self, counts: dict[str, int]) -> None:
        """For an actor without a store: how often its messages have ended it."""
        newest = dict(list(counts.items())[-MAX_COUNTS:])
        data = msgspec.msgpack.encode(newest)
        self._page[_COUNTS : _COUNTS + 4] = len(data).to_bytes(4, "big")
        self._page[_COUNTS + 4 : _COUNTS + 4 + len(data)] = data

    def _read_counts(self) -> dict[str, int]:
        size = int.from_bytes(self._page[_COUNTS : _COUNTS + 4], "big")
        data: Any = self._page[_COUNTS + 4 : _COUNTS + 4 + min(size, SIZE)]
        try:
            return msgspec.msgpack.decode(data, type=dict[str, int])
        except msgspec.MsgspecError:
            return {}  # a new page, or one that a power cut has torn
