"""BOLT 9: feature bits. A set of features is a frozenset of bit numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Features = frozenset[int]

# name -> (even bit, contexts, names of features it depends on), as BOLT 9 lists them
ASSIGNED: dict[str, tuple[int, str, tuple[str, ...]]] = {
    "option_data_loss_protect": (0, "", ()),
    "option_upfront_shutdown_script": (4, "IN", ()),
    "gossip_queries": (6, "", ()),
    "var_onion_optin": (8, "", ()),
    "gossip_queries_ex": (10, "IN", ()),
    "option_static_remotekey": (12, "", ()),
    "payment_secret": (14, "", ()),
    "basic_mpp": (16, "IN9", ("payment_secret",)),
    "option_support_large_channel": (18, "IN", ()),
    "option_anchors": (22, "INT", ()),
    "option_route_blinding": (24, "IN9", ()),
    "option_shutdown_anysegwit": (26, "IN", ()),
    "option_dual_fund": (28, "IN", ()),
    "option_quiesce": (34, "IN", ()),
    "option_attribution_data": (36, "IN9", ()),
    "option_onion_messages": (38, "IN", ()),
    "option_provide_storage": (42, "IN", ()),
    "option_channel_type": (44, "", ()),
    "option_scid_alias": (46, "INT", ()),
    "option_payment_metadata": (48, "9", ()),
    "option_zeroconf": (50, "INT", ("option_scid_alias",)),
    "option_simple_close": (60, "IN", ("option_shutdown_anysegwit",)),
    "option_splice": (62, "IN", ()),
}
BIT = {name: even for name, (even, _, _) in ASSIGNED.items()}
_NAMES = {even: name for name, even in BIT.items()}

STATIC_REMOTEKEY = BIT["option_static_remotekey"]
ANCHORS = BIT["option_anchors"]
TYPE_STATIC_REMOTEKEY: Features = frozenset({STATIC_REMOTEKEY})
TYPE_ANCHORS: Features = frozenset({STATIC_REMOTEKEY, ANCHORS})

# What the code behind it is there for: even where every peer insists on it, odd elsewhere.
OUR_INIT: Features = frozenset({0, 5, 7, 8, 11, 12, 14, 17, 19, 23, 27, 44, 47, 51, 61})
OUR_INVOICE: Features = frozenset({8, 14, 17})
KNOWN_INIT: Features = frozenset(BIT.values())
KNOWN_INVOICE: Features = frozenset({8, 14, 16, 48})


def encode(features: Iterable[int]) -> bytes:
    """Big-endian bit field of minimal length."""
    value = sum(1 << bit for bit in set(features))
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def decode(data: bytes) -> Features:
    """Odd bits beyond any that we know are dropped: nobody reads them, and they cost memory."""
    bits = bin(int.from_bytes(data, "big"))[:1:-1]
    return frozenset(
        bit for bit, on in enumerate(bits) if on == "1" and (bit < 256 or bit % 2 == 0)
    )


def has(features: Features, name: str) -> bool:
    """Offered at all, as compulsory or optional."""
    even = BIT[name]
    return even in features or even + 1 in features


def name(bit: int) -> str:
    """Of an assigned bit. Raises KeyError."""
    return _NAMES[bit - bit % 2]


def both(ours: Features, theirs: Features, name: str) -> bool:
    """Whether both have this feature, required or optional."""
    return has(ours, name) and has(theirs, name)


def unknown_even(features: Features, known: Features = KNOWN_INIT) -> list[int]:
    """Compulsory bits that we do not know, ascending."""
    return sorted(bit for bit in features if bit % 2 == 0 and bit not in known)


def missing_dependencies(features: Features) -> list[str]:
    """Names of features that a set needs and lacks (BOLT 9: "MUST set all transitive")."""
    return sorted(
        {
            needed
            for name, (_, _, depends) in ASSIGNED.items()
            if has(features, name)
            for needed in depends
            if not has(features, needed)
        }
    )


def shown_type(kind: Features) -> dict[str, list[Any]]:
    """A channel_type as Core Lightning shows it."""
    bits = sorted(kind)
    return {"bits": bits, "names": [f"{name(bit).removeprefix('option_')}/even" for bit in bits]}
