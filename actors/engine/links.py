"""Links: ordered streams between leaf actors, for everything that is frequent.

A frame is a length (4 bytes) and msgpack: [acknowledged number, [[number, item], ...]]. A stream
begins with a hello each way: name, generation, nonce, keyed BLAKE2b. A later generation replaces
the stream of an earlier one. A broken link loses nothing: senders say durable things again.
"""

from __future__ import annotations

import hmac
import os
import selectors
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import msgspec

from actors.engine import hardened
from actors.engine.sockets import Pipe
from actors.engine.system import MAX_MESSAGE, System

MAX_FRAME = MAX_MESSAGE + 64
HIGH_WATER = 1 << 20
LAZY_ACK_SECONDS, EAGER_ACKS = 0.02, 64
_PEERCRED = struct.Struct("3i")
_encode = msgspec.msgpack.Encoder().encode


def _framed(ack: int, queue: list[tuple[int, msgspec.Raw]]) -> list[bytes]:
    """One frame, or as many as the limit makes of it; no message is longer than a frame."""
    frame = _encode((ack, queue))
    if len(frame) <= MAX_FRAME:
        return [frame]
    half = len(queue) // 2
    assert half, f"a message of {len(frame)} bytes"
    return _framed(ack, queue[:half]) + _framed(ack, queue[half:])


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """The first frame each way."""

    name: str
    generation: int
    nonce: bytes
    proof: bytes

    @classmethod
    def make(cls, name: str, generation: int, nonce: bytes, theirs: bytes) -> Hello:
        """`theirs`: the other side's nonce, or nothing when we speak first."""
        return cls(name, generation, nonce, _proof(name, generation, nonce, theirs))

    def good(self, theirs: bytes) -> bool:
        """Whether it comes from a process of this system, and now."""
        expected = _proof(self.name, self.generation, self.nonce, theirs)
        return hmac.compare_digest(expected, self.proof)


def _proof(name: str, generation: int, nonce: bytes, theirs: bytes) -> bytes:
    return hardened.keyed(f"{name} {generation} ".encode() + nonce + theirs)


class Stream:
    """One connected socket with its buffers; never a blocking send."""

    def __init__(self, hub: Hub, sock: socket.socket, *, dialled: str | None) -> None:
        self.hub, self.dialled = hub, dialled
        self.name: str | None = None
        self.generation = 0
        self.queue: list[tuple[int, msgspec.Raw]] = []
        self.ack = self.acked = 0
        self.ack_due: float | None = None
        self._nonce = os.urandom(16)
        self._in = bytearray()
        self.pipe = Pipe(hub.selector, sock, self)
        if dialled is not None:
            self._send_hello(b"")

    def _send_hello(self, theirs: bytes) -> None:
        hello = Hello.make(self.hub.name, self.hub.generation, self._nonce, theirs)
        self.send(msgspec.msgpack.encode(hello))

    def received(self, data: bytes) -> None:
        if not data:
            self.close()
            return
        self._in += data
        at = 0
        while len(self._in) - at >= 4:
            size = int.from_bytes(self._in[at : at + 4], "big")
            if size > MAX_FRAME:
                self.close()
                return
            if len(self._in) - at - 4 < size:
                break
            frame = bytes(memoryview(self._in)[at + 4 : at + 4 + size])
            at += 4 + size
            self._frame(frame)
        del self._in[:at]

    def sent(self) -> None:
        self._pace()

    def broke(self, reason: str) -> None:
        self.close()

    def _pace(self) -> None:
        if self.pipe.waiting > HIGH_WATER and self.pipe.open:
            self.hub.slow.add(self)
        else:
            self.hub.slow.discard(self)

    def _frame(self, frame: bytes) -> None:
        if self.name is None:
            self._greet(frame)
            return
        acknowledged, items = self.hub.system.decode_frame(frame)
        self.hub.heard(self, acknowledged, items)

    def _greet(self, frame: bytes) -> None:
        hello = msgspec.msgpack.decode(frame, type=Hello)
        theirs = b"" if self.dialled is None else self._nonce
        if not hello.good(theirs) or self.dialled not in (None, hello.name):
            self.close()
            return
        self.name, self.generation = hello.name, hello.generation
        if self.dialled is None:
            self._send_hello(hello.nonce)
        self.hub.up(self)

    def send(self, frame: bytes) -> None:
        """One frame, as far as the other side takes it now."""
        self.pipe.write(len(frame).to_bytes(4, "big") + frame)
        self.pipe.flush()
        self._pace()

    def close(self) -> None:
        """Once; what was not acknowledged waits for the next connection."""
        if self.pipe.open:
            self.pipe.close()
            self.hub.down(self)


