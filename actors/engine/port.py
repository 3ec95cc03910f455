"""What every port has: orders come by `do`, what happens goes to the machine by `feed`."""

from __future__ import annotations

import selectors
from typing import Any, Protocol


class CannotStart(Exception):
    """One sentence for the operator: trying again as it is would not help."""


class PortHost(Protocol):
    """The leaf's loop, as a port sees it."""

    system: Any  # what the port belongs to
    settings: Any
    selector: selectors.BaseSelector
    hub: Any
    directory: Any
    folder: str

    def feed(self, item: Any) -> None: ...

    def log(self, text: str) -> None: ...

    def warn(self, text: str) -> None:
        """To the log, and to whoever watches the node's standard error."""
