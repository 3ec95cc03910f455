"""Pipes on real socket pairs: nothing is lost, nothing blocks, and a dead end does not spin."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from types import SimpleNamespace
from typing import Any

import pytest

from actors.engine.sockets import Pipe
from actors.ports.api import ApiPort
from actors.ports.api import Client as ApiClient
from actors.ports.peers import MAX_LOSSY, PARTING_SECONDS, Connection, PeersPort
from protocol.api.port import HungUp
from protocol.peer.port import Hangup

MEGABYTE = bytes(1 << 20)


class Listener:
    def __init__(self) -> None:
        self.heard = b""
        self.ended = False
        self.reason = ""

    def received(self, data: bytes) -> None:
        self.heard += data
        self.ended = self.ended or not data

    def sent(self) -> None:
        pass

    def broke(self, reason: str) -> None:
        self.reason = reason


def _pair() -> tuple[selectors.BaseSelector, socket.socket, Pipe, Listener]:
    ours, theirs = socket.socketpair()
    selector, listener = selectors.DefaultSelector(), Listener()
    return selector, theirs, Pipe(selector, ours, listener), listener


def _turn(selector: selectors.BaseSelector) -> int:
    """All that is ready now; -> how many."""
    if not selector.get_map():
        return 0
    ready = selector.select(0)
    for key, mask in ready:
        key.data(mask)
    return len(ready)


def test_what_the_other_side_does_not_take_waits_and_then_goes() -> None:
    selector, theirs, pipe, _ = _pair()
    theirs.setblocking(False)
    pipe.write(4 * MEGABYTE)
    pipe.flush()
    assert 0 < pipe.waiting < len(4 * MEGABYTE)

    taken = 0
    while taken < len(4 * MEGABYTE):
        with contextlib.suppress(BlockingIOError):
            taken += len(theirs.recv(1 << 16))
        _turn(selector)

    assert pipe.waiting == 0
    assert _turn(selector) == 0


def test_an_end_is_told_once_and_does_not_wake_the_loop_again() -> None:
    selector, theirs, _pipe, listener = _pair()
    theirs.shutdown(socket.SHUT_WR)

    assert _turn(selector) == 1
    assert listener.ended
    assert [_turn(selector) for _ in range(3)] == [0, 0, 0]


def test_a_paused_pipe_reads_nothing_and_loses_nothing() -> None:
    selector, theirs, pipe, listener = _pair()
    pipe.pause(True)
    theirs.send(b"later")
    assert _turn(selector) == 0

    pipe.pause(False)
    _turn(selector)

    assert listener.heard == b"later"


def test_what_was_written_is_sent_before_the_pipe_lets_go() -> None:
    _selector, theirs, pipe, listener = _pair()
    pipe.write(b"farewell")

    pipe.finish()

    assert theirs.recv(100) == b"farewell"
    assert listener.reason == "we hung up"


def test_a_client_that_half_closes_gets_its_answer_and_costs_nothing_until_then() -> None:
    """`nc -N` closes its sending side at once."""
    selector, fed = selectors.DefaultSelector(), []
    host: Any = SimpleNamespace(feed=fed.append)
    port: Any = SimpleNamespace(
        selector=selector, host=host, unwritten=set(), clients={}, half_closed=set()
    )
    ours, theirs = socket.socketpair()
    client = ApiClient(port, ours, 1)
    theirs.send(b'{"id": 1, "method": "waitanyinvoice"}')
    theirs.shutdown(socket.SHUT_WR)
    while _turn(selector):
        pass
    assert [request.method for request in fed] == ["waitanyinvoice"]
    assert client.pipe.open

    client.open_requests -= 1
    client.send({"result": "paid"})
    client.flush()

    assert theirs.recv(100) == b'{"result": "paid"}\n\n'
    assert theirs.recv(100) == b""


def test_a_client_that_is_gone_is_known_to_be_even_after_it_had_half_closed() -> None:
    selector, fed = selectors.DefaultSelector(), []
    host: Any = SimpleNamespace(feed=fed.append)
    port: Any = SimpleNamespace(
        selector=selector, host=host, unwritten=set(), clients={}, half_closed=set()
    )
    ours, theirs = socket.socketpair()
    client = port.clients[1] = ApiClient(port, ours, 1)
    theirs.send(b'{"id": 1, "method": "waitanyinvoice"}')
    theirs.shutdown(socket.SHUT_WR)
    while _turn(selector):
        pass
    assert port.half_closed == {client} and not client.gone

    theirs.close()
    assert client.gone
    client.close()

    assert fed[-1] == HungUp(connection=1)
    assert not port.half_closed and not port.clients


def _peers_port(selector: selectors.BaseSelector, feed: Any) -> PeersPort:
    settings = SimpleNamespace(host="127.0.0.1", port=0, seed=bytes(32))
    hub = SimpleNamespace(congested=False)
    host: Any = SimpleNamespace(selector=selector, settings=settings, hub=hub, feed=feed)
    return PeersPort(host)


def _peer(port: PeersPort) -> tuple[Connection, socket.socket]:
    """One whose handshake is over, and the other end."""
    ours, theirs = socket.socketpair()
    connection = Connection(port, ours, None)
    connection.node_id = b"peer"
    port.connections[b"peer"] = connection
    return connection, theirs


@pytest.mark.parametrize("size", [len(MEGABYTE), MAX_LOSSY])
def test_who_reads_nothing_is_let_go_when_we_have_hung_up(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """With much unsent at once, else when it had the time to read it; and nobody is told."""
    fed: list[Any] = []
    port = _peers_port(selectors.DefaultSelector(), fed.append)
    connection, theirs = _peer(port)
    connection.pipe.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    connection.pipe.write(bytes(size))

    port.do(Hangup(node_id=b"peer"))
    port.flush()
    assert connection.pipe.open is (size <= MAX_LOSSY) is (connection in port.parting)

    now = time.monotonic() + PARTING_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: now)
    port.flush()
    assert not connection.pipe.open and not port.parting and not fed
    theirs.close()


def test_last_words_are_sent_to_who_reads_them() -> None:
    selector = selectors.DefaultSelector()
    port = _peers_port(selector, print)
    connection, theirs = _peer(port)
    connection.pipe.write(b"bye")

    port.do(Hangup(node_id=b"peer"))
    port.flush()

    assert theirs.recv(1 << 20)[-3:] == b"bye" and theirs.recv(1) == b""
    assert not connection.pipe.open and not port.parting


def test_peers_are_not_read_while_a_neighbour_does_not_keep_up() -> None:
    selector = selectors.DefaultSelector()
    port = _peers_port(selector, print)
    hub: Any = port.host.hub
    hub.congested = True
    ours, theirs = socket.socketpair()
    heard: list[bytes] = []
    connection = Connection(port, ours, None)
    connection.received = heard.append  # type: ignore[method-assign]
    port.connections[b"peer"] = connection

    port.flush()
    theirs.send(b"more")
    assert _turn(selector) == 0

    hub.congested = False
    port.flush()
    _turn(selector)

    assert heard == [b"more"]


def test_the_socket_is_for_its_owner_alone(tmp_path: Any) -> None:
    host: Any = SimpleNamespace(selector=selectors.DefaultSelector(), folder=str(tmp_path))

    ApiPort(host)

    assert (tmp_path / "lightning-rpc").stat().st_mode & 0o777 == 0o600


def test_one_that_was_closed_a_moment_ago_is_not_looked_at() -> None:
    """Two are ready at once, and the first closes the second, which was still connecting."""
    selector, theirs, _, _ = _pair()
    ours, _ = socket.socketpair()
    listener = Listener()
    pipe = Pipe(selector, ours, listener, connecting=True)
    (ready,) = [key for key, _ in selector.select(0) if key.fileobj is ours]

    pipe.close()
    ready.data(selectors.EVENT_WRITE)

    assert not listener.reason and not listener.heard
    theirs.close()
