"""The store on disk: RocksDB in raw mode, one synced batch a commit.

A process opens one store, and only a process that never forks afterwards. Folder: the database;
beside it, outside, the mirror of its mark.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBRecoveryMode,
    Options,
    Rdict,
    WriteBatch,
    WriteOptions,
)

from storage import causes
from storage.errors import Foreign, Missing, Stale, StoreError
from storage.mirror import Mirror
from storage.store import NOTHING, Changes, Mark, mark_from

META, IDENTITY, REMADE = b"\x00mark", b"\x00identity", b"\x00remade"
LOCK_SECONDS = 2.0


def _options(*, create: bool) -> Any:
    options = Options(raw_mode=True)
    options.create_if_missing(create)  # never later: a missing database is no fresh node
    options.set_write_buffer_size(2 << 20)
    options.set_max_write_buffer_number(2)
    options.set_max_background_jobs(2)
    options.set_max_open_files(64)
    options.set_keep_log_file_num(2)
    options.set_max_log_file_size(1 << 20)
    options.set_max_total_wal_size(4 << 20)
    options.set_stats_dump_period_sec(0)
    options.set_stats_persist_period_sec(0)
    # the default recovery mode loses data behind a damaged record without a word
    options.set_wal_recovery_mode(DBRecoveryMode.tolerate_corrupted_tail_records())
    options.set_paranoid_checks(True)
    table = BlockBasedOptions()
    table.set_block_cache(Cache(512 << 10))
    options.set_block_based_table_factory(table)
    return options


def _behind(prefix: bytes) -> bytes:
    """The first key after all that begin with this prefix."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


class RocksStore:
    """`identity` (node and actor) must be the one that the store was made with.

    `remakeable`: what it holds can be learnt again, so a missing one is made anew; `remade` then
    says so. A damaged or older one is refused all the same.
    """

    def __init__(
        self,
        folder: str,
        mirror_path: str,
        identity: bytes,
        what: str,
        *,
        remakeable: bool = False,
    ) -> None:
        self.folder, self.what, self.remakeable = folder, what, remakeable
        self._sync = WriteOptions()
        self._sync.sync = True
        try:
            self._mirror = Mirror(mirror_path)
            mirrored = self._mirror.read()
        except OSError as error:
            raise causes.explained(str(error), what, mirror_path) from None
        self.just_remade = False
        self._db = self._open(fresh=mirrored == NOTHING)
        self.mark, stored = self._read_meta()
        if self.just_remade:
            # every earlier life has made a commit: its generation was lower
            self.mark, stored = Mark(mirrored.commits, NOTHING.hash), mirrored.commits
        else:
            self._check(mirrored, identity, fresh=stored is None)
        self.generation = (stored or 0) + 1
        anew = {REMADE: self.generation.to_bytes(8, "big")} if self.just_remade else {}
        # the fence: from this commit on an older incarnation is known by its generation
        self.commit({IDENTITY: identity, **anew})
        self.remade = int.from_bytes(self.get(REMADE) or b"", "big")

    def _open(self, *, fresh: bool) -> Any:
        exists = self._exists()
        self.just_remade = not exists and not fresh and self.remakeable
        if not exists and not fresh and not self.remakeable:
            raise Missing(
                f"the {self.what} store is missing ({self.folder}): restore it from a backup"
            )
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                return Rdict(self.folder, _options(create=fresh or self.just_remade))
            except Exception as error:  # rocksdict raises nothing more precise
                if not causes.may_pass(str(error)) or time.monotonic() > deadline:
                    raise self._explained(error) from None
            time.sleep(0.01)

    def _exists(self) -> bool:
        """What cannot be looked at is not missing."""
        try:
            os.stat(os.path.join(self.folder, "CURRENT"))
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise self._explained(error) from None
        return True

    def _explained(self, error: Exception) -> StoreError:
        return causes.explained(str(error), self.what, self.folder, remakeable=self.remakeable)

    def _read_meta(self) -> tuple[Mark, int | None]:
        data = self.get(META)
        if data is None:
            return NOTHING, None
        return mark_from(data), int.from_bytes(data[40:48], "big")

    def _check(self, mirrored: Mark, identity: bytes, *, fresh: bool) -> None:
        if self.mark.commits < mirrored.commits:
            raise Stale(
                f"the {self.what} store is older than the last run "
                f"({self.mark.commits} commits of {mirrored.commits}): an old copy could lose "
                "all funds, so restore the newest one"
            )
        if self.mark.commits == mirrored.commits and self.mark.hash != mirrored.hash:
            raise Stale(
                f"the {self.what} store has another history than the last run: "
                "restore the newest copy"
            )
        # a kill between the very first write and its mark leaves a store without one
        if not fresh and mirrored == NOTHING and self.mark.commits > 1:
            raise Stale(
                f"the mark that proves the {self.what} store to be the newest is missing or "
                f"empty ({self._mirror.path}): restore it with the store"
            )
        if not fresh and self.get(IDENTITY) != identity:
            raise Foreign(
                f"the {self.what} store belongs to another node: "
                "use the seed that it was made with, or another folder"
            )

    def get(self, key: bytes) -> bytes | None:
        try:
            value = self._db.get(key)
        except Exception as error:
            raise self._explained(error) from None
        return None if value is None else bytes(value)

    def load(self, but: Sequence[bytes] = ()) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        unread = sorted(but)
        try:
            rows = self._db.iter()
            rows.seek_to_first()
            while rows.valid():
                key = bytes(rows.key())
                if unread and key >= unread[0]:
                    prefix = unread.pop(0)
                    if key.startswith(prefix):
                        rows.seek(_behind(prefix))
                        continue
                found[key] = bytes(rows.value())
                rows.next()
            rows.status()  # a damaged block ends the iteration early, without an error
        except Exception as error:
            raise self._explained(error) from None
        del found[META], found[IDENTITY]
        return found

    def commit(self, changes: Changes) -> None:
        batch = WriteBatch(raw_mode=True)
        for key, value in changes.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        mark = self.mark.after(changes)
        batch.put(META, bytes(mark) + self.generation.to_bytes(8, "big"))
        try:
            self._db.write(batch, self._sync)
        except Exception as error:
            raise causes.not_written(str(error), self.what) from None
        self.mark = mark
        try:
            self._mirror.write(mark)
        except OSError as error:
            raise causes.not_written(str(error), self.what) from None

    def checkpoint(self, folder: str) -> None:
        """A readable copy as of now, by hard links."""
        from rocksdict import Checkpoint

        Checkpoint(self._db).create_checkpoint(folder)

    def close(self) -> None:
        self._db.close()
        self._mirror.close()
