"""BOLT 7: the official vectors of the queries, and what the signatures cover."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.errors import Malformed
from protocol.wire import gossip
from protocol.wire.gossip import QueryChannelRange, QueryShortChannelIds, ReplyChannelRange
from protocol.wire.message import Message
from tests.kit.vectors import load

CASES = load("bolt07-extended-queries")
CLASSES: dict[str, type[Message]] = {
    "QueryChannelRange": QueryChannelRange,
    "ReplyChannelRange": ReplyChannelRange,
    "QueryShortChannelIds": QueryShortChannelIds,
}
ZLIB = "COMPRESSED_ZLIB"


def _scid(text: str) -> bytes:
    block, index, output = (int(part) for part in text.split("x"))
    return (block << 40 | index << 16 | output).to_bytes(8, "big")


def _decoded(case: dict[str, Any]) -> Any:
    raw = bytes.fromhex(case["hex"])
    cls = CLASSES[case["msg"]["type"]]
    assert int.from_bytes(raw[:2], "big") == cls.TYPE
    message = cls.decode(raw[2:])
    assert raw == message.encode(), "the same bytes again"
    assert case["msg"]["chainHash"] == message.chain_hash.hex()  # type: ignore[attr-defined]
    return message


def _expect(encoding: str, read: Any, expected: Any) -> None:
    """zlib has left the specification: refused, never unpacked."""
    if encoding == ZLIB:
        with pytest.raises(Malformed):
            read()
    else:
        assert expected == read()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["hex"][68:90])
def test_extended_queries(case: dict[str, Any]) -> None:
    said, message = case["msg"], _decoded(case)
    match message:
        case QueryChannelRange():
            expected = (said["firstBlockNum"], said["numberOfBlocks"])
            assert expected == (message.first_blocknum, message.number_of_blocks)
            assert (3 if said["tlvStream"]["records"] else 0) == message.wants
        case ReplyChannelRange():
            expected = (said["firstBlockNum"], said["numberOfBlocks"], said["complete"])
            found = (message.first_blocknum, message.number_of_blocks, message.sync_complete)
            assert expected == found
            _check_extras(said, message)
    if isinstance(message, ReplyChannelRange | QueryShortChannelIds):
        ids = said["shortChannelIds"]
        wanted = [_scid(text) for text in ids["array"]]
        _expect(ids["encoding"], lambda: gossip.decode_ids(message.encoded_short_ids), wanted)
    if isinstance(message, QueryShortChannelIds) and message.query_flags is not None:
        flags, record = message.query_flags, said["tlvStream"]["records"][0]
        _expect(record["encoding"], lambda: gossip.decode_flags(flags, 3), record["array"])


def _check_extras(said: dict[str, Any], message: ReplyChannelRange) -> None:
    assert ("timestamps" in said) == (message.timestamps is not None)
    if message.timestamps is not None:
        rows = said["timestamps"]
        wanted = [(row["timestamp1"], row["timestamp2"]) for row in rows["timestamps"]]
        data = message.timestamps
        _expect(rows["encoding"], lambda: gossip.decode_timestamps(data), wanted)
    if message.checksums is not None:
        wanted = [(row["checksum1"], row["checksum2"]) for row in said["checksums"]["checksums"]]
        assert wanted == gossip.decode_checksums(message.checksums)
        assert message.checksums == gossip.encode_pairs(wanted)


@pytest.mark.parametrize(
    ("data", "check"),
    [(bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E)],
)
def test_crc32c_as_rfc_3720_says(data: bytes, check: int) -> None:
    assert check == gossip.crc32c(data)


def test_unknown_bytes_at_the_end_are_signed_and_not_read() -> None:
    """A later specification may add fields: the update is still one, with another digest."""
    update = gossip.ChannelUpdate(
        signature=bytes(64), chain_hash=bytes(32), short_channel_id=bytes(8), timestamp=7,
        message_flags=1, channel_flags=0, cltv_expiry_delta=80, htlc_minimum_msat=1,
        fee_base_msat=1000, fee_proportional_millionths=10, htlc_maximum_msat=10**9,
    )  # fmt: skip
    longer = update.encode() + b"\x02\x01\x00"

    assert update == gossip.ChannelUpdate.decode(longer[2:])
    assert gossip.signed_digest(update.encode()) != gossip.signed_digest(longer)
    assert gossip.update_checksum(update.encode()) != gossip.update_checksum(longer)


def test_a_checksum_knows_neither_signature_nor_timestamp() -> None:
    one = gossip.ChannelUpdate(
        signature=bytes(64), chain_hash=bytes(32), short_channel_id=bytes(8), timestamp=7,
        message_flags=1, channel_flags=0, cltv_expiry_delta=80, htlc_minimum_msat=1,
        fee_base_msat=1000, fee_proportional_millionths=10, htlc_maximum_msat=10**9,
    )  # fmt: skip

    same = one.but(signature=b"\x01" * 64, timestamp=8)
    other = one.but(fee_base_msat=1001)

    assert gossip.update_checksum(one.encode()) == gossip.update_checksum(same.encode())
    assert gossip.update_checksum(one.encode()) != gossip.update_checksum(other.encode())
