"""BOLT 4: onion and failure vectors; what the vectors do not say, by property."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.crypto import secp
from protocol.errors import Malformed
from protocol.onion import failures, payload, sphinx
from protocol.wire.codec import Reader
from tests.kit.vectors import load

ONION = load("bolt04-onion")
ERROR = load("bolt04-onion-error")
ASSOCIATED = bytes.fromhex(ONION["generate"]["associated_data"])


def _payload(text: str) -> bytes:
    reader = Reader(bytes.fromhex(text))
    return reader.take(reader.bigsize())


def test_wrap_gives_the_packet_of_the_vector() -> None:
    hops = [
        (bytes.fromhex(hop["pubkey"]), _payload(hop["payload"]))
        for hop in ONION["generate"]["hops"]
    ]

    packet, _ = sphinx.wrap(bytes.fromhex(ONION["generate"]["session_key"]), hops, ASSOCIATED)

    assert ONION["onion"] == packet.hex()


def test_each_hop_peels_its_own_payload() -> None:
    packet = bytes.fromhex(ONION["onion"])

    for position, secret in enumerate(ONION["decode"]):
        peeled = sphinx.peel(bytes.fromhex(secret), packet, ASSOCIATED)
        hop = ONION["generate"]["hops"][position]
        assert _payload(hop["payload"]) == peeled.payload
        assert (peeled.next_packet is None) == (position == len(ONION["decode"]) - 1)
        packet = peeled.next_packet or b""


def test_failure_packet_of_the_vector_and_back() -> None:
    hops = ERROR["generate"]["hops"]
    secrets, _ = sphinx.shared_secrets(
        bytes.fromhex(ERROR["generate"]["session_key"]),
        [bytes.fromhex(hop["pubkey"]) for hop in hops],
    )
    assert [hop["hop_shared_secret"] for hop in hops] == [secret.hex() for secret in secrets]
    assert [hop["ammag_key"] for hop in hops] == [sphinx.key(b"ammag", s).hex() for s in secrets]

    message = bytes.fromhex(ERROR["generate"]["failure_message"])
    packet = sphinx.failure_packet(secrets[-1], message)
    for secret in reversed(secrets):
        packet = sphinx.obfuscate(secret, packet)

    assert ERROR["errorpacket"] == packet.hex()
    assert (4, message) == sphinx.read_failure(secrets, packet)
    assert failures.decode(message).name == "temporary_node_failure"


def test_a_failure_from_nowhere_is_nobodys() -> None:
    assert sphinx.read_failure([bytes(32)], bytes(292)) is None


@pytest.mark.parametrize(
    ("at", "code"),
    [
        (0, sphinx.INVALID_ONION_VERSION),
        (1, sphinx.INVALID_ONION_KEY),
        (40, sphinx.INVALID_ONION_HMAC),
        (1365, sphinx.INVALID_ONION_HMAC),
    ],
)
def test_a_changed_onion_is_refused_with_its_code(at: int, code: int) -> None:
    packet = bytearray(bytes.fromhex(ONION["onion"]))
    packet[at] ^= 0xFF

    with pytest.raises(sphinx.OnionError) as error:
        sphinx.peel(bytes.fromhex(ONION["decode"][0]), bytes(packet), ASSOCIATED)

    assert code == error.value.code


def test_a_route_that_does_not_fit_is_refused() -> None:
    node = secp.public_key(bytes([1]) * 32)

    with pytest.raises(ValueError, match="does not fit"):
        sphinx.wrap(bytes([2]) * 32, [(node, bytes(700)), (node, bytes(700))], b"")


@given(st.lists(st.binary(min_size=0, max_size=150), min_size=1, max_size=7))
def test_what_is_wrapped_is_peeled(payloads: list[bytes]) -> None:
    secrets = [bytes([n + 1]) * 32 for n in range(len(payloads))]
    hops = [(secp.public_key(s), data) for s, data in zip(secrets, payloads, strict=True)]
    packet: bytes | None
    packet, shared = sphinx.wrap(bytes([77]) * 32, hops, b"tag")

    for secret, expected, theirs in zip(secrets, payloads, shared, strict=True):
        peeled = sphinx.peel(secret, packet or b"", b"tag")
        assert (expected, theirs) == (peeled.payload, peeled.shared_secret)
        packet = peeled.next_packet
    assert packet is None


def test_the_failure_list_is_the_whole_list() -> None:
    assert len(failures.TABLE) == 22
    for code, (name, layout) in failures.TABLE.items():
        fields: dict[str, int | bytes] = {
            field: {"hash": bytes(32), "bytes": b"abc"}.get(kind, 7) for field, kind in layout
        }
        decoded = failures.decode(failures.encode(name, **fields))
        assert (code, name, fields) == (decoded.code, decoded.name, decoded.fields)


@given(st.binary(max_size=80))
def test_decoding_a_failure_never_raises(data: bytes) -> None:
    failures.decode(data)


def test_hop_payloads_round_trip_and_refuse_what_is_short() -> None:
    final = payload.HopPayload(
        amount_msat=5, cltv_expiry=9, payment_secret=bytes(32), total_msat=0, payment_metadata=b"m"
    )
    keysend = payload.HopPayload(amount_msat=5, cltv_expiry=9, keysend_preimage=bytes(32))
    forward = payload.HopPayload(amount_msat=5, cltv_expiry=9, short_channel_id=bytes(8))

    for value in (final, keysend, forward):
        assert value == payload.decode(payload.encode(value))
    for bad in ("", "020105", "02010504010906010a", "0200040008011f"):
        with pytest.raises(Malformed):
            payload.decode(bytes.fromhex(bad))
