"""Every kind of stored row of every version still read decodes to the value that it had."""

from __future__ import annotations

import json
import typing
from typing import Any

import msgspec
import pytest

from actors.tree import NODE
from storage.errors import TooOld
from tests.storage import golden

FILES = sorted(golden.FOLDER.glob("*.bin"))


def test_a_record_of_an_earlier_development_version_is_refused() -> None:
    data = b"D" + FILES[0].read_bytes()[1:]
    actor, kind, _ = FILES[0].stem.split("-")

    with pytest.raises(TooOld, match="use another folder"):
        NODE.keeps[actor].decode(kind, data)


def _kinds(kind: Any, found: dict[str, type]) -> None:
    """Every struct that a row is made of, under its tag."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        tag = kind.__struct_config__.tag
        assert isinstance(tag, str) and found.setdefault(tag, kind) is kind, f"{tag} is two things"
        for field in msgspec.structs.fields(kind):
            _kinds(field.type, found)
    for inner in getattr(kind, "__args__", ()):
        _kinds(inner, found)


def test_the_name_of_a_class_is_in_no_store() -> None:
    """What stands on a disk is an explicit tag: a class may be renamed."""
    found: dict[str, type] = {}
    for child in NODE.children:
        for segment in child.machine.keeps:
            _kinds(segment.kind, found)

    assert len(found) > 60
    assert not [tag for tag, kind in found.items() if tag == kind.__name__]


def test_no_row_is_a_message() -> None:
    """A message may change with its receiver; what stands on a disk may not."""
    said: set[Any] = set()
    for child in NODE.children:
        said |= set(typing.get_args(child.all_heard) or (child.all_heard,))
    kept: dict[str, type] = {}
    for child in NODE.children:
        for segment in child.machine.keeps:
            _kinds(segment.kind, kept)

    assert not said & set(kept.values())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_golden_record_reads_as_it_did(file) -> None:  # type: ignore[no-untyped-def]
    """If this fails after a change of a record: give it a new version and an upgrade."""
    actor, kind, _ = file.stem.split("-")

    value = NODE.keeps[actor].decode(kind, file.read_bytes())

    expected = json.loads(file.with_suffix(".json").read_text())
    actual = golden.plain(value)
    assert {name: actual[name] for name in expected} == expected


def test_what_was_said_before_an_upgrade_can_be_heard_after_it() -> None:
    """It may wait in an outbox, or among the dead letters. A message class that gets another name
    keeps its tag; a new field has a default."""
    before, now = json.loads(golden.MESSAGES.read_text()), golden.said()

    assert not before.keys() - now.keys()
    for tag, fields in before.items():
        missing = {name for name, required in now[tag].items() if required} - fields.keys()
        assert not missing, f"{tag} wants {missing}, which earlier ones do not have"
    assert now.keys() == before.keys(), "make it: python -m tests.storage.golden"


def test_every_kind_has_its_golden_file() -> None:
    missing = {
        (actor, kind)
        for actor, kind, version in golden.kinds()
        if not golden.path(actor, kind, version).exists()
    }

    assert not missing, "make it: python -m tests.storage.golden"
