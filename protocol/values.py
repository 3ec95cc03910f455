"""`Value`: the base of every frozen record that is a state, an event, an effect or a message.

msgspec structs: immutable, compared by value, made and encoded in C (docs/decisions/0002).
"""

from __future__ import annotations

from typing import Any, Self, TypeVar

import msgspec

K = TypeVar("K", bound="Value")


class Value(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A frozen, keyword-only record. Its text is its type's name, so that no log shows a secret."""

    def __repr__(self) -> str:
        return type(self).__name__

    __str__ = __repr__

    def __deepcopy__(self, _memo: Any) -> Self:
        return self  # frozen all the way down: a copied world may share it

    def but(self, **changes: Any) -> Self:
        """The same record with some fields changed."""
        return msgspec.structs.replace(self, **changes)

    def into(self, kind: type[K], **more: Any) -> K:
        """Another kind of record, with the fields that both have, and some more: what is said and
        what is kept have types of their own. Raises `AttributeError` for a field that neither has:
        its default would be a value that nobody meant."""
        wanted = [name for name in kind.__struct_fields__ if name not in more]
        return kind(**{name: getattr(self, name) for name in wanted}, **more)
