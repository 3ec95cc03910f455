"""A system with an actor that some messages end: an exception, a hang, want of memory, a crash."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import assert_never

import actors
from actors import Ask, Child, Machine, Moment, Segment, Step, System, Value
from actors.engine.door import DOOR

FOLDER = os.environ.get("FRAIL_FOLDER", "")
CLONE_VFORK = 0x4000
CLONE = {"x86_64": 56, "aarch64": 220}  # the numbers of the call, by machine
WAYS = ("exception", "hang", "memory", "native", "abort", "killed")


class Blow(Value, frozen=True, kw_only=True):
    """A message that ends who hears it, `how`, or does no harm ("")."""

    number: int
    how: str


class Heard(Value, frozen=True, kw_only=True):
    how: str


HEARD = Segment("heard", Heard, by=(int,))
TOLD = Segment("told", Heard, by=(int,))


def _is(flag: str) -> bool:
    """What the test wants: a file in its folder."""
    return bool(FOLDER) and (Path(FOLDER) / flag).exists()


def _want_memory() -> None:
    hoard: list[bytearray] = []
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)
    while True:
        hoard.append(bytearray(1 << 20))


def _wait_for_disk() -> None:
    """In the kernel, and not to be interrupted, as in a read that takes its time: until a child is
    gone that stays while the test wants it to."""
    call = ctypes.PyDLL(None).syscall(CLONE[os.uname().machine], CLONE_VFORK, 0, 0, 0, 0)
    if call == 0:
        deadline = time.monotonic() + 30
        while _is("slow") and time.monotonic() < deadline:
            time.sleep(0.01)
        os._exit(0)


def _suffer(how: str) -> None:
    match how:
        case "exception":
            raise ValueError("stumbled")
        case "hang":
            while True:
                time.sleep(1)
        case "memory":
            _want_memory()
        case "native":
            ctypes.string_at(0)
        case "slow":
            _wait_for_disk()
        case "abort":
            os.abort()
        case "killed":  # as the kernel does when memory is short
            os.kill(os.getpid(), signal.SIGKILL)
        case _:
            pass


class Sender(Machine):
    """Tells the frail one what it is asked to: once for each number."""

    hears = Ask
    keeps = (TOLD,)

    def __init__(self, name: str) -> None:
        self.name = name

    def step(self, step: Step, sender: str, item: Ask, at: Moment) -> None:
        number, how = item.params["number"], item.params["how"]
        if TOLD.get(step, number) is None:
            TOLD.put(step, Heard(how=how), number)
            step.deliver("frail", Blow(number=number, how=how))
        step.answer(item.id, {})


class Frail(Machine):
    hears = Ask | Blow
    keeps = (HEARD,)

    def __init__(self, name: str) -> None:
        self.name = name

    def resume(self, step: Step, name: str | None, at: Moment) -> None:
        if name is None and _is("always"):
            raise ValueError("never well")
        step.wake(at.unix_seconds + 0.5)

    def wake(self, step: Step, at: Moment) -> None:
        if _is("soon"):
            raise ValueError("never well for long")

    def step(self, step: Step, sender: str, item: Ask | Blow, at: Moment) -> None:
        match item:
            case Blow():
                if not _is("healed"):
                    _suffer(item.how)
                HEARD.put(step, Heard(how=item.how), item.number)
            case Ask():
                step.answer(item.id, [number for (number,) in HEARD.below(step)])
            case _:
                assert_never(item)

    def aside(self, step: Step, sender: str, item: Ask | Blow, at: Moment) -> None:
        step.log(f"without {type(item).__name__}")


def stillborn(name: str, folder: str) -> None:
    """A hook: who is killed before anybody knows its pid."""
    if name == "frail" and _is("stillborn"):
        (Path(FOLDER) / "born").touch()
        os.kill(os.getpid(), signal.SIGKILL)


CHILDREN = [Child("sender", Sender), Child("frail", Frail), DOOR]
FIRST = System(CHILDREN, title="frail", release="1", hung_seconds=2.5)
SECOND = System(CHILDREN, title="frail", release="2", hung_seconds=2.5)
USUAL = System(CHILDREN, title="frail")  # with the limits that everybody has
IMPATIENT = System(
    [Child("frail", Frail, restarts=8, window_seconds=2), DOOR], title="frail", hung_seconds=2.5
)

if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(actors.run(f"tests.kit.frail:{sys.argv[1]}", sys.argv[2]))
