"""What can be wrong with a store. Each text is one sentence: what happened, what to do."""


class StoreError(Exception):
    """The store cannot be used; nothing was changed."""


class Missing(StoreError):
    """It was there, and is not any more."""


class Corrupt(StoreError):
    """Bytes do not fit their checksum, or the database says so."""


class Stale(StoreError):
    """An older copy than the one that was last written to."""


class Foreign(StoreError):
    """It belongs to another node or actor."""


class Unusable(StoreError):
    """Nothing says that it is damaged, but it cannot be opened or read now."""


class InUse(StoreError):
    """Another process has it open."""


class TooNew(StoreError):
    """Written by a later release."""


class TooOld(StoreError):
    """Written by a release that this one no longer reads."""


class Fenced(StoreError):
    """A later incarnation of the same actor has taken over."""


class WriteFailed(StoreError):
    """The disk refused a write: the actor must stop, and nothing may follow from the write."""
