"""Bech32 and segwit addresses: vectors of BIP 173 and BIP 350, and what must not be taken."""

from __future__ import annotations

import pytest

from protocol.bitcoin import script

ADDRESSES = [
    ("bitcoin", "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4",
     "0014751e76e8199196d454941c45d1b3a323f1433bd6"),
    ("testnet", "tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sl5k7",
     "00201863143c14c5166804bd19203356da136c985678cd4d27a1b8c6329604903262"),
    ("bitcoin", "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
     "512079be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"),
]  # fmt: skip


@pytest.mark.parametrize(("network", "address", "program"), ADDRESSES)
def test_an_address_names_its_program(network: str, address: str, program: str) -> None:
    assert script.from_address(address, network) == bytes.fromhex(program)
    assert script.to_address(bytes.fromhex(program), network) == address.lower()


@pytest.mark.parametrize(
    ("text", "constant"),
    [
        ("A12UEL5L", script.BECH32),
        ("abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw", script.BECH32),
        ("A1LQFN3A", script.BECH32M),
        ("abcdef1l7aum6echk45nj3s0wdvt2fg8x9yrzpqzd3ryx", script.BECH32M),
    ],
)
def test_what_is_written_so_is_read(text: str, constant: int) -> None:
    decoded = script.bech32_decode(text)
    assert decoded is not None
    hrp, words, found = decoded
    assert found == constant
    assert script.bech32_encode(hrp, words, constant) == text.lower()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "pzry9x0s0muk",
        "1pzry9x0s0muk",
        "x1b4n0q5v",
        "li1dgmt3",
        "A1G7SGD8",
        "A12uEL5L",
        "\x7f1axkwrx",
        "\u212aA12UEL5L",
        ADDRESSES[0][1].replace("K", "\u212a"),  # the Kelvin sign is a k when it is made small
        ADDRESSES[0][1].replace("W", "Q", 1),
    ],
)
def test_what_is_not_bech32_is_refused(text: str) -> None:
    assert script.bech32_decode(text) is None


@pytest.mark.parametrize("length", range(41))
def test_bytes_make_their_way_through_words(length: int) -> None:
    data = bytes(range(200, 200 + length))
    words = script.to_words(data)
    assert len(words) == (length * 8 + 4) // 5
    assert max(words, default=0) < 32
    assert script.from_words(words) == data
