"""Snapshot stores: bytes under keys, changed by whole synced batches, and guarded."""

from __future__ import annotations

import importlib

from storage.guard import Guarded
from storage.store import Store

BACKENDS = {"rocksdb": "storage.rocks:RocksBackend", "memory": "storage.memory:MemoryBackend"}


def open(url: str, what: str, mirror: str, identity: bytes, *, remakeable: bool = False) -> Store:
    """The store at "rocksdb:<folder>", or "memory:<name>" for tests: open, checked, and fenced.

    `what` it is called in errors; `mirror`, `identity` and `remakeable` as in `guard.Guarded`.
    Raises `StoreError`; `ValueError` for a URL of another kind.
    """
    kind, _, place = url.partition(":")
    if kind not in BACKENDS or not place:
        raise ValueError(f"no store at {url!r}: give rocksdb:<folder>")
    module, _, name = BACKENDS[kind].partition(":")
    backend = getattr(importlib.import_module(module), name)(place, what, remakeable=remakeable)
    return Guarded(backend, mirror, identity, remakeable=remakeable)
