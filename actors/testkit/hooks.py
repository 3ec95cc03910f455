"""What tests do to real processes around each durable commit: DARUMA_HOOK names one of these.

    DARUMA_HOOK=actors.testkit.hooks:crash DARUMA_CRASH=monitors:3:after daruma start

`folder` is the node's `run/`. Each is called once in every life of an actor, and gives back what is
called with "before" and "after" of every commit, or None.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable

from actors.engine.groups import group_of
from actors.engine.hardened import FIRST_PID
from actors.engine.port import CannotStart
from storage.errors import WriteFailed

Hook = Callable[[str], None]

BLOCKING = {"DARUMA_HOOK": f"{__name__}:block"}
REFUSING = {"DARUMA_HOOK": f"{__name__}:refuse"}


def crashing(where: str) -> dict[str, str]:
    """What to add to the environment of a process that is to die at `where` (see `crash`)."""
    return {"DARUMA_HOOK": f"{__name__}:crash", "DARUMA_CRASH": where}


def crash(name: str, folder: str) -> Hook | None:
    """DARUMA_CRASH=<actor>:<n>:<before|after>[:node] kills that process, or the whole node, at the
    n-th durable commit of the actor (or of its group) since the node was started; once. Raises
    `CannotStart` for other words."""
    where = os.environ.get("DARUMA_CRASH", "")
    words = re.fullmatch(r"([a-z0-9_-]+):(\d+):(before|after)(:node)?", where)
    if words is None:
        raise CannotStart(f"DARUMA_CRASH={where} should be actor:number:before or :after[:node]")
    actor, number, when, victim = words.groups()
    if actor not in (name, group_of(name)):
        return None
    counter = os.path.join(folder, f"crash.{os.environ[FIRST_PID]}")

    def hook(now: str) -> None:
        with open(counter, "a+b") as file:
            if now == "before":
                file.write(b".")
            count = file.tell()
        if now == when and count == int(number):
            with open(counter, "ab") as file:
                file.write(b"." * 1_000_000)  # never again in this life of the node
            if victim:
                os.kill(int(os.environ[FIRST_PID]), 9)
            os.kill(os.getpid(), 9)

    return hook


def block(name: str, folder: str) -> Hook | None:
    """While a file `run/<actor>.blocked` exists, the actor's disk takes no write."""
    blocked = os.path.join(folder, f"{name}.blocked")

    def hook(now: str) -> None:
        while now == "before" and os.path.exists(blocked):
            time.sleep(0.01)

    return hook


def refuse(name: str, folder: str) -> Hook | None:
    """While a file `run/<actor>.refused` exists, the actor's disk refuses: what is written, and the
    next lives. Raises `WriteFailed`."""
    refused = os.path.join(folder, f"{name}.refused")

    def hook(now: str) -> None:
        if now == "before" and os.path.exists(refused):
            raise WriteFailed("the disk refuses: a test wants it to")

    hook("before")
    return hook
