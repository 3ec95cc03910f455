"""BOLT 7: short channel ids, 8 bytes: where a channel's funding output is, or an alias of it."""

from __future__ import annotations

from protocol.crypto.hashes import sha256

FIRST_ALIAS_BLOCK = 16_000_000  # no block has such a height for some centuries


def short_channel_id(height: int, tx_index: int, output: int) -> bytes:
    """BOLT 7: 3 bytes of block, 3 of transaction, 2 of output."""
    return (height << 40 | tx_index << 16 | output).to_bytes(8, "big")


def alias_of(channel: bytes) -> bytes:
    """What the peer may call this channel (its id, 32 bytes) without saying where it is."""
    digest = sha256(b"alias" + channel)
    block = FIRST_ALIAS_BLOCK + int.from_bytes(digest[:3], "big") % 700_000
    return block.to_bytes(3, "big") + digest[3:8]


def is_alias(scid: bytes) -> bool:
    """Whether no channel can stand at this place of the chain: it is a name that somebody gave."""
    return int.from_bytes(scid[:3], "big") >= FIRST_ALIAS_BLOCK


def scid_text(scid: bytes) -> str:
    """Block, transaction and output, "102x1x0"."""
    value = int.from_bytes(scid, "big")
    return f"{value >> 40}x{value >> 16 & 0xFFFFFF}x{value & 0xFFFF}"


def scid_from_text(text: str) -> bytes | None:
    """8 bytes; None for what is none."""
    parts = text.split("x")
    if (
        len(parts) != 3
        or len(text) > 24
        or not all(part.isascii() and part.isdigit() for part in parts)
    ):
        return None
    block, index, output = (int(part) for part in parts)
    if block >= 1 << 24 or index >= 1 << 24 or output >= 1 << 16:
        return None
    return short_channel_id(block, index, output)
