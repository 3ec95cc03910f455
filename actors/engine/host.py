"""What a driver needs of the world, and the rules that it keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from protocol.machine import Moment


class Host(Protocol):
    """What a driver needs of the world: links, links' road, a port, a clock, dice."""

    def out(self, to: str, sequence: int, data: bytes) -> None:
        """A message over a link; number 0 is volatile."""

    def acknowledge(self, to: str, sequence: int) -> None:
        """All up to this number is on our disk."""

    def port(self, item: Any) -> None:
        """An order to the own port, or a line of the log."""

    def moment(self) -> Moment:
        """The time, and dice that were never thrown before."""


@dataclass(frozen=True)
class Switches:
    """The protective rules. Production has all on; tests switch one off to see a test fail."""

    save_before_send: bool = True
    inbox_marks: bool = True
    resume: bool = True
    announce_restarts: bool = True


class Gap(Exception):
    """A sender's number was skipped: something durable is missing, nothing may go on."""
