"""A peer that is no node: it speaks BOLT 8, and says what a test wants it to say."""

from __future__ import annotations

import os
import socket

from daruma.playground import NodeProcess
from protocol.crypto.noise import Transport
from protocol.features import OUR_INIT, Features, encode
from protocol.networks import CHAIN_HASH
from protocol.wire import registry, setup
from protocol.wire.message import Message


class Stranger:
    """A bare BOLT 8 connection with a throw-away key."""

    def __init__(self, node: NodeProcess, secret: bytes | None = None) -> None:
        self.sock = socket.create_connection(("127.0.0.1", node.port), 5)
        self.noise = Transport(
            ours=secret or os.urandom(32), ephemeral=os.urandom(32), theirs=bytes.fromhex(node.id)
        )
        self.sock.sendall(self.noise.take_to_send())
        self.messages: list[bytes] = []
        while not self.noise.ready:
            self.messages += self.noise.receive(self._bytes())
            self.sock.sendall(self.noise.take_to_send())

    def _bytes(self) -> bytes:
        data = self.sock.recv(1 << 16)
        if not data:
            raise ConnectionError("closed by the node")
        return data

    def say(self, message: Message | bytes) -> None:
        raw = message if isinstance(message, bytes) else message.encode()
        self.sock.sendall(self.noise.send(raw))

    def init(self, features: Features = OUR_INIT) -> None:
        networks = bytes.fromhex(CHAIN_HASH["regtest"])
        self.say(setup.Init(globalfeatures=b"", features=encode(features), networks=networks))
        assert isinstance(self.hear(), setup.Init)

    def hear_raw(self) -> bytes:
        """The next message; `ConnectionError` when the node hangs up."""
        while not self.messages:
            self.messages += self.noise.receive(self._bytes())
        return self.messages.pop(0)

    def hear(self) -> Message:
        """The next message that may not be ignored; gossip is."""
        while True:
            message = registry.decode(self.hear_raw())
            if message is not None:
                return message

    def close(self) -> None:
        self.sock.close()

    def hear_until_closed(self) -> list[str]:
        heard = []
        try:
            while True:
                message = self.hear()
                heard.append(str(getattr(message, "data", b"").decode()))
        except (ConnectionError, OSError):
            return heard
