"""The guard of a store, over every backend: whose it is, how new, and who may write."""

from __future__ import annotations

import multiprocessing
import os
import pkgutil
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import storage
from storage.errors import Foreign, InUse, Missing, Stale
from storage.memory import MEDIA, MemoryBackend
from storage.mirror import Mirror
from storage.store import Mark, Store


class Place:
    """Where a store of this kind is kept, and what can happen to it while nobody has it open."""

    def __init__(self, kind: str, folder: str) -> None:
        self.kind, self.folder = kind, Path(folder)

    def open(self, identity: bytes = b"node", *, again: bool = False) -> Store:
        url = f"rocksdb:{self.folder}/db" if self.kind == "rocksdb" else "memory:db"
        mark = str(self.folder / "mark")
        return storage.open(url, "payments", mark, identity, remakeable=again)

    def write(self, count: int) -> None:
        store = self.open()
        for number in range(count):
            store.commit({b"k%d" % number: b"%d" % number, b"last": b"%d" % number})
        store.close()

    def lose(self) -> None:
        MEDIA.clear()
        shutil.rmtree(self.folder / "db", ignore_errors=True)

    def copy(self) -> Callable[[], None]:
        """-> what puts the copy in the place of the store."""
        kept = {name: dict(data) for name, data in MEDIA.items()}
        if self.kind == "rocksdb":
            shutil.copytree(self.folder / "db", self.folder / "old")

        def put_back() -> None:
            self.lose()
            MEDIA.update(kept)
            if self.kind == "rocksdb":
                shutil.move(self.folder / "old", self.folder / "db")

        return put_back


def _rises(place: Place) -> Any:
    place.write(3)
    store = place.open()
    return store.generation, store.mark.commits, store.load()


def _older(place: Place) -> Any:
    place.write(2)
    put_back = place.copy()
    place.write(2)
    put_back()
    return place.open()


def _another_history(place: Place) -> Any:
    place.write(2)
    put_back, mark = place.copy(), (place.folder / "mark").read_bytes()
    place.write(3)
    newer = (place.folder / "mark").read_bytes()
    put_back()
    (place.folder / "mark").write_bytes(mark)
    store = place.open()
    for _ in range(3):
        store.commit({b"other": b"1"})
    store.close()
    (place.folder / "mark").write_bytes(newer)
    return place.open()


def _unmarked(place: Place) -> Any:
    place.write(2)
    (place.folder / "mark").unlink()
    return place.open()


def _first_write_alone(place: Place) -> Any:
    place.open().close()
    (place.folder / "mark").write_bytes(b"")
    return place.open().generation


def _lost(place: Place) -> Any:
    place.write(2)
    place.lose()
    return place.open()


def _made_anew(place: Place) -> Any:
    place.write(3)
    place.lose()
    store = place.open(again=True)
    first = store.generation, store.just_remade, store.remade == store.generation, store.load()
    store.close()
    again = place.open()
    return *first, again.generation - store.generation, again.just_remade, again.remade


def _killed_before_its_first_write(place: Place, *, again: bool) -> Any:
    """Made anew, by one that did not come to write anything."""
    place.write(2)
    place.lose()
    url = f"{place.folder}/db" if place.kind == "rocksdb" else "db"
    backend = pkgutil.resolve_name(storage.BACKENDS[place.kind])(url, "payments")
    backend.open(create=True)
    backend.close()
    store = place.open(again=again)
    return store.generation, store.just_remade, store.remade == store.generation


def _remade_and_killed(place: Place) -> Any:
    return _killed_before_its_first_write(place, again=True)


def _lost_and_killed(place: Place) -> Any:
    return _killed_before_its_first_write(place, again=False)


def _foreign(place: Place) -> Any:
    place.write(1)
    return place.open(b"other")


def _ours_after_all(place: Place) -> Any:
    """A refused one is let go of."""
    place.write(1)
    try:
        place.open(b"other")
    except Foreign:
        return place.open().get(b"last")


