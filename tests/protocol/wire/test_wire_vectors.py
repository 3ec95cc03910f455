"""BOLT 1, 8, 9: the official vectors, complete."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import features
from protocol.errors import Malformed
from protocol.wire import codec, registry, setup, tlv
from protocol.wire.codec import Reader, read_tu
from tests.kit.vectors import load

BIGSIZE = load("bolt01-bigsize")
TLV = load("bolt01-tlv")


@pytest.mark.parametrize("case", BIGSIZE["decoding"], ids=lambda case: case["name"])
def test_bigsize_decodes(case: dict[str, Any]) -> None:
    reader = Reader(bytes.fromhex(case["bytes"]))

    if case.get("exp_error"):
        with pytest.raises(Malformed):
            reader.bigsize()
    else:
        assert int(case["value"]) == reader.bigsize()
        assert reader.left == 0


@pytest.mark.parametrize("case", BIGSIZE["encoding"], ids=lambda case: case["name"])
def test_bigsize_encodes(case: dict[str, Any]) -> None:
    assert case["bytes"] == codec.bigsize(int(case["value"])).hex()


@pytest.mark.parametrize("case", load("bolt01-signed-integers"), ids=lambda c: str(c["value"]))
def test_signed_integers(case: dict[str, Any]) -> None:
    assert case["bytes"] == codec.signed(int(case["value"])).hex()
    assert int(case["value"]) == codec.read_signed(bytes.fromhex(case["bytes"]))


@pytest.mark.parametrize("case", load("bolt01-message-extension"), ids=lambda c: c["comment"])
def test_init_with_an_extension(case: dict[str, Any]) -> None:
    message = bytes.fromhex(case["message"])

    if case["valid"]:
        assert isinstance(registry.decode(message), setup.Init)
    else:
        with pytest.raises(Malformed):
            registry.decode(message)


def _check_fields(namespace: str, records: dict[int, bytes]) -> None:
    for record in TLV["namespaces"][namespace]:
        if record["type"] in records:
            reader = Reader(records[record["type"]])
            for kind, _ in record["fields"]:
                match kind:
                    case "tu64" | "tu32":
                        read_tu(reader.rest(), int(kind[2:]) // 8)
                    case "short_channel_id" | "u64":
                        reader.uint(8)
                    case "u16":
                        reader.uint(2)
                    case "point":
                        from protocol.crypto.secp import check_point

                        check_point(reader.point())
            if reader.left:
                raise Malformed("bytes behind the fields")


def _parse(namespace: str, stream: bytes) -> dict[int, bytes]:
    records = tlv.decode(stream, {record["type"] for record in TLV["namespaces"][namespace]})
    _check_fields(namespace, records)
    return records


@pytest.mark.parametrize("case", TLV["cases"], ids=lambda case: case["comment"][:40])
def test_tlv_streams(case: dict[str, Any]) -> None:
    stream = bytes.fromhex(case["stream"])

    for namespace in case["namespaces"]:
        if case["valid"]:
            assert stream == tlv.encode(_parse(namespace, stream))
        else:
            with pytest.raises(Malformed):
                _parse(namespace, stream)


@pytest.mark.parametrize("bad", [c for c in TLV["cases"] if not c["valid"]], ids=lambda c: "")
def test_an_invalid_stream_behind_a_valid_one_is_invalid(bad: dict[str, Any]) -> None:
    good = "0100"

    for namespace in bad["namespaces"]:
        with pytest.raises(Malformed):
            _parse(namespace, bytes.fromhex(good + bad["stream"]))


def test_feature_table_is_the_one_of_bolt_9() -> None:
    assigned = load("bolt09-features")["assigned"]

    expected = {
        row["name"]: (row["even"], row["context"], tuple(row["dependencies"])) for row in assigned
    }
    assert expected == features.ASSIGNED
    assert all(row["odd"] == row["even"] + 1 for row in assigned)


def test_our_own_features_are_complete() -> None:
    assert features.missing_dependencies(features.OUR_INIT) == []
    assert features.missing_dependencies(frozenset({16})) == ["payment_secret"]
    assert features.decode(features.encode(features.OUR_INIT)) == features.OUR_INIT
    assert features.unknown_even(frozenset({12, 100, 101})) == [100]
