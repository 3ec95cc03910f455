"""Why a store could not be opened, read or written, from what the database or the system says.

Only what its own checks call damaged is called damaged: nobody is sent to a backup, which may be an
older copy, because of a full disk or a file that belongs to somebody else.
"""

from __future__ import annotations

import errno

from storage.errors import Corrupt, InUse, StoreError, Unusable, WriteFailed

# (what the system says, what to do)
CAUSES = (
    ("No space left on device", "the disk is full: free some space and start again"),
    ("Disk quota exceeded", "the disk quota is used up: free some space and start again"),
    ("Too many open files", "too few file descriptors: raise the limit (ulimit -n), start again"),
    ("Permission denied", "its files belong to another user: give them to the node's, start again"),
    ("Operation not permitted", "its files may not be changed: allow it and start again"),
    ("Read-only file system", "the file system is read-only: mount it for writing, start again"),
    ("Input/output error", "the disk reports errors: look after the disk, then start again"),
    ("Cannot allocate memory", "there is not enough memory: free some and start again"),
)
_LOCKED = ("lock hold by", "While lock file", "Resource temporarily unavailable")
# RocksDB's own words; a missing file is named so too when its manifest speaks of it
_DAMAGE = ("Corruption:", "CURRENT: does not exist", "checksum mismatch")
_GONE = "No such file or directory"


REFUSALS = frozenset(
    {
        errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.EACCES, errno.EPERM
    }
)  # fmt: skip


def refused(error: BaseException) -> bool:
    """Whether a disk or a folder is to blame, so that it may be better later."""
    if isinstance(error, OSError):
        return error.errno in REFUSALS
    return isinstance(error, WriteFailed | Unusable | InUse)


def _cause(text: str) -> str | None:
    return next((cure for said, cure in CAUSES if said in text), None)


def may_pass(text: str) -> bool:
    """A process that is dying holds its lock, and deletes its old files, a little longer."""
    return any(word in text for word in _LOCKED) or _GONE in text and not _damaged(text)


def _damaged(text: str) -> bool:
    return any(word in text for word in _DAMAGE)


def explained(text: str, what: str, folder: str, *, remakeable: bool = False) -> StoreError:
    """`what`: the store's name; `remakeable`: nothing is lost when it is removed."""
    if any(word in text for word in _LOCKED):
        return InUse(f"the {what} store is in use by another process: stop that one first")
    cause = _cause(text)
    if cause is not None:
        return Unusable(f"the {what} store ({folder}) cannot be used: {cause}")
    line = (text.splitlines() or ["no reason"])[0][:160]
    missing = _GONE in text and "unlink" not in text
    if _damaged(text) or missing:
        cure = f"remove {folder}" if remakeable else "restore it from a backup"
        return Corrupt(f"the {what} store is damaged ({line}): {cure}")
    cure = "start again, and report it if it stays"
    return Unusable(f"the {what} store ({folder}) cannot be used ({line}): {cure}")


def not_written(text: str, what: str) -> WriteFailed:
    """What a failed write is called: full disk, permission, or what the database said."""
    cause = _cause(text) or "start again, and report it if it stays"
    return WriteFailed(f"the {what} store cannot be written ({text[:120]}): {cause}")
