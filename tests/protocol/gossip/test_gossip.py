"""BOLT 7, pure: who signed what, and where a node says it can be found."""

from __future__ import annotations

import pytest

from protocol.channel import proof
from protocol.channel.proof import Side
from protocol.crypto import secp
from protocol.errors import Malformed
from protocol.gossip import addresses, announce
from protocol.gossip.addresses import Address
from protocol.gossip.announce import Policy
from protocol.wire.gossip import ChannelAnnouncement, ChannelUpdate

CHAIN, SCID = bytes(range(32)), bytes([0, 0, 5, 0, 0, 1, 0, 0])
NODES = [bytes([n]) * 32 for n in (1, 2)]
FUNDING = [bytes([n]) * 32 for n in (3, 4)]
SIDES = [
    Side(node_id=secp.public_key(node), funding_key=secp.public_key(funding))
    for node, funding in zip(NODES, FUNDING, strict=True)
]
POLICY = Policy(
    cltv_expiry_delta=80,
    htlc_minimum_msat=1,
    htlc_maximum_msat=10**9,
    fee_base_msat=1000,
    fee_proportional_millionths=10,
)


def _halves() -> tuple[ChannelAnnouncement, list[proof.Half]]:
    bare = proof.unsigned(CHAIN, SCID, SIDES[0], SIDES[1])
    return bare, [proof.sign_half(bare, NODES[n], FUNDING[n]) for n in (0, 1)]


@pytest.mark.parametrize("we", [0, 1])
def test_two_halves_make_the_same_whole_whoever_puts_them_together(we: int) -> None:
    bare, halves = _halves()
    they = 1 - we

    assert bare == proof.unsigned(CHAIN, SCID, SIDES[we], SIDES[they])
    assert proof.half_is_good(bare, SIDES[they], halves[they])
    raw = proof.whole(bare, SIDES[we], halves[we], halves[they])

    message = ChannelAnnouncement.decode(raw[2:])
    assert raw == proof.whole(bare, SIDES[0], halves[0], halves[1])
    assert message.node_id_1 < message.node_id_2
    assert announce.announcement_is_signed(raw, message)


def test_a_half_for_another_place_or_of_another_hand_is_no_half() -> None:
    bare, halves = _halves()
    elsewhere = proof.unsigned(CHAIN, bytes(8), SIDES[0], SIDES[1])

    assert not proof.half_is_good(bare, SIDES[0], halves[1])
    assert not proof.half_is_good(elsewhere, SIDES[0], halves[0])
    assert not proof.half_is_good(
        bare, SIDES[0], halves[0].but(bitcoin_signature=halves[0].node_signature)
    )


@pytest.mark.parametrize("byte", [2, 66, 130, 194, 258, 290, 300, 330, 370, 400])
def test_one_changed_byte_anywhere_spoils_an_announcement(byte: int) -> None:
    bare, halves = _halves()
    raw = bytearray(proof.whole(bare, SIDES[0], *halves))
    raw[byte] ^= 1
    try:
        message = ChannelAnnouncement.decode(bytes(raw[2:]))
    except Malformed:
        return

    assert not announce.announcement_is_signed(bytes(raw), message)


def test_an_update_is_its_ends_own_and_says_what_it_asks_for() -> None:
    which = announce.direction(SIDES[0].node_id, SIDES[1].node_id)
    raw = announce.update(CHAIN, SCID, which, 1_700_000_000, POLICY.but(disabled=True), NODES[0])
    message = ChannelUpdate.decode(raw[2:])

    assert announce.policy_of(message) == POLICY.but(disabled=True)
    assert message.channel_flags & 1 == which
    assert announce.is_signed_by(raw, SIDES[0].node_id, message.signature)
    assert not announce.is_signed_by(raw, SIDES[1].node_id, message.signature)
    assert not announce.is_signed_by(raw + b"\0", SIDES[0].node_id, message.signature)
    assert not announce.is_signed_by(raw, b"\x02" + b"\xff" * 32, message.signature)


ADDRESSES = [
    Address("ipv4", "203.0.113.5", 9735),
    Address("ipv6", "2001:db8::1", 9736),
    Address("torv3", "a" * 56 + ".onion", 9737),
    Address("dns", "node.example", 9738),
]


def test_addresses_are_written_in_order_and_read_again() -> None:
    assert addresses.decode(addresses.encode(ADDRESSES[::-1])) == ADDRESSES


def test_an_unknown_type_ends_the_list_and_a_cut_one_is_malformed() -> None:
    data = addresses.encode(ADDRESSES[:2])

    assert addresses.decode(data + b"\x09anything") == ADDRESSES[:2]
    assert addresses.decode(b"\0" + data) == ADDRESSES[:2]
    with pytest.raises(Malformed):
        addresses.decode(data[:-1])


def test_only_one_hostname_counts_and_no_port_is_no_address() -> None:
    two = [*ADDRESSES, Address("dns", "second.example", 1)]

    assert not addresses.may_be_forwarded(addresses.decode(addresses.encode(two)))
    assert addresses.usable([Address("ipv4", "203.0.113.5", 0), *two]) == ADDRESSES


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("203.0.113.7", "ipv4"), ("2001:db8::7", "ipv6"), ("node.example.org", "dns"),
        ("a" * 56 + ".onion", "torv3"),
    ],
)  # fmt: skip
def test_an_address_as_an_operator_writes_it_is_announced_as_it_is(host: str, kind: str) -> None:
    found = addresses.parse(host, 9735)

    assert found == Address(kind, host, 9735)
    assert addresses.decode(addresses.encode([found])) == [found]


@pytest.mark.parametrize("host", ["short.onion", "é.example", "x" * 300])
def test_what_is_no_address_is_not_announced(host: str) -> None:
    with pytest.raises(ValueError):
        addresses.parse(host, 9735)
