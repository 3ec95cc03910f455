"""Several like actors share the work: which of them is meant.

A group's members are numbered from 1 ("monitors-1"); a group of one has no number.
"""

from __future__ import annotations


def members(group: str, count: int) -> tuple[str, ...]:
    """Names of all that share the work of `group`."""
    if count == 1:
        return (group,)
    return tuple(f"{group}-{number}" for number in range(1, count + 1))


def group_of(name: str) -> str:
    """ "monitors" for "monitors-2"; others are their own."""
    return name.partition("-")[0]


def keeper(names: tuple[str, ...], key: bytes) -> str:
    """Which member has what is found by `key`: by its first 4 bytes, so that they should be
    random. For ever the same, as long as the group has as many members."""
    return names[int.from_bytes(key[:4], "big") % len(names)]