class Hub:
    """All links of one leaf actor."""

    def __init__(
        self,
        system: System,
        name: str,
        generation: int,
        folder: str,
        selector: selectors.BaseSelector,
    ) -> None:
        self.system = system
        self.name, self.generation, self.selector = name, generation, selector
        self.path = os.path.join(folder, f"{name}.{generation}.sock")
        self.links: dict[str, Stream] = {}
        self.slow: set[Stream] = set()  # those whose other side does not keep up
        self._told: dict[Stream, None] = {}  # those that have something to send, in its order
        self.on_up: Callable[[str], None] = lambda name: None
        self.on_item: Callable[[str, int, Any], None] = lambda name, number, item: None
        self.on_ack: Callable[[str, int], None] = lambda name, number: None
        self._seen: dict[str, int] = {}
        self._pending: set[Stream] = set()
        self._listener = self._listen()

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if os.path.exists(self.path):
            os.unlink(self.path)
        listener.bind(self.path)
        os.chmod(self.path, 0o600)
        listener.listen(32)
        listener.setblocking(False)
        self.selector.register(listener, selectors.EVENT_READ, self._accept)
        return listener

    def _accept(self, _mask: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEERCRED.size)
        if _PEERCRED.unpack(credentials)[1] != os.getuid():
            sock.close()
            return
        self._pending.add(Stream(self, sock, dialled=None))

    def dial(self, name: str, path: str, generation: int) -> None:
        """Have a stream to this generation of `name`; said again and again, it mends itself."""
        under_way = name in self.links or any(s.dialled == name for s in self._pending)
        if self._seen.get(name, 0) >= generation and under_way:
            return
        try:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError:
            return  # no descriptor is left for now
        try:
            sock.connect(path)
        except OSError:
            sock.close()  # it has died meanwhile: its next generation will be announced
            return
        self._seen[name] = generation
        self._pending.add(Stream(self, sock, dialled=name))

    def up(self, stream: Stream) -> None:
        """A stream has been greeted: it is the link to its actor, unless a later one is."""
        assert stream.name is not None
        self._pending.discard(stream)
        old = self.links.get(stream.name)
        if old is not None:
            if old.generation > stream.generation:
                stream.close()
                return
            del self.links[stream.name]
            old.close()
        self.links[stream.name] = stream
        self.on_up(stream.name)

    def down(self, stream: Stream) -> None:
        """A stream has ended."""
        self._pending.discard(stream)
        self.slow.discard(stream)
        self._told.pop(stream, None)
        if stream.name is not None and self.links.get(stream.name) is stream:
            del self.links[stream.name]

    def heard(self, stream: Stream, acknowledged: int, items: list[tuple[int, Any]]) -> None:
        """A frame of a link: what it acknowledges, and what it says."""
        assert stream.name is not None
        if acknowledged:
            self.on_ack(stream.name, acknowledged)
        for number, item in items:
            self.on_item(stream.name, number, item)

    # ---- sending ----

    def out(self, to: str, number: int, data: bytes) -> None:
        """To be framed by the next `flush`; lost if there is no link."""
        link = self.links.get(to)
        if link is not None:
            link.queue.append((number, msgspec.Raw(data)))
            self._told[link] = None

    def acknowledge(self, to: str, number: int) -> None:
        """To go with the next frame, or by itself a little later."""
        link = self.links.get(to)
        if link is not None and number > link.ack:
            link.ack = number
            self._told[link] = None
            if link.ack_due is None:
                link.ack_due = time.monotonic() + LAZY_ACK_SECONDS

    def flush(self) -> None:
        """One frame for each target that something is said to."""
        now = time.monotonic() if self._told else 0.0
        for link in list(self._told):
            due = link.ack_due is not None and link.ack_due <= now
            if link.queue or due or link.ack - link.acked >= EAGER_ACKS:
                queue, link.queue = link.queue, []
                link.acked, link.ack_due = link.ack, None
                del self._told[link]
                for frame in _framed(link.ack, queue):
                    link.send(frame)

    def due(self) -> float | None:
        """When `flush` wants to be called again (monotonic clock)."""
        waits = [link.ack_due for link in self._told if link.ack_due is not None]
        return min(waits, default=None)

    @property
    def congested(self) -> bool:
        """Somebody does not keep up: the reader of the wire stops reading."""
        names = [link.name for link in self.slow if link.name is not None]
        return not all(self.system.child(name).credited for name in names)
