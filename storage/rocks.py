"""The store on disk: RocksDB in raw mode, one synced batch a commit.

A process opens one store, and only a process that never forks afterwards.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
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
from storage.errors import StoreError
from storage.store import Changes

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


class RocksBackend:
    """`place`: the folder of the database. `remakeable`: whoever finds it damaged may remove it."""

    def __init__(self, place: str, what: str, *, remakeable: bool = False) -> None:
        self.place, self.what, self.remakeable = place, what, remakeable
        self._sync = WriteOptions()
        self._sync.sync = True
        self._db: Any = None

    def exists(self) -> bool:
        try:
            os.stat(os.path.join(self.place, "CURRENT"))
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise self._explained(error) from None
        return True

    def open(self, *, create: bool) -> None:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                self._db = Rdict(self.place, _options(create=create))
                return
            except Exception as error:  # rocksdict raises nothing more precise
                if not causes.may_pass(str(error)) or time.monotonic() > deadline:
                    raise self._explained(error) from None
            time.sleep(0.01)

    def _explained(self, error: Exception) -> StoreError:
        return causes.explained(str(error), self.what, self.place, remakeable=self.remakeable)

    def get(self, key: bytes) -> bytes | None:
        try:
            value = self._db.get(key)
        except Exception as error:
            raise self._explained(error) from None
        return None if value is None else bytes(value)

    def below(self, prefix: bytes) -> dict[bytes, bytes]:
        return self._rows(prefix, lambda key: key.startswith(prefix))

    def load(self, but: Sequence[bytes]) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        start = b""
        for prefix in sorted(but):
            if prefix >= start:  # else it lies within the one before it
                found |= self._rows(start, prefix.__gt__)
                start = _behind(prefix)
        return found | self._rows(start, lambda _: True)

    def _rows(self, start: bytes, wanted: Callable[[bytes], bool]) -> dict[bytes, bytes]:
        """From the first key that is not before `start`, as long as they are wanted."""
        found: dict[bytes, bytes] = {}
        try:
            rows = self._db.iter()
            rows.seek(start)
            while rows.valid() and wanted(key := bytes(rows.key())):
                found[key] = bytes(rows.value())
                rows.next()
            rows.status()  # a damaged block ends the iteration early, without an error
        except Exception as error:
            raise self._explained(error) from None
        return found

    def write(self, changes: Changes) -> None:
        batch = WriteBatch(raw_mode=True)
        for key, value in changes.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        try:
            self._db.write(batch, self._sync)
        except Exception as error:
            raise causes.not_written(str(error), self.what) from None

    def close(self) -> None:
        self._db.close()
