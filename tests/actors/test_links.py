"""Links: what is said together is framed together, and nothing is too long for ever."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.engine import links, system
from actors.engine.links import Hub
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


class Two:
    """Two real hubs in one loop: `peers`, and another that reads only while it is asked to."""

    def __init__(self, folder: Path, other: str) -> None:
        self.fast, self.late = selectors.EpollSelector(), selectors.EpollSelector()
        self.peers = Hub(NODE, "peers", 1, str(folder), self.fast)
        self.other = Hub(NODE, other, 1, str(folder), self.late)
        self.heard: list[tuple[str, int, Any]] = []
        self.acknowledged: list[tuple[str, int]] = []
        self.other.on_item = lambda name, number, item: self.heard.append((name, number, item))
        self.peers.on_ack = lambda name, number: self.acknowledged.append((name, number))
        self.peers.dial(other, self.other.path, 1)
        self.until(lambda: other in self.peers.links and "peers" in self.other.links)

    def until(self, done: Callable[[], bool]) -> None:
        for _ in range(100_000):
            if done():
                return
            self.loop(self.fast)
            self.loop(self.late)
        raise AssertionError("it did not happen")

    @staticmethod
    def loop(selector: selectors.BaseSelector) -> None:
        for key, mask in selector.select(0):
            key.data(mask)

    def say(self, size: int) -> None:
        self.peers.out(self.other.name, 0, NODE.written(Answer(id="1", result="x" * size)))
        self.peers.flush()


@pytest.mark.parametrize("other, counts", [("payments", True), ("gossiper", False)])
def test_who_does_not_read_holds_up_the_reader_of_the_wire(
    tmp_path: Path, other: str, counts: bool
) -> None:
    two = Two(tmp_path, other)

    two.say(100)
    assert not two.peers.congested
    two.say(3 << 20)
    assert two.peers.congested is counts

    two.until(lambda: len(two.heard) == 2)
    two.until(lambda: not two.peers.congested)


@pytest.mark.parametrize("noticed_by", ["reading", "saying"])
def test_a_link_that_ends_while_it_is_slow_holds_up_nobody(tmp_path: Path, noticed_by: str) -> None:
    two = Two(tmp_path, "payments")
    two.say(3 << 20)
    two.peers.acknowledge("payments", 2)
    assert two.peers.congested and two.peers.due() is not None

    two.other.links["peers"].pipe.sock.shutdown(socket.SHUT_RDWR)
    if noticed_by == "reading":
        two.until(lambda: not two.peers.links)
    else:
        two.say(100)

    assert not two.peers.links and not two.peers.congested and two.peers.due() is None
    two.say(3 << 20)  # nobody is there to hear it
    assert not two.peers.congested and two.peers.due() is None


def test_an_acknowledgement_waits_a_little_for_company(tmp_path: Path) -> None:
    two = Two(tmp_path, "payments")
    assert two.other.due() is None

    two.other.acknowledge("peers", 3)
    due = two.other.due()
    assert due is not None
    two.other.flush()
    assert two.other.due() == due

    two.other.out("peers", 0, NODE.written(Answer(id="1")))
    two.other.flush()
    two.until(lambda: two.acknowledged == [("payments", 3)])
    assert two.other.due() is None


def test_acknowledgements_by_themselves_leave_when_they_are_due(tmp_path: Path) -> None:
    two = Two(tmp_path, "payments")
    two.other.acknowledge("peers", 3)

    two.other.links["peers"].ack_due = 0.0
    two.other.flush()
    two.until(lambda: two.acknowledged == [("payments", 3)])

    two.other.acknowledge("peers", 3 + links.EAGER_ACKS)
    two.other.flush()
    two.until(lambda: two.acknowledged[-1] == ("payments", 3 + links.EAGER_ACKS))
