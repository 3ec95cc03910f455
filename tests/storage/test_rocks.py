"""The store on disk: what is damaged, older or missing is refused, in a sentence."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import storage
from storage import causes
from storage.errors import Corrupt, Missing, Stale, StoreError, Unusable
from storage.store import Store

_FORK = multiprocessing.get_context("spawn")


def _work(folder: str, script: str, answers: Any) -> None:
    """In a process of its own: RocksDB and the test's process do not mix with forks."""

    def opened() -> Store:
        return storage.open(f"rocksdb:{folder}/db", "payments", f"{folder}/mark", b"node")

    try:
        store = opened()
        if script.startswith(("write", "crash")):
            for n in range(int(script.split()[1])):
                store.commit({b"k%d" % n: os.urandom(2000), b"last": b"%d" % n})
        answers.put((store.generation, store.mark.commits, store.load().get(b"last")))
        if script.startswith("crash"):
            os._exit(0)
        if script == "dying":
            threading.Timer(0.2, store.close).start()
        if script == "vanishing":
            store.close()
            _unlinks_a_little_longer()
        if script in ("dying", "vanishing"):
            store = opened()
            answers.put(store.generation)
        store.close()
    except Exception as error:
        answers.put(error)


def _unlinks_a_little_longer() -> None:
    """The next two opens find that a file was deleted under them."""
    from storage import rocks

    left, real = ["LOG.old", "000004.log"], rocks.Rdict

    def opens(*args: Any) -> Any:
        if left:
            raise Exception(
                f"IO error: No such file or directory: while unlink() file: {left.pop()}"
            )
        return real(*args)

    rocks.Rdict = opens


def _do(folder: Path, script: str) -> Any:
    answers: Any = _FORK.SimpleQueue()
    process = _FORK.Process(target=_work, args=(str(folder), script, answers))
    process.start()
    answer = answers.get()
    if script in ("dying", "vanishing"):
        answer = answers.get()
    process.join()
    return answer


def test_what_was_committed_is_there_and_the_generation_rises(tmp_path: Path) -> None:
    first = _do(tmp_path, "write 3")
    again = _do(tmp_path, "read")

    assert first == (1, 4, b"2")
    assert again == (2, 5, b"2")


def _older_copy(folder: Path) -> None:
    shutil.copytree(folder / "db", folder / "old")
    assert isinstance(_do(folder, "write 2"), tuple)
    shutil.rmtree(folder / "db")
    shutil.move(folder / "old", folder / "db")


def _missing(folder: Path) -> None:
    shutil.rmtree(folder / "db")


def _no_mark(folder: Path) -> None:
    (folder / "mark").unlink()


def _flip(suffix: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = max((folder / "db").glob(suffix), key=lambda p: p.stat().st_size)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)

    return damage


def _empty_manifest(folder: Path) -> None:
    path = next((folder / "db").glob("MANIFEST-*"))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + b"\0" * 8 + data[len(data) // 2 :])


@pytest.mark.parametrize(
    ("damage", "kind", "text"),
    [
        (_older_copy, Stale, "older than the last run"),
        (_missing, Missing, "is missing"),
        (_no_mark, Stale, "the mark that proves"),
        (_flip("*.log"), StoreError, "payments store"),
        (_flip("*.sst"), StoreError, "payments store"),
        (_empty_manifest, StoreError, "payments store"),
    ],
    ids=["older", "missing", "unmarked", "flipped-wal", "flipped-sst", "manifest"],
)
def test_a_store_that_lies_is_refused(
    tmp_path: Path, damage: Callable[[Path], None], kind: type[StoreError], text: str
) -> None:
    """Never silently used: the sentence says what happened and what to do."""
    _do(tmp_path, "write 40")
    _do(tmp_path, "crash 40")
    damage(tmp_path)

    answer = _do(tmp_path, "read")

    assert isinstance(answer, kind), answer
    assert text in str(answer)
    assert any(word in str(answer) for word in ("restore", "use"))


def test_a_store_that_may_not_be_looked_at_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old copy in its place could lose all funds."""
    _do(tmp_path, "write 3")

    real, current = os.stat, str(tmp_path / "db" / "CURRENT")

    def refuses(path: Any, **options: Any) -> Any:
        if path == current:
            raise PermissionError(13, "Permission denied", path)
        return real(path, **options)

    monkeypatch.setattr("os.stat", refuses)
    with pytest.raises(Unusable, match="belong to another user: give them to the node's"):
        storage.open(f"rocksdb:{tmp_path}/db", "payments", str(tmp_path / "mark"), b"me")


def test_a_store_that_a_dying_process_still_holds_is_waited_for(tmp_path: Path) -> None:
    assert _do(tmp_path, "dying") == 2


SAID = {
    "IO error: No space left on device: While appending to file: /d/000012.log": "free some space",
    "IO error: Disk quota exceeded: While fsync": "free some space",
    "IO error: Permission denied: While open a file for random read: /d/000004.log": "another user",
    "IO error: Too many open files: /d/MANIFEST-000005": "ulimit -n",
    "IO error: Read-only file system: While mkdir": "read-only",
    "IO error: Input/output error: While pread": "look after the disk",
    "IO error: No such file or directory: while unlink() file: /d/LOG.old": "start again",
    "Invalid argument: something new": "report it",
}


@pytest.mark.parametrize("text", SAID)
def test_what_is_not_damaged_is_not_called_so(text: str) -> None:
    """A restore of an old copy may cost all funds: a full disk is no reason for one."""
    error = causes.explained(text, "payments", "/d")

    assert type(error) is Unusable
    assert SAID[text] in str(error)
    assert "backup" not in str(error) and "damaged" not in str(error)
    assert "backup" not in str(causes.not_written(text, "payments"))


@pytest.mark.parametrize(
    "text",
    [
        "Corruption: block checksum mismatch: stored = 1, computed = 2",
        "Corruption: Can't access /000005.sst: IO error: No such file or directory",
        "IO error: No such file or directory: While opening a file: /d/MANIFEST-000005",
        "Invalid argument: /d/CURRENT: does not exist (create_if_missing is false)",
    ],
)
def test_what_is_damaged_is_called_so(text: str) -> None:
    error = causes.explained(text, "payments", "/d")

    assert type(error) is Corrupt
    assert "restore it from a backup" in str(error)
    assert "remove /d" in str(causes.explained(text, "router", "/d", remakeable=True))


def test_a_file_that_a_dying_process_deletes_is_waited_for(tmp_path: Path) -> None:
    """RocksDB meets a file that is gone when it looks again: no damage, and no refusal."""
    assert _do(tmp_path, "vanishing") == 2
