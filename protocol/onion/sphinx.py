"""BOLT 4: the onion packet of a payment, wrapped and peeled, and failures that travel back.

A packet is 1366 bytes: version 0, ephemeral key (33), hop payloads (1300), HMAC (32).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from protocol.crypto import secp
from protocol.crypto.hashes import hmac_sha256, sha256
from protocol.errors import Malformed, ProtocolError
from protocol.wire.codec import Reader, bigsize

PACKET_SIZE = 1366
ROUTING_SIZE = 1300
HMAC_SIZE = 32
FAILURE_SIZE = 256


class OnionError(ProtocolError):
    """The packet cannot be peeled; `code` is the BOLT 4 failure to answer with."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class Peeled(NamedTuple):
    """One layer taken off. `next_packet` is None at the final node."""

    payload: bytes
    shared_secret: bytes
    next_packet: bytes | None


def stream(key: bytes, size: int) -> bytes:
    """`size` bytes of ChaCha20 with a nonce of zeros."""
    encryptor = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
    return encryptor.update(bytes(size))


def xor(one: bytes, other: bytes) -> bytes:
    """Of two byte strings of one length."""
    size = len(one)
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(size, "big")


def key(kind: bytes, secret: bytes) -> bytes:
    """rho, mu, um, ammag or pad key of a hop."""
    return hmac_sha256(kind, secret)


def shared_secrets(session_key: bytes, hops: Sequence[bytes]) -> tuple[list[bytes], bytes]:
    """-> the shared secret with each hop, and the ephemeral public key of the first."""
    ephemeral, secrets = session_key, []
    first = secp.public_key(session_key)
    public = first
    for hop in hops:
        secret = secp.ecdh(ephemeral, hop)
        secrets.append(secret)
        blinding = sha256(public + secret)
        ephemeral = secp.secret_mul(ephemeral, blinding)
        public = secp.public_key(ephemeral)
    return secrets, first


def framed(payload: bytes) -> bytes:
    """With its length as a bigsize in front."""
    return bigsize(len(payload)) + payload


def _filler(secrets: Sequence[bytes], sizes: Sequence[int]) -> bytes:
    filler = b""
    for secret, size in zip(secrets[:-1], sizes[:-1], strict=True):
        filler += bytes(size)
        noise = stream(key(b"rho", secret), ROUTING_SIZE + size)
        filler = xor(filler, noise[ROUTING_SIZE + size - len(filler) :])
    return filler


def wrap(
    session_key: bytes, hops: Sequence[tuple[bytes, bytes]], associated: bytes
) -> tuple[bytes, list[bytes]]:
    """The packet for hops given as (node id, payload without its length), first hop first.

    -> (1366 bytes, shared secrets by hop, needed to read a failure).
    Raises `ValueError` when the payloads do not fit into 1300 bytes.
    """
    secrets, public = shared_secrets(session_key, [node for node, _ in hops])
    frames = [framed(payload) for _, payload in hops]
    sizes = [len(frame) + HMAC_SIZE for frame in frames]
    if sum(sizes) > ROUTING_SIZE:
        raise ValueError("the route does not fit into an onion")
    routing, mac = stream(key(b"pad", session_key), ROUTING_SIZE), bytes(HMAC_SIZE)
    filler = _filler(secrets, sizes)
    for position in range(len(hops) - 1, -1, -1):
        secret, frame = secrets[position], frames[position]
        routing = (frame + mac + routing)[:ROUTING_SIZE]
        routing = xor(routing, stream(key(b"rho", secret), ROUTING_SIZE))
        if position == len(hops) - 1 and filler:
            routing = routing[: -len(filler)] + filler
        mac = hmac_sha256(key(b"mu", secret), routing + associated)
    return b"\x00" + public + routing + mac, secrets


def peel(node_secret: bytes, packet: bytes, associated: bytes) -> Peeled:
    """Raises `OnionError` with invalid_onion_version, _hmac, _key or _payload."""
    if len(packet) != PACKET_SIZE:
        raise OnionError("an onion has 1366 bytes", INVALID_ONION_HMAC)
    # "if version is not 0"
    if packet[0] != 0:
        raise OnionError("unknown onion version", INVALID_ONION_VERSION)
    # "if public_key is not a valid pubkey"
    try:
        secret = secp.ecdh(node_secret, secp.check_point(packet[1:34]))
    except Malformed:
        raise OnionError("the onion's key is no point", INVALID_ONION_KEY) from None
    routing, mac = packet[34:-HMAC_SIZE], packet[-HMAC_SIZE:]
    # "if the computed HMAC and hmac differ"
    if hmac_sha256(key(b"mu", secret), routing + associated) != mac:
        raise OnionError("the onion was changed on its way", INVALID_ONION_HMAC)
    plain = xor(routing + bytes(ROUTING_SIZE), stream(key(b"rho", secret), 2 * ROUTING_SIZE))
    reader = Reader(plain[:ROUTING_SIZE])
    # "if there are fewer than payload_length bytes remaining", "fewer than 32 bytes remaining"
    try:
        payload = reader.take(reader.bigsize())
        next_mac = reader.take(HMAC_SIZE)
    except Malformed:
        raise OnionError("the hop's payload is malformed", INVALID_ONION_PAYLOAD) from None
    if next_mac == bytes(HMAC_SIZE):
        return Peeled(payload, secret, None)
    blinding = sha256(packet[1:34] + secret)
    following = secp.point_mul(packet[1:34], blinding)
    rest = plain[reader.at : reader.at + ROUTING_SIZE]
    return Peeled(payload, secret, b"\x00" + following + rest + next_mac)


# ---- failures on their way back -------------------------------------------------------------

BADONION, PERM = 0x8000, 0x4000
INVALID_ONION_PAYLOAD = PERM | 22
INVALID_ONION_VERSION = BADONION | PERM | 4
INVALID_ONION_HMAC = BADONION | PERM | 5
INVALID_ONION_KEY = BADONION | PERM | 6


def failure_packet(shared_secret: bytes, message: bytes) -> bytes:
    """The erring node's packet: HMAC, length, message, padding up to 256 bytes; still plain.

    "SHOULD set pad such that the failure_len plus pad_len is at least 256": all alike here.
    """
    padding = bytes(max(0, FAILURE_SIZE - len(message)))
    body = len(message).to_bytes(2, "big") + message + len(padding).to_bytes(2, "big") + padding
    return hmac_sha256(key(b"um", shared_secret), body) + body


def obfuscate(shared_secret: bytes, packet: bytes) -> bytes:
    """What each hop on the way back does, the erring one too."""
    return xor(packet, stream(key(b"ammag", shared_secret), len(packet)))


def read_failure(secrets: Sequence[bytes], packet: bytes) -> tuple[int, bytes] | None:
    """-> (hop that failed, its message), or None when no hop of the route made it."""
    for hop, secret in enumerate(secrets):
        packet = obfuscate(secret, packet)
        mac, body = packet[:HMAC_SIZE], packet[HMAC_SIZE:]
        if hmac_sha256(key(b"um", secret), body) == mac:
            try:
                return hop, Reader(body).varbytes()
            except Malformed:
                return hop, b""
    return None
