"""File descriptors: as many as we may have, and how many of them strangers and clients get.

What is kept back is for the database, the links between actors, and peers that we have channels
with: a connection of theirs carries money, and is never refused for want of a place.
"""

from __future__ import annotations

import resource

WANTED, KEPT = 16_384, 128
LEAST = KEPT  # with fewer the actors cannot even be started
MOST_GUESTS, MOST_CLIENTS, MOST_HANDSHAKES = 1_024, 1_024, 200


def raise_limit() -> int:
    """Called by the first process, which all others inherit from; -> the limit now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return limit()


def limit() -> int:
    """How many this process may have open now."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return WANTED if soft == resource.RLIM_INFINITY else soft


def _share(most: int, part: int) -> int:
    return max(8, min(most, (limit() - KEPT) // part))


def guests() -> int:
    """Connections of nodes that we have no channel with."""
    return _share(MOST_GUESTS, 2)


def clients() -> int:
    """Connections to the API's socket."""
    return _share(MOST_CLIENTS, 2)


def handshakes() -> int:
    """Connections of nobody yet."""
    return _share(MOST_HANDSHAKES, 4)
