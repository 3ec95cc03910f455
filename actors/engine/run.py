"""Running a system as processes, by whoever has no first process of his own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from actors.engine import root
from actors.engine.control import Life
from actors.engine.root import Root, StartFailed
from actors.engine.system import System, load


def run(place: str, folder: str, settings: Any = None) -> int:
    """See `actors.run`."""
    system: System = load(place)
    home = Path(folder).absolute()
    try:
        held = root.lock(home)
        whole = Root(Life(place, str(home), settings))
        whole.stop_on_signals()
        whole.run(lambda: print(f"ready {home}", flush=True))
    except root.Taken:
        return _refused(system, f"somebody else runs in {home}: stop it, or use another folder")
    except StartFailed as failed:
        return _refused(system, str(failed))
    except OSError as error:
        return _refused(system, f"{error.filename or home} cannot be used ({error.strerror})")
    held.close()
    return 0


def _refused(system: System, text: str) -> int:
    print(f"{system.title}: {text}", file=sys.stderr)
    return 1
