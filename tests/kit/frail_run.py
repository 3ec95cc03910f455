"""The frail system as processes: started, asked, looked at, and ended."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from actors import ask
from actors.engine import processes

PATIENCE_SECONDS = 60.0


class Run:
    """The frail system as processes, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, str(folder / "home")
        self.process: subprocess.Popen[str] | None = None

    def start(self, system: str = "FIRST", **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.kit.frail", system, self.home],
            env=os.environ | {"FRAIL_FOLDER": str(self.folder)} | environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == f"ready {self.home}\n"

    def end(self, status: int = 0) -> str:
        """-> what it wrote to standard error."""
        assert self.process is not None
        if status == 0:
            self.process.terminate()
        _, errors = self.process.communicate(timeout=PATIENCE_SECONDS)
        assert self.process.returncode == status, errors
        return errors

    def tell(self, number: int, how: str = "") -> None:
        ask(self.home, "sender", "tell", number=number, how=how)

    def letters(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = ask(self.home, "frail", "listdeadletters")
        return rows

    def heard(self) -> list[int]:
        numbers: list[int] = ask(self.home, "frail", "heard")
        return numbers

    def pids(self) -> dict[str, int]:
        return {row["name"]: row["pid"] for row in ask(self.home, "tree", "")}

    def deaths(self) -> int:
        return self.log().count("supervisor frail (pid")

    def supervisor(self) -> int:
        """The parent of all actors."""
        (pid, *_) = self.pids().values() or [0]
        found = processes.stat(pid)
        return found.parent if found is not None else 0

    def times_of_deaths(self) -> list[float]:
        """In unix seconds, as the log has them."""
        lines = [line for line in self.log().splitlines() if "supervisor frail (pid" in line]
        return [datetime.fromisoformat(line.partition(" ")[0]).timestamp() for line in lines]

    def family(self) -> list[int]:
        """All processes of the system, parents first."""
        assert self.process is not None
        found = [self.process.pid]
        for pid in found:
            found += [child for child, parent in processes.everyone() if parent == pid]
        return found

    def log(self) -> str:
        return (Path(self.home) / "log").read_text()

    def flag(self, name: str) -> None:
        (self.folder / name).touch()