def _twice(place: Place) -> Any:
    first = place.open()
    try:
        return place.open()
    finally:
        first.close()


def _cold(place: Place) -> Any:
    place.write(13)
    store = place.open()
    below = list(store.below(b"k1").items())
    return sorted(store.load([b"k1", b"la"])), below, store.get(b"last"), store.below(b"nothing")


SCENARIOS = (
    _rises, _older, _another_history, _unmarked, _first_write_alone, _lost, _made_anew,
    _remade_and_killed, _lost_and_killed, _foreign, _twice, _cold, _ours_after_all,
)  # fmt: skip


def _child(kind: str, folder: str, answers: Any) -> None:
    """All of them, each in a folder of its own: RocksDB and the test's process do not mix."""
    for scenario in SCENARIOS:
        place = Place(kind, f"{folder}/{scenario.__name__}")
        place.folder.mkdir()
        MEDIA.clear()
        MemoryBackend._open.clear()
        try:
            answers.put(scenario(place))
        except Exception as error:
            answers.put(error)


@pytest.fixture(scope="module", params=sorted(storage.BACKENDS))
def told(request: Any, tmp_path_factory: Any) -> dict[Any, Any]:
    """What came out of each, over one kind of backend."""
    spawn = multiprocessing.get_context("spawn")
    answers: Any = spawn.SimpleQueue()
    folder = str(tmp_path_factory.mktemp("guard"))
    process = spawn.Process(target=_child, args=(request.param, folder, answers))
    process.start()
    found = {scenario: answers.get() for scenario in SCENARIOS}
    process.join()
    return found


KEPT = {b"k0": b"0", b"k1": b"1", b"k2": b"2", b"last": b"2"}


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        (_rises, (2, 5, KEPT)),
        (_first_write_alone, 2),
        (_ours_after_all, b"0"),
        (_remade_and_killed, (4, True, True)),
        (_made_anew, (5, True, True, {b"\x00remade": (5).to_bytes(8, "big")}, 1, False, 5)),
        (
            _cold,
            (
                [b"k0", *(b"k%d" % n for n in range(2, 10))],
                [(b"k1", b"1"), *((b"k%d" % n, b"%d" % n) for n in range(10, 13))],
                b"12",
                {},
            ),
        ),
    ],
    ids=["rises", "first-write", "ours-after-all", "remade-and-killed", "made-anew", "cold"],
)
def test_a_store_of_ours_is_opened(told: dict[Any, Any], scenario: Any, expected: Any) -> None:
    assert told[scenario] == expected


@pytest.mark.parametrize(
    ("scenario", "error", "text"),
    [
        (_older, Stale, "older than the last run"),
        (_another_history, Stale, "another history"),
        (_unmarked, Stale, "the mark that proves"),
        (_lost, Missing, "is missing"),
        (_lost_and_killed, Missing, "is missing"),
        (_foreign, Foreign, "belongs to another node"),
        (_twice, InUse, "in use"),
    ],
    ids=["older", "another-history", "unmarked", "lost", "lost-and-killed", "foreign", "twice"],
)
def test_a_store_that_lies_or_is_not_ours_is_refused(
    told: dict[Any, Any], scenario: Any, error: Any, text: str
) -> None:
    answer = told[scenario]

    assert isinstance(answer, error) and text in str(answer), answer


def test_a_store_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="give rocksdb:<folder>"):
        storage.open("postgres:x", "payments", "mark", b"")


def test_the_first_mark_of_each_life_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its file: a life that was killed before may have left it to a power cut."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    monkeypatch.setattr(os, "fsync", synced.append)
    mirror = Mirror(str(tmp_path / "mark"))

    mirror.write(Mark(7, bytes(32)))
    assert len(synced) == 2
    mirror.write(Mark(8, bytes(32)))
    assert len(synced) == 2
