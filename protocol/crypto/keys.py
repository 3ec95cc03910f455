"""BOLT 3, Key Derivation: per-commitment keys from basepoints, and the keys of one channel."""

from __future__ import annotations

from functools import lru_cache

from protocol.crypto import secp, shachain
from protocol.crypto.hashes import derive, sha256
from protocol.values import Value


def node_secret(seed: bytes) -> bytes:
    """32 bytes: the secret of the node's id."""
    return derive(seed, "node")


def node_id(seed: bytes) -> bytes:
    """33 bytes: what the world calls the node that was made with this seed."""
    return secp.public_key(node_secret(seed))


@lru_cache(maxsize=4096)
def derive_point(basepoint: bytes, per_commitment_point: bytes) -> bytes:
    """localpubkey, local_delayedpubkey, local_htlcpubkey and the like."""
    return secp.point_tweak(basepoint, sha256(per_commitment_point + basepoint))


def derive_secret(base_secret: bytes, per_commitment_point: bytes) -> bytes:
    """The secret (32 bytes) of the point that `derive_point` gives for its basepoint."""
    basepoint = _basepoint(base_secret)
    return secp.secret_add(base_secret, sha256(per_commitment_point + basepoint))


@lru_cache(maxsize=1024)
def _basepoint(base_secret: bytes) -> bytes:
    return secp.public_key(base_secret)


@lru_cache(maxsize=1024)
def derive_revocation_point(revocation_basepoint: bytes, per_commitment_point: bytes) -> bytes:
    """revocationpubkey, 33 bytes: its secret is known to nobody until the commitment is revoked."""
    base, point = revocation_basepoint, per_commitment_point
    return secp.point_sum([(base, sha256(base + point)), (point, sha256(point + base))])


def derive_revocation_secret(base_secret: bytes, per_commitment_secret: bytes) -> bytes:
    """The secret (32 bytes) of `derive_revocation_point`, once the other side has revoked."""
    base, point = secp.public_key(base_secret), secp.public_key(per_commitment_secret)
    return secp.secret_add(
        secp.secret_mul(base_secret, sha256(base + point)),
        secp.secret_mul(per_commitment_secret, sha256(point + base)),
    )


class Basepoints(Value, frozen=True, kw_only=True, tag="basepoints"):
    """The public keys that one side brings to a channel, 33 bytes each."""

    funding: bytes
    revocation: bytes
    payment: bytes
    delayed_payment: bytes
    htlc: bytes


class NodeKey:
    """Who we are to strangers: the node's secret (32 bytes), its id (33), and our chain's hash."""

    __slots__ = ("secret", "id", "chain_hash")

    def __init__(self, secret: bytes, chain_hash: bytes) -> None:
        self.secret = secret
        self.id = secp.public_key(secret)
        self.chain_hash = chain_hash

    def __repr__(self) -> str:
        return "NodeKey"


_TWIG = 8  # bits


class ChannelSecrets:
    """All secrets of one channel, derived from the node's channel secret and the channel's index.

    Never stored, never sent, never printed: made again from the seed at each start.
    """

    __slots__ = (
        "funding", "revocation", "payment", "delayed_payment", "htlc", "seed", "_points", "_branch"
    )  # fmt: skip

    def __init__(self, master: bytes, index: int) -> None:
        def key(label: str) -> bytes:
            return derive(master, f"channel {index} {label}")

        self.funding = key("funding")
        self.revocation = key("revocation")
        self.payment = key("payment")
        self.delayed_payment = key("delayed payment")
        self.htlc = key("htlc")
        self.seed = key("shachain")
        self._points: dict[int, bytes] = {}
        self._branch = (-1, b"")

    def __repr__(self) -> str:
        return "ChannelSecrets"

    def __deepcopy__(self, _memo: object) -> ChannelSecrets:
        return self

    @property
    def basepoints(self) -> Basepoints:
        """What the peer is told in open_channel or accept_channel."""
        return Basepoints(
            funding=secp.public_key(self.funding),
            revocation=secp.public_key(self.revocation),
            payment=secp.public_key(self.payment),
            delayed_payment=secp.public_key(self.delayed_payment),
            htlc=secp.public_key(self.htlc),
        )

    def commitment_secret(self, number: int) -> bytes:
        """The per-commitment secret of our commitment `number`, counted up from 0."""
        index = shachain.FIRST_INDEX - number
        above = index >> _TWIG
        if self._branch[0] != above:  # 256 commitments share all but their last few hashes
            self._branch = above, shachain.secret(self.seed, above << _TWIG)
        return shachain.derive(self._branch[1], _TWIG, index)

    def commitment_point(self, number: int) -> bytes:
        """The per-commitment point (33 bytes) of our commitment `number`, counted up from 0."""
        point = self._points.get(number)
        if point is None:
            point = secp.public_key(self.commitment_secret(number))
            while len(self._points) > 16:
                self._points.pop(next(iter(self._points)))
            self._points[number] = point
        return point
