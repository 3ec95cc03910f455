"""A stream socket in a loop: bytes in, bytes out, nothing that blocks and nothing that spins."""

from __future__ import annotations

import os
import selectors
import socket
from typing import Protocol

READ_SIZE = 256 << 10


class Owner(Protocol):
    """Whoever speaks over the pipe."""

    def received(self, data: bytes) -> None:
        """Some bytes; none at all is the end of the other side's words, and the last call."""

    def sent(self) -> None:
        """The other side has taken some of what had to wait."""

    def broke(self, reason: str) -> None:
        """Nothing more will come or go. The owner closes the pipe."""


class Pipe:
    """`sock` is connected, or `connecting`; from now on it belongs to the pipe.

    `read_size`: bytes taken at once; who has many pipes to strangers takes little from each.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        sock: socket.socket,
        owner: Owner,
        *,
        connecting: bool = False,
        read_size: int = READ_SIZE,
    ) -> None:
        self.selector, self.sock, self.owner = selector, sock, owner
        self._connecting, self._read_size = connecting, read_size
        self._paused = self._ended = self._finishing = False
        self._out = bytearray()
        self._mask = 0
        sock.setblocking(False)
        self._watch()

    @property
    def open(self) -> bool:
        """Whether the socket is still ours."""
        return self.sock.fileno() >= 0

    @property
    def waiting(self) -> int:
        """Bytes that the other side has not taken."""
        return len(self._out)

    def write(self, data: bytes) -> None:
        """To be sent by the next `flush`."""
        self._out += data

    def flush(self) -> None:
        """As much as the other side takes now; the rest when it can."""
        if self._out and self.open and not self._connecting:
            try:
                del self._out[: self.sock.send(self._out)]
            except BlockingIOError:
                pass
            except OSError as error:
                self.owner.broke(error.strerror or "the connection broke")
                return
        self._watch()
        if self._finishing and self.open and not self._out:
            self.owner.broke("we hung up")

    def finish(self) -> None:
        """Let go when everything has been sent; nothing more is read."""
        self._finishing = self._ended = True
        self.flush()

    def pause(self, paused: bool) -> None:
        """Whether to leave unread what the other side says."""
        self._paused = paused
        self._watch()

    def close(self) -> None:
        """Now and without notice; what is unsent is lost."""
        if self.open:
            if self._mask:
                self.selector.unregister(self.sock)
            self._mask = 0
            self.sock.close()

    def _watch(self) -> None:
        """An end that waits to be read would wake the loop for ever: not asked for, not watched."""
        reads = not (self._paused or self._ended or self._connecting)
        mask = selectors.EVENT_READ if reads else 0
        if self._out or self._connecting:
            mask |= selectors.EVENT_WRITE
        if mask == self._mask or not self.open:
            return
        if mask and not self._mask:
            self.selector.register(self.sock, mask, self._ready)
        elif not mask:
            self.selector.unregister(self.sock)
        else:
            self.selector.modify(self.sock, mask, self._ready)
        self._mask = mask

    def _ready(self, mask: int) -> None:
        if not self.open:
            return  # closed by what happened just before it
        if self._connecting:
            error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                self.owner.broke(os.strerror(error))
                return
            self._connecting = False
        elif mask & selectors.EVENT_READ:
            self._read()
        waited = bool(self._out)
        self.flush()
        if waited and self.open:
            self.owner.sent()

    def _read(self) -> None:
        try:
            data = self.sock.recv(self._read_size)
        except BlockingIOError:
            return
        except OSError as error:
            self.owner.broke(error.strerror or "the connection broke")
            return
        self._ended = not data
        self.owner.received(data)
