"""What a demonstration says and finds: progress for people, facts for its report."""

from __future__ import annotations

import sys
import time
from typing import Any


class Differs(Exception):
    """Something is not as it must be."""


class Show:
    """Progress for people, and the facts for the report."""

    def __init__(self, *, quiet: bool) -> None:
        self.stream = sys.stderr if quiet else sys.stdout
        self.began = time.monotonic()
        self.facts: dict[str, Any] = {"kills": [], "payments": []}

    def say(self, text: str) -> None:
        print(f"  {time.monotonic() - self.began:5.1f} s  {text}", file=self.stream, flush=True)

    def check(self, what: str, expected: Any, actual: Any) -> None:
        """A line that says that something holds, or does not."""
        said = [row["what"] for row in self.facts.get("checks", ())]
        assert what not in said, f"checked twice: {what}"
        self.facts.setdefault("checks", []).append(
            {"what": what, "expected": expected, "actual": actual, "good": expected == actual}
        )
        if expected != actual:
            raise Differs(f"{what}: expected {expected}, found {actual}")
