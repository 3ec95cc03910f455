"""Links: what is said together is framed together, and nothing is too long for ever."""

from __future__ import annotations

import msgspec
import pytest

from actors.engine import links, system
from actors.tree import NODE
from protocol.machine import Answer, Quarantined


def _items(frames: list[bytes]) -> list[tuple[int, object]]:
    return [entry for frame in frames for entry in NODE.decode_frame(frame)[1]]


def test_a_long_queue_goes_in_several_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "MAX_FRAME", 1000)
    queue = [(0, Answer(id=str(n), result="x" * 300)) for n in range(20)]

    frames = links._framed(7, [(n, msgspec.Raw(NODE.written(item))) for n, item in queue])

    assert len(frames) > 1
    assert max(map(len, frames)) <= 1000
    assert _items(frames) == queue


def test_an_answer_that_is_too_long_becomes_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its stream would break, be made anew, and break again, for ever."""
    monkeypatch.setattr(system, "MAX_MESSAGE", 1000)

    long, short = (NODE.decode(NODE.written(Answer(id="1", result="x" * n))) for n in (2000, 10))

    assert (long.id, long.code, long.result) == ("1", -32603, None)
    assert (short.code, short.result) == (None, "x" * 10)
    with pytest.raises(TypeError, match="a Quarantined of 2"):
        NODE.written(Quarantined(digest="x" * 2000))
