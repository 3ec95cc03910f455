"""Keys, secrets of commitments (BOLT 3) and the encrypted transport (BOLT 8), by their vectors."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.crypto import keys, noise, shachain
from protocol.errors import PeerFault
from tests.kit.vectors import load

SHACHAIN = load("bolt03-shachain")
TRANSPORT = load("bolt08-transport")


def _hex(text: str) -> bytes:
    return bytes.fromhex(text)


def test_key_derivation() -> None:
    vector = load("bolt03-key-derivation")
    given = {name: _hex(value) for name, value in vector["inputs"].items()}
    point, base = given["per_commitment_point"], given["base_point"]
    secret, base_secret = given["per_commitment_secret"], given["base_secret"]

    derived = {
        "localpubkey": keys.derive_point(base, point),
        "localprivkey": keys.derive_secret(base_secret, point),
        "revocationpubkey": keys.derive_revocation_point(base, point),
        "revocationprivkey": keys.derive_revocation_secret(base_secret, secret),
    }

    for test in vector["tests"]:
        assert test["result"] == derived[test["result_name"]].hex()


@pytest.mark.parametrize("case", SHACHAIN["generation"], ids=lambda case: case["name"])
def test_shachain_generation(case: dict[str, Any]) -> None:
    assert case["output"] == shachain.secret(_hex(case["seed"]), int(case["i"])).hex()


@pytest.mark.parametrize("case", SHACHAIN["storage"], ids=lambda case: case["name"])
def test_shachain_storage(case: dict[str, Any]) -> None:
    store = shachain.EMPTY
    inserted = []

    for row in case["inserts"]:
        index, value = int(row["i"]), _hex(row["secret"])
        if not row["ok"]:
            with pytest.raises(PeerFault):
                shachain.insert(store, index, value)
            return
        store = shachain.insert(store, index, value)
        inserted.append((index, value))
    assert inserted == [(index, shachain.lookup(store, index)) for index, _ in inserted]
    assert shachain.lookup(store, inserted[-1][0] - 1) is None


def test_secrets_of_commitments_are_those_of_the_specification_whatever_is_remembered() -> None:
    """Whatever order they are asked for in: what they share is derived once."""
    secrets = keys.ChannelSecrets(bytes(32), 1)
    for number in (0, 1, 255, 256, 257, 511, 512, 0, 65_536, 256, 2**47):
        index = shachain.FIRST_INDEX - number
        assert secrets.commitment_secret(number) == shachain.secret(secrets.seed, index)


@pytest.mark.parametrize("case", TRANSPORT["handshakes"], ids=lambda case: case["name"])
def test_handshake(case: dict[str, Any]) -> None:
    keys = {name: bytes.fromhex(value) for name, value in case["keys"].items()}
    side = noise.Handshake(
        ours=keys["ls.priv"], ephemeral=keys["e.priv"], theirs=keys.get("rs.pub")
    )
    sent = side.act_one() if case["role"] == "initiator" else b""
    ciphers = None

    for step in case["steps"]:
        if "output" in step:
            assert step["output"] == sent.hex()
        elif "keys" in step:
            assert ciphers is not None
            sending, receiving = ciphers
            assert (step["keys"]["sk"], step["keys"]["rk"]) == (
                sending._key.hex(),
                receiving._key.hex(),
            )
        elif "error" not in step:
            following = case["steps"][case["steps"].index(step) + 1]
            if "error" in following:
                with pytest.raises(noise.HandshakeFailed, match=following["error"]):
                    side.receive(bytes.fromhex(step["input"]))
                return
            sent, ciphers = side.receive(bytes.fromhex(step["input"]))


def test_messages_with_key_change() -> None:
    case = TRANSPORT["messages"]
    key, chaining = bytes.fromhex(case["sk"]), bytes.fromhex(case["ck"])
    sending, receiving = noise.Cipher(chaining, key), noise.Cipher(chaining, key)
    plain = bytes.fromhex(case["cleartext"])

    for number in range(case["count"]):
        head, body = sending.seal(len(plain).to_bytes(2, "big")), sending.seal(plain)
        if str(number) in case["outputs"]:
            assert case["outputs"][str(number)] == (head + body).hex()
        assert (len(plain).to_bytes(2, "big"), plain) == (
            receiving.open(head),
            receiving.open(body),
        )
