"""BOLT 8: the Noise_XK handshake and encrypted frames, without a socket.

`Handshake` turns acts into acts; when it is done it gives a `Cipher` each way.
`Transport` turns bytes from the wire into messages and messages into bytes.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from protocol.crypto import secp
from protocol.crypto.hashes import hkdf, sha256
from protocol.errors import PeerFault, ProtocolError

PROTOCOL_NAME = b"Noise_XK_secp256k1_ChaChaPoly_SHA256"
PROLOGUE = b"lightning"
MAX_MESSAGE = 65535
_TAG = 16


class HandshakeFailed(PeerFault):
    """The connection is to be closed without a word (BOLT 8: "MUST abort")."""


def _nonce(number: int) -> bytes:
    return bytes(4) + number.to_bytes(8, "little")


def _encrypt(key: bytes, number: int, associated: bytes, plain: bytes) -> bytes:
    return ChaCha20Poly1305(key).encrypt(_nonce(number), plain, associated)


def _decrypt(key: bytes, number: int, associated: bytes, sealed: bytes) -> bytes:
    try:
        return ChaCha20Poly1305(key).decrypt(_nonce(number), sealed, associated)
    except InvalidTag:
        raise HandshakeFailed("BAD_TAG") from None


class Cipher:
    """One direction: a key that is replaced after 1000 uses ("Lightning Message Key Rotation")."""

    __slots__ = ("_chaining", "_key", "_aead", "_number")

    def __init__(self, chaining: bytes, key: bytes) -> None:
        self._chaining = chaining
        self._key = key
        self._aead = ChaCha20Poly1305(key)
        self._number = 0

    def _advance(self) -> None:
        self._number += 1
        if self._number == 1000:
            self._chaining, self._key = hkdf(self._chaining, self._key)
            self._aead = ChaCha20Poly1305(self._key)
            self._number = 0

    def seal(self, plain: bytes) -> bytes:
        """The ciphertext with its tag of 16 bytes; the nonce counts up, and the key rotates."""
        sealed = self._aead.encrypt(_nonce(self._number), plain, None)
        self._advance()
        return sealed

    def open(self, sealed: bytes) -> bytes:
        """The plaintext. Raises `Malformed` when the tag does not fit."""
        try:
            plain = self._aead.decrypt(_nonce(self._number), sealed, None)
        except InvalidTag:
            raise HandshakeFailed("a frame was not encrypted by the peer") from None
        self._advance()
        return plain


class Handshake:
    """One side of the three acts. `theirs` is None for the responder until act three."""

    def __init__(self, *, ours: bytes, ephemeral: bytes, theirs: bytes | None) -> None:
        self._secret = ours
        self._ephemeral = ephemeral
        self.theirs = theirs
        self.initiator = theirs is not None
        self._hash = sha256(PROTOCOL_NAME)
        self._chaining = self._hash
        self._mix(PROLOGUE)
        self._mix(theirs if theirs is not None else secp.public_key(ours))
        self._their_ephemeral = b""
        self._key = b""
        self._act = 0 if self.initiator else 1

    def _mix(self, data: bytes) -> None:
        self._hash = sha256(self._hash + data)

    def _mix_key(self, shared: bytes) -> None:
        self._chaining, self._key = hkdf(self._chaining, shared)

    @property
    def wanted(self) -> int:
        """How many bytes the next act of the peer has; 0 when none is awaited."""
        return {1: 50, 2: 50, 3: 66}.get(self._act, 0)

    def act_one(self) -> bytes:
        """50 bytes, initiator to responder."""
        assert self.theirs is not None
        return self._send_ephemeral(self.theirs, after=2)

    def _send_ephemeral(self, towards: bytes, *, after: int) -> bytes:
        public = secp.public_key(self._ephemeral)
        self._mix(public)
        self._mix_key(secp.ecdh(self._ephemeral, towards))
        tag = _encrypt(self._key, 0, self._hash, b"")
        self._mix(tag)
        self._act = after
        return b"\x00" + public + tag

    def _receive_ephemeral(self, act: bytes, secret: bytes, name: str) -> None:
        if len(act) != 50:
            raise HandshakeFailed(f"{name}_READ_FAILED")
        if act[0] != 0:
            raise HandshakeFailed(f"{name}_BAD_VERSION {act[0]}")
        self._their_ephemeral = self._point(act[1:34], name)
        self._mix(self._their_ephemeral)
        self._mix_key(secp.ecdh(secret, self._their_ephemeral))
        self._check_tag(act[34:], self._key, name)

    def _check_tag(self, sealed: bytes, key: bytes, name: str, number: int = 0) -> bytes:
        try:
            plain = _decrypt(key, number, self._hash, sealed)
        except HandshakeFailed:
            raise HandshakeFailed(f"{name}_BAD_TAG") from None
        self._mix(sealed)
        return plain

    @staticmethod
    def _point(data: bytes, name: str) -> bytes:
        try:
            return secp.check_point(data)
        except ProtocolError:
            raise HandshakeFailed(f"{name}_BAD_PUBKEY") from None

    def receive(self, act: bytes) -> tuple[bytes, tuple[Cipher, Cipher] | None]:
        """-> what to send now, and (sending, receiving) ciphers once the handshake is over."""
        if self._act == 1:
            self._receive_ephemeral(act, self._secret, "ACT1")
            return self._send_ephemeral(self._their_ephemeral, after=3), None
        if self._act == 2:
            self._receive_ephemeral(act, self._ephemeral, "ACT2")
            return self._act_three(), self._split()
        if self._act == 3:
            self._receive_act_three(act)
            return b"", self._split()
        raise HandshakeFailed("no act is awaited")

    def _act_three(self) -> bytes:
        sealed = _encrypt(self._key, 1, self._hash, secp.public_key(self._secret))
        self._mix(sealed)
        self._mix_key(secp.ecdh(self._secret, self._their_ephemeral))
        tag = _encrypt(self._key, 0, self._hash, b"")
        self._mix(tag)
        return b"\x00" + sealed + tag

    def _receive_act_three(self, act: bytes) -> None:
        if len(act) != 66:
            raise HandshakeFailed("ACT3_READ_FAILED")
        if act[0] != 0:
            raise HandshakeFailed(f"ACT3_BAD_VERSION {act[0]}")
        try:
            public = self._check_tag(act[1:50], self._key, "ACT3", number=1)
        except HandshakeFailed:
            raise HandshakeFailed("ACT3_BAD_CIPHERTEXT") from None
        self.theirs = self._point(public, "ACT3")
        self._mix_key(secp.ecdh(self._ephemeral, self.theirs))
        self._check_tag(act[50:], self._key, "ACT3")

    def _split(self) -> tuple[Cipher, Cipher]:
        self._act = 0
        first, second = hkdf(self._chaining, b"")
        ours, theirs = (first, second) if self.initiator else (second, first)
        return Cipher(self._chaining, ours), Cipher(self._chaining, theirs)


class Transport:
    """One connection, sans I/O: feed it bytes, take messages; give it messages, take bytes."""

    def __init__(self, *, ours: bytes, ephemeral: bytes, theirs: bytes | None = None) -> None:
        self._handshake: Handshake | None = Handshake(ours=ours, ephemeral=ephemeral, theirs=theirs)
        self._sending: Cipher | None = None
        self._receiving: Cipher | None = None
        self._buffer = bytearray()
        self._awaited: int | None = None
        self.theirs = theirs
        self.to_send = self._handshake.act_one() if theirs is not None else b""

    @property
    def ready(self) -> bool:
        """Whether the handshake is done."""
        return self._sending is not None

    def take_to_send(self) -> bytes:
        """What the handshake wants sent, once."""
        data, self.to_send = self.to_send, b""
        return data

    def send(self, message: bytes) -> bytes:
        """The frame of one message of at most 65535 bytes."""
        assert self._sending is not None and len(message) <= MAX_MESSAGE
        return self._sending.seal(len(message).to_bytes(2, "big")) + self._sending.seal(message)

    def receive(self, data: bytes) -> list[bytes]:
        """Whole messages so far. Raises `HandshakeFailed`; the connection is then to be closed."""
        self._buffer += data
        while self._handshake is not None and len(self._buffer) >= self._handshake.wanted:
            self._next_act(self._handshake)
        messages = []
        while self._receiving is not None:
            message = self._next_message(self._receiving)
            if message is None:
                break
            messages.append(message)
        return messages

    def _next_act(self, handshake: Handshake) -> None:
        size = handshake.wanted
        reply, ciphers = handshake.receive(bytes(self._buffer[:size]))
        del self._buffer[:size]
        self.to_send += reply
        if ciphers is not None:
            self._sending, self._receiving = ciphers
            self.theirs = handshake.theirs
            self._handshake = None

    def _next_message(self, cipher: Cipher) -> bytes | None:
        if self._awaited is None:
            if len(self._buffer) < 2 + _TAG:
                return None
            self._awaited = int.from_bytes(cipher.open(bytes(self._buffer[: 2 + _TAG])), "big")
            del self._buffer[: 2 + _TAG]
        size = self._awaited + _TAG
        if len(self._buffer) < size:
            return None
        message = cipher.open(bytes(self._buffer[:size]))
        del self._buffer[:size]
        self._awaited = None
        return message
