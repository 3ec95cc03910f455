"""Every kind of stored row of every version still read decodes to the value that it had."""

from __future__ import annotations

import json

import pytest

from actors.tree import NODE
from storage.errors import TooOld
from tests.storage import golden

# kinds that the two stories do not meet
RARE = {
    ("payments", "keysend"),
    ("payments", "early"),
    ("router", "lore"),
    ("payments", "standing"),
}
# their keys have changed with them: a folder that has one is refused with a sentence
NO_LONGER_READ = {
    "chain-tx-v1", "chain-spend-v1", "chain-send-v1", "funding-opening-v1",
    "gossiper-edge-v1", "payments-paid-v1", "payments-event-v1",
}  # fmt: skip
FILES = [file for file in sorted(golden.FOLDER.glob("*.bin")) if file.stem not in NO_LONGER_READ]


@pytest.mark.parametrize("stem", sorted(NO_LONGER_READ))
def test_a_record_of_an_earlier_development_version_is_refused(stem: str) -> None:
    actor, kind, _ = stem.split("-")
    data = (golden.FOLDER / f"{stem}.bin").read_bytes()

    with pytest.raises(TooOld, match="no longer reads"):
        NODE.keeps[actor].decode(kind, data)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_golden_record_reads_as_it_did(file) -> None:  # type: ignore[no-untyped-def]
    """If this fails after a change of a record: give it a new version and an upgrade."""
    actor, kind, _ = file.stem.split("-")

    value = NODE.keeps[actor].decode(kind, file.read_bytes())

    expected = json.loads(file.with_suffix(".json").read_text())
    actual = golden.plain(value)
    assert {name: actual[name] for name in expected} == expected


def test_every_kind_has_its_golden_file() -> None:
    missing = {
        (actor, kind)
        for actor, kind, version in golden.kinds()
        if not golden.path(actor, kind, version).exists()
    }

    assert missing <= RARE, "make it: python -m tests.storage.golden"
