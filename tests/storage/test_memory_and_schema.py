"""The store in memory fails as a disk does; schemas upgrade, and refuse what they cannot read."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.envelope import seal, unseal
from storage.errors import Corrupt, Fenced, Stale, TooNew, TooOld, WriteFailed
from storage.memory import Disk, MemoryStore
from storage.mirror import Mirror, read_mark
from storage.schema import Schema
from storage.store import NOTHING, Mark


class Coin(msgspec.Struct, frozen=True):
    amount_sat: int
    label: str


def test_a_commit_is_all_or_nothing_and_counted() -> None:
    disk = Disk()
    store = MemoryStore(disk)

    store.commit({b"b": b"2", b"a": b"1"})
    store.commit({b"b": None})

    assert MemoryStore(disk).load() == {b"a": b"1"}
    assert (store.mark.commits, disk.generation) == (2, 2)


@pytest.mark.parametrize(("how", "kept"), [("error", {}), ("full", {}), ("torn", {b"k": b"v"})])
def test_a_failing_disk_leaves_old_or_new(how: str, kept: dict[bytes, bytes]) -> None:
    disk = Disk()
    store = MemoryStore(disk)
    disk.fail_at, disk.how = 0, how

    with pytest.raises(WriteFailed, match="start again"):
        store.commit({b"k": b"v"})

    assert kept == disk.data


def test_an_older_incarnation_cannot_write() -> None:
    disk = Disk()
    old, new = MemoryStore(disk), MemoryStore(disk)

    new.commit({b"k": b"new"})

    with pytest.raises(Fenced):
        old.commit({b"k": b"old"})
    assert disk.data == {b"k": b"new"}


def test_an_older_copy_is_refused() -> None:
    disk = Disk()
    MemoryStore(disk).commit({b"k": b"1"})
    copy = disk.copy()
    MemoryStore(disk).commit({b"k": b"2"})
    copy.mirror = disk.mirror

    with pytest.raises(Stale):
        MemoryStore(copy)


@given(st.binary(max_size=200), st.integers(0, 10**4))
def test_an_envelope_shows_every_flipped_bit(body: bytes, where: int) -> None:
    data = bytearray(seal("kind", 3, body))
    assert ("kind", 3, body) == unseal(bytes(data), "k")

    data[where % len(data)] ^= 1

    with pytest.raises(Corrupt):
        unseal(bytes(data), "k")


def test_an_old_version_is_upgraded_step_by_step() -> None:
    old = Schema("coin", dict)
    new = Schema(
        "coin",
        Coin,
        version=3,
        upgrades={
            1: lambda row: {"sat": row["sat"], "label": ""},
            2: lambda row: {"amount_sat": row["sat"], "label": row["label"]},
        },
    )

    assert Coin(5, "") == new.decode(old.encode({"sat": 5}), "coin/1")


def test_what_cannot_be_read_is_refused_with_what_to_do() -> None:
    third, second = Schema("coin", Coin, version=3), Schema("coin", Coin, version=2)
    data = third.encode(Coin(1, "x"))

    with pytest.raises(TooNew, match="start that release again"):
        second.decode(data, "coin/1")
    with pytest.raises(TooOld, match="run the release that wrote it"):
        third.decode(second.encode(Coin(1, "x")), "coin/1")
    with pytest.raises(Corrupt, match="of kind 'coin'"):
        Schema("other", Coin, version=3).decode(data, "coin/1")
    with pytest.raises(Corrupt, match="not one of ours"):
        third.decode(b"garbage!", "coin/1")


def test_a_torn_mirror_falls_back_to_the_other_slot(tmp_path) -> None:  # type: ignore[no-untyped-def]
    mirror = Mirror(str(tmp_path / "mark"))
    assert mirror.read() == NOTHING
    mirror.write(Mark(7, b"h" * 32))
    mirror.write(Mark(8, b"i" * 32))
    with open(mirror.path, "r+b") as file:
        file.write(b"\xff" * 20)  # slot 0 holds mark 8

    assert Mark(7, b"h" * 32) == read_mark(mirror.path)
    assert read_mark(str(tmp_path / "none")) is None
