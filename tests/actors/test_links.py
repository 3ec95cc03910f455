"""Links: what is said together is framed together, and nothing is too long for ever."""

from __future__ import annotations

import pytest

from actors.engine import links
from actors.tree import NODE
from protocol.machine import Answer


def _items(frames: list[bytes]) -> list[tuple[int, object]]:
    return [entry for frame in frames for entry in NODE.decode_frame(frame)[1]]


def test_a_long_queue_goes_in_several_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "MAX_FRAME", 1000)
    queue = [(0, Answer(id=str(n), result="x" * 300)) for n in range(20)]

    frames = links._framed(7, queue)

    assert len(frames) > 1
    assert max(map(len, frames)) <= 1000
    assert _items(frames) == queue


def test_an_answer_that_is_too_long_becomes_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its stream would break, be made anew, and break again, for ever."""
    monkeypatch.setattr(links, "MAX_FRAME", 1000)
    queue = [(0, Answer(id="1", result="x" * 2000)), (0, Answer(id="2", result="short"))]

    items = _items(links._framed(7, queue))

    assert [(item.id, item.code) for _, item in items] == [("1", -32603), ("2", None)]  # type: ignore[attr-defined]
