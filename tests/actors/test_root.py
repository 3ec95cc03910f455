"""The first process: whom it watches."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors.engine.root import Root


def test_a_supervisor_that_dies_as_it_is_looked_at_is_an_interrupted_start(tmp_path: Path) -> None:
    """Else nobody would ever miss it."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    root: Any = object.__new__(Root)
    root.run_folder, root.companions, root._watched = tmp_path, dict, {}

    with pytest.raises(ProcessLookupError):
        root._watch(SimpleNamespace(pid=gone.pid))
