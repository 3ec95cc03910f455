"""The peers actor's port: TCP, BOLT 8, and nothing that knows what a message means."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time
from collections import deque
from typing import Any, assert_never

from actors.engine.port import CannotStart, PortHost
from actors.engine.sockets import Pipe
from actors.ports import descriptors
from protocol.crypto.keys import node_secret
from protocol.crypto.noise import HandshakeFailed, Transport
from protocol.errors import ProtocolError
from protocol.peer import port as peer

MAX_OUT = 16 << 20
READ_SIZE, SEND_BUFFER = 32 << 10, 64 << 10  # of many strangers, each a little
MAX_LOSSY, NEARLY_ALL = 128 << 10, 4 << 10
HANDSHAKE_SECONDS = PARTING_SECONDS = 10.0


class Connection:
    """One TCP connection, before and after its handshake."""

    def __init__(self, port: PeersPort, sock: socket.socket, dial: peer.Dial | None) -> None:
        self.port, self.dial = port, dial
        self.began = time.monotonic()
        self.node_id: bytes | None = None
        self.closing = self.paused = self.tell_drained = False
        theirs = dial.node_id if dial is not None else None
        self.noise = Transport(ours=port.secret, ephemeral=os.urandom(32), theirs=theirs)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self.pipe = Pipe(
            port.selector, sock, self, connecting=dial is not None, read_size=READ_SIZE
        )
        self.pipe.write(self.noise.take_to_send())

    def received(self, data: bytes) -> None:
        if not data:
            self.close("the peer closed the connection")
            return
        try:
            messages = self.noise.receive(data)
        except (HandshakeFailed, ProtocolError) as error:
            self.close(f"handshake or encryption failed ({error})")
            return
        self.pipe.write(self.noise.take_to_send())
        if self.node_id is None and self.noise.ready:
            assert self.noise.theirs is not None
            self.node_id = self.noise.theirs
            self.port.joined(self)
        for message in messages:
            self.port.host.feed(peer.Received(node_id=self.noise.theirs or b"", message=message))

    def sent(self) -> None:
        self.drained()

    def drained(self) -> None:
        """Tell once, when it was asked for."""
        if self.tell_drained and self.pipe.open and self.pipe.waiting <= NEARLY_ALL:
            self.tell_drained = False
            assert self.node_id is not None
            self.port.host.feed(peer.Drained(node_id=self.node_id))

    def broke(self, reason: str) -> None:
        self.close(reason)

    def send(self, message: bytes, *, lossy: bool) -> None:
        """A message of ours; a lossy one is left out when much is unsent. Who does not read is
        cut off."""
        if lossy and self.pipe.waiting > MAX_LOSSY:
            return
        self.pipe.write(self.noise.send(message))
        self.port.unwritten.add(self)
        if self.pipe.waiting > MAX_OUT:
            self.close("the peer does not read")

    def pause(self) -> None:
        """Leave it unread while it says too much, or while somebody here does not keep up."""
        self.pipe.pause(self.paused or self.port.congested)

    def hang_up(self) -> None:
        """What was said is still sent, unless it reads nothing; nobody is told, for we know."""
        self.closing = True
        if self.pipe.waiting > MAX_LOSSY:
            self.close("the peer does not read")
            return
        self.pipe.finish()
        if self.pipe.open:
            self.port.parting[self] = time.monotonic() + PARTING_SECONDS

    def close(self, reason: str) -> None:
        """Now; the machine hears the reason, unless it was the one to hang up."""
        if self.pipe.open:
            self.pipe.close()
            self.port.left(self, reason, tell=not self.closing)

    @property
    def place(self) -> tuple[str, int]:
        """(host, port) of the other end, as dialled or as seen."""
        if self.dial is not None:
            return self.dial.host, self.dial.port
        try:
            host, port = self.pipe.sock.getpeername()[:2]
            return str(host), int(port)
        except OSError:
            return "", 0


class PeersPort:
    """Connections by TCP with noise (BOLT 8): of peers, and of strangers in their handshake."""

    def __init__(self, host: PortHost) -> None:
        self.host, self.selector = host, host.selector
        self.secret = node_secret(host.settings.seed)
        self.connections: dict[bytes, Connection] = {}
        self.strangers: list[Connection] = []
        self.unwritten: set[Connection] = set()
        self.parting: dict[Connection, float] = {}  # with last words to send, and until when
        self._most_strangers = descriptors.handshakes()
        self._listening = self.congested = False
        self._resolved: deque[tuple[peer.Dial, tuple[int, Any] | None, str]] = deque()
        self._resolving: set[bytes] = set()
        self._bell, self._ring = socket.socketpair()
        self._bell.setblocking(False)
        self.selector.register(self._bell, selectors.EVENT_READ, self._rung)
        self._listener = self._bind()

    def _bind(self) -> socket.socket:
        settings = self.host.settings
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
        except OSError as error:
            raise CannotStart(
                f"the address {settings.host}:{settings.port} cannot be used "
                f"({error.strerror}): choose another with --addr"
            ) from None
        listener.setblocking(False)
        return listener

    def do(self, item: peer.Order) -> None:
        match item:
            case peer.Listen():
                self._listen()
            case peer.Dial():
                self._dial(item)
            case peer.Write():
                connection = self.connections.get(item.node_id)
                if connection is not None and not connection.closing:
                    connection.send(item.message, lossy=item.lossy)
            case peer.WhenDrained() | peer.Pause():
                connection = self.connections.get(item.node_id)
                if connection is not None:
                    self._regulate(connection, item)
            case peer.Hangup():
                connection = self.connections.pop(item.node_id, None)
                if connection is not None:
                    connection.hang_up()
            case _:
                assert_never(item)

    def _regulate(self, connection: Connection, item: peer.WhenDrained | peer.Pause) -> None:
        if isinstance(item, peer.Pause):
            connection.paused = item.paused
            connection.pause()
        else:
            connection.tell_drained = True
            self.unwritten.add(connection)

    def flush(self) -> None:
        """One write for all that was said to a peer in this turn."""
        unwritten, self.unwritten = self.unwritten, set()
        for connection in unwritten:
            connection.pipe.flush()
            connection.drained()
        self._hold_back()
        self._drop_who_is_slow()

    def _hold_back(self) -> None:
        """While a neighbour does not keep up nothing more is read: TCP slows the peers down."""
        if self.host.hub.congested != self.congested:
            self.congested = self.host.hub.congested
            for connection in self.connections.values():
                connection.pause()

    def _drop_who_is_slow(self) -> None:
        now = time.monotonic()
        for stranger in list(self.strangers):
            if now - stranger.began > HANDSHAKE_SECONDS:
                stranger.close("the handshake took too long")
        for connection, until in list(self.parting.items()):
            if now > until:
                connection.close("it did not read our last words")

    def _listen(self) -> None:
        if not self._listening:
            self._listening = True
            self._listener.listen(128)
            self.selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _accept(self, _mask: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            if self.strangers:  # no descriptor is left: whoever has waited longest gives his
                self.strangers[0].close("too many connections")
            return
        if len(self.strangers) >= self._most_strangers:
            self.strangers[0].close("too many strangers")
        self.strangers.append(Connection(self, sock, None))

    def _dial(self, item: peer.Dial) -> None:
        under_way = any(s.dial and s.dial.node_id == item.node_id for s in self.strangers)
        if under_way or item.node_id in self._resolving:
            return
        self._resolving.add(item.node_id)
        # a thread of its own: a dead resolver takes longer to say so than a heartbeat may
        threading.Thread(target=self._resolve, args=(item,), daemon=True).start()

    def _resolve(self, item: peer.Dial) -> None:
        try:
            found = socket.getaddrinfo(item.host, item.port, type=socket.SOCK_STREAM)
            place, reason = (found[0][0], found[0][4]), ""
        except (OSError, ValueError, OverflowError) as error:
            place, reason = None, getattr(error, "strerror", None) or str(error)
        self._resolved.append((item, place, reason))
        self._ring.send(b"\0")

    def _rung(self, _mask: int) -> None:
        self._bell.recv(4096)
        while self._resolved:
            item, place, reason = self._resolved.popleft()
            self._resolving.discard(item.node_id)
            if place is not None:
                reason = self._connect(item, *place)
            if reason:
                self.host.feed(peer.Disconnected(node_id=item.node_id, reason=reason))

    def _connect(self, item: peer.Dial, family: int, address: Any) -> str:
        """-> why not."""
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            return error.strerror or "no socket"
        sock.setblocking(False)  # or `connect` would wait
        try:
            sock.connect_ex(address)
            self.strangers.append(Connection(self, sock, item))
        except (OSError, ProtocolError) as error:
            sock.close()
            return str(error)
        return ""

    def joined(self, connection: Connection) -> None:
        """The handshake is over; an older connection to the same node is given up."""
        assert connection.node_id is not None
        self.strangers.remove(connection)
        old = self.connections.pop(connection.node_id, None)
        if old is not None:
            old.closing = True
            old.close("replaced by a new connection")
        self.connections[connection.node_id] = connection
        connection.pause()
        host, port = connection.place
        self.host.feed(
            peer.Connected(
                node_id=connection.node_id, inbound=connection.dial is None, host=host, port=port
            )
        )

    def left(self, connection: Connection, reason: str, *, tell: bool) -> None:
        """A connection has ended; the machine hears of it when `tell` and it knew of it."""
        self.parting.pop(connection, None)
        if connection in self.strangers:
            self.strangers.remove(connection)
            node = connection.dial.node_id if connection.dial is not None else None
        else:
            node = connection.node_id
            if node is not None and self.connections.get(node) is connection:
                del self.connections[node]
        if node is not None and tell:
            self.host.feed(peer.Disconnected(node_id=node, reason=reason))
