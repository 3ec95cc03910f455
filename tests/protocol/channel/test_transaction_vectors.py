"""BOLT 3: keys, shachain, weights, and every commitment of appendices C and F."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.bitcoin import script
from protocol.bitcoin.transaction import (
    SIGHASH_ALL,
    Outpoint,
    from_display,
    parse,
    parse_block,
    serialize,
    sighash,
)
from protocol.channel import formats, scripts, transactions
from protocol.channel.formats import Format
from protocol.channel.transactions import CommittedHtlc, Contents, Keys, Terms
from protocol.crypto import keys, secp
from protocol.crypto.hashes import sha256
from tests.kit.vectors import load

STATIC = load("bolt03-commitment-static-remotekey")
TWEAKED = load("bolt03-commitment-legacy-tweaked")
ANCHORS = load("bolt03-commitment-anchors-zero-fee-htlc")


def _hex(text: str) -> bytes:
    return bytes.fromhex(text)


def test_weights_and_fees() -> None:
    vector = load("bolt03-weights-and-fees")
    weight, example = vector["commitment"], vector["fee_example"]
    rate, dust = example["feerate_per_kw"], example["dust_limit_satoshis"]

    def fee(offered: bool) -> int:
        return formats.STATIC_REMOTEKEY.htlc_fee_sat(rate, offered=offered)

    htlcs = [CommittedHtlc(True, 0, int(m), b"", 0) for m in example["offered_msat"]]
    htlcs += [CommittedHtlc(False, 0, int(m), b"", 0) for m in example["received_msat"]]
    kept = [
        h for h in htlcs if not transactions.is_trimmed(h, rate, dust, formats.STATIC_REMOTEKEY)
    ]
    assert len(example["untrimmed"]) == len(kept)
    assert (example["htlc_timeout_fee"], example["htlc_success_fee"]) == (fee(True), fee(False))
    assert example["commitment_weight"] == formats.STATIC_REMOTEKEY.commitment_weight(len(kept))
    assert example["base_commitment_fee"] == formats.STATIC_REMOTEKEY.commitment_fee_sat(
        rate, len(kept)
    )
    dropped = sum(h.amount_msat for h in htlcs if h not in kept) // 1000
    assert example["actual_commitment_fee"] == example["base_commitment_fee"] + dropped
    no_htlc = weight["weight_no_htlc"]
    assert no_htlc["static_remotekey"] == formats.STATIC_REMOTEKEY.commitment_weight(0)
    assert no_htlc["option_anchors"] == formats.ANCHORS.commitment_weight(0)
    assert weight["per_htlc_output"] == formats.HTLC_OUTPUT_WEIGHT
    assert vector["anchor_sat"] == formats.ANCHORS.anchor_sat
    for name, form in {
        "p2pkh": b"\x76\xa9\x14" + bytes(20) + b"\x88\xac",
        "p2sh": b"\xa9\x14" + bytes(20) + b"\x87",
        "p2wpkh": script.p2wpkh(bytes(33)),
        "p2wsh": script.p2wsh(b""),
        "unknown_segwit": b"\x60\x28" + bytes(40),
    }.items():
        assert vector["dust_limits_sat"][name] == script.dust_limit_sat(form), name


def test_funding_transaction() -> None:
    vector = load("bolt03-funding-tx")
    block = parse_block(_hex(vector["block_1"]))
    tx = parse(_hex(vector["funding_tx"]))
    witness_script = scripts.funding(
        _hex(vector["local_funding_pubkey"]), _hex(vector["remote_funding_pubkey"])
    )

    assert vector["funding_witness_script"] == witness_script.hex()
    assert script.p2wsh(witness_script) == tx.outputs[int(vector["funding_output"])].script
    assert vector["txid"] == tx.txid[::-1].hex()
    assert vector["funding_tx"] == serialize(tx).hex()
    assert block.transactions[0].txid == tx.inputs[0].outpoint.txid
    assert vector["input_txid"] == block.transactions[0].txid[::-1].hex()


def _secrets(vector: dict[str, Any]) -> dict[str, bytes]:
    return {
        name: _hex(value)[:32] if name.endswith(("privkey", "secret")) else _hex(value)
        for name, value in (vector["common"] | vector["internal_secrets"]).items()
        if isinstance(value, str) and not value.startswith("0x")
    }


def _keys(vector: dict[str, Any], known: dict[str, bytes]) -> Keys:
    point = secp.public_key(known["local_per_commitment_secret"])
    tweaked = "remotepubkey" in known
    return Keys(
        revocation=keys.derive_revocation_point(
            secp.public_key(known["remote_revocation_basepoint_secret"]), point
        ),
        delayed=keys.derive_point(known["local_delayed_payment_basepoint"], point),
        owner_htlc=keys.derive_point(_local_htlc_base(known), point),
        other_htlc=keys.derive_point(_remote_htlc_base(known), point),
        other_payment=known["remotepubkey"] if tweaked else known["remote_payment_basepoint"],
        owner_funding=known["local_funding_pubkey"],
        other_funding=known["remote_funding_pubkey"],
    )


def _local_htlc_base(known: dict[str, bytes]) -> bytes:
    return known.get("local_htlc_basepoint", known["local_payment_basepoint"])


def _remote_htlc_base(known: dict[str, bytes]) -> bytes:
    return known.get("remote_htlc_basepoint", known["remote_payment_basepoint"])


def _terms(vector: dict[str, Any], known: dict[str, bytes], dust: int, form: Format) -> Terms:
    common = vector["common"]
    obscuring = transactions.obscuring_factor(
        known["local_payment_basepoint"], known["remote_payment_basepoint"]
    )
    assert int(common["obscuring_factor"], 16) == obscuring
    return Terms(
        funding=Outpoint(
            from_display(common["funding_tx_id"]), int(common["funding_output_index"])
        ),
        funding_sat=int(common["funding_amount_satoshi"]),
        format=form,
        owner_opened=True,
        dust_limit_sat=dust,
        to_self_delay=int(common["local_delay"]),
        obscuring=obscuring,
    )


def _htlcs(vector: dict[str, Any], chosen: list[int]) -> tuple[CommittedHtlc, ...]:
    return tuple(
        CommittedHtlc(
            row["direction"] == "local->remote",
            row["id"],
            int(row["amount_msat"]),
            sha256(_hex(row["payment_preimage"])),
            int(row["expiry"]),
        )
        for row in vector["htlcs"]
        if row["id"] in chosen
    )


def _signed(
    known: dict[str, bytes], terms: Terms, ours: Keys, contents: Contents
) -> tuple[str, str, list[tuple[str, str, bytes]]]:
    """-> the signed commitment, their signature on it, and each HTLC (signature, tx)."""
    built, digests = transactions.digests(terms, ours, contents)
    theirs = secp.sign(known["remote_funding_privkey"], digests.commitment)
    mine = secp.sign(known["local_funding_privkey"], digests.commitment)
    witness = transactions.funding_witness((ours.owner_funding, ours.other_funding), (mine, theirs))
    signed = serialize(built.tx.with_witness(0, witness)).hex()
    return signed, secp.to_der(theirs).hex(), _htlc_rows(known, terms, ours, contents)


def _htlc_rows(
    known: dict[str, bytes], terms: Terms, ours: Keys, contents: Contents
) -> list[tuple[str, str, bytes]]:
    built, digests = transactions.digests(terms, ours, contents)
    point = secp.public_key(known["local_per_commitment_secret"])
    their_key = keys.derive_secret(_base_secret(known, "remote"), point)
    our_key = keys.derive_secret(_base_secret(known, "local"), point)
    kind = terms.format.htlc_sighash
    rows = []
    for placed, digest in zip(built.htlcs, digests.htlcs, strict=True):
        tx = transactions.htlc_transaction(
            terms, built, built.tx.txid, placed, contents.feerate_per_kw
        )
        _, htlc, code = placed
        theirs = secp.to_der(secp.sign(their_key, digest))
        amount = htlc.amount_msat // 1000
        mine = secp.to_der(secp.sign(our_key, sighash(tx, 0, code, amount, SIGHASH_ALL)))
        preimage = b"" if htlc.offered else bytes([min(htlc.id, 5)]) * 32
        witness = [b"", theirs + bytes([kind]), mine + b"\x01", preimage, code]
        rows.append((theirs.hex(), serialize(tx.with_witness(0, witness)).hex(), code))
    return rows


def _base_secret(known: dict[str, bytes], side: str) -> bytes:
    name = f"{side}_htlc_basepoint_secret"
    return known.get(name, known[f"{side}_payment_basepoint_secret"])


@pytest.mark.parametrize("vector", [STATIC, TWEAKED], ids=["static", "tweaked"])
@pytest.mark.parametrize("position", range(16))
def test_appendix_c(vector: dict[str, Any], position: int) -> None:
    test, known = vector["tests"][position], _secrets(vector)
    chosen = {0: [], 15: [1, 5, 6]}.get(position, [0, 1, 2, 3, 4])
    terms = _terms(
        vector, known, int(vector["common"]["local_dust_limit_satoshi"]), formats.STATIC_REMOTEKEY
    )
    contents = Contents(
        number=int(vector["common"]["commitment_number"]),
        feerate_per_kw=int(test["local_feerate_per_kw"]),
        owner_msat=int(test["to_local_msat"]),
        other_msat=int(test["to_remote_msat"]),
        htlcs=_htlcs(vector, chosen),
    )

    signed, their_signature, rows = _signed(known, terms, _keys(vector, known), contents)

    assert test["commit_tx"] == signed
    assert test["remote_signature"] == their_signature
    assert [h["remote_htlc_signature"] for h in test["htlc_txs"]] == [row[0] for row in rows]
    assert [h["tx"] for h in test["htlc_txs"]] == [row[1] for row in rows]


@pytest.mark.parametrize("test", ANCHORS["tests"], ids=lambda test: test["Name"])
def test_appendix_f(test: dict[str, Any]) -> None:
    known = _secrets(ANCHORS)
    terms = _terms(ANCHORS, known, test["DustLimitSatoshis"], formats.ANCHORS)
    if not test["UseTestHtlcs"]:
        chosen = []
    else:
        chosen = [1, 5, 6] if "same amount" in test["Name"] else [0, 1, 2, 3, 4]
    htlcs = _htlcs(ANCHORS, chosen)
    contents = Contents(
        number=int(ANCHORS["common"]["commitment_number"]),
        feerate_per_kw=test["FeePerKw"],
        owner_msat=test["LocalBalance"],
        other_msat=test["RemoteBalance"],
        htlcs=htlcs,
    )

    signed, their_signature, rows = _signed(known, terms, _keys(ANCHORS, known), contents)

    assert test["ExpectedCommitmentTxHex"] == signed
    assert test["RemoteSigHex"] == their_signature
    assert [h["RemoteSigHex"] for h in test["HtlcDescs"]] == [row[0] for row in rows]
    assert [h["ResolutionTxHex"] for h in test["HtlcDescs"]] == [row[1] for row in rows]
