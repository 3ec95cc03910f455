"""The life of an HTLC and of a fee update, as one table (BOLT 2, Normal Operation).

X proposes something to Y. Both commitments take it up, one after the other, and (for an HTLC)
both let go of it again, when Y has removed it:

    PROPOSED            X sent the update                     in Y's commitment   in X's
    SIGNED_FOR_THEM     X signed Y's commitment with it              yes
    REVOKED_BY_THEM     Y revoked the one without it                 yes
    SIGNED_FOR_PROPOSER Y signed X's commitment with it              yes            yes
    COMMITTED           X revoked: irrevocably committed             yes            yes
    REMOVING            Y sent fulfill or fail                       yes            yes
    UNSIGNED_PROPOSER   Y signed X's commitment without it           yes
    REVOKED_PROPOSER    X revoked the one with it                    yes
    UNSIGNED_THEM       X signed Y's commitment without it
    GONE                Y revoked: irrevocably removed
"""

from __future__ import annotations

from enum import IntEnum, auto
from typing import Final

PROPOSED: Final = 0
SIGNED_FOR_THEM: Final = 1
REVOKED_BY_THEM: Final = 2
SIGNED_FOR_PROPOSER: Final = 3
COMMITTED: Final = 4
REMOVING: Final = 5
UNSIGNED_PROPOSER: Final = 6
REVOKED_PROPOSER: Final = 7
UNSIGNED_THEM: Final = 8
GONE: Final = 9


class Move(IntEnum):
    """The four events that move everything on a channel at once: commitment_signed and
    revoke_and_ack, sent and received."""

    SEND_COMMIT = auto()
    RECEIVE_REVOKE = auto()
    RECEIVE_COMMIT = auto()
    SEND_REVOKE = auto()


# (are we the proposer?, move) -> from stage to stage
TABLE: Final[dict[tuple[bool, Move], dict[int, int]]] = {
    (True, Move.SEND_COMMIT): {PROPOSED: SIGNED_FOR_THEM, REVOKED_PROPOSER: UNSIGNED_THEM},
    (True, Move.RECEIVE_REVOKE): {SIGNED_FOR_THEM: REVOKED_BY_THEM, UNSIGNED_THEM: GONE},
    (True, Move.RECEIVE_COMMIT): {
        REVOKED_BY_THEM: SIGNED_FOR_PROPOSER,
        REMOVING: UNSIGNED_PROPOSER,
    },
    (True, Move.SEND_REVOKE): {
        SIGNED_FOR_PROPOSER: COMMITTED,
        UNSIGNED_PROPOSER: REVOKED_PROPOSER,
    },
    (False, Move.RECEIVE_COMMIT): {PROPOSED: SIGNED_FOR_THEM, REVOKED_PROPOSER: UNSIGNED_THEM},
    (False, Move.SEND_REVOKE): {SIGNED_FOR_THEM: REVOKED_BY_THEM, UNSIGNED_THEM: GONE},
    (False, Move.SEND_COMMIT): {
        REVOKED_BY_THEM: SIGNED_FOR_PROPOSER,
        REMOVING: UNSIGNED_PROPOSER,
    },
    (False, Move.RECEIVE_REVOKE): {
        SIGNED_FOR_PROPOSER: COMMITTED,
        UNSIGNED_PROPOSER: REVOKED_PROPOSER,
    },
}


def in_commitment(stage: int, *, of_proposer: bool) -> bool:
    """Whether the latest signed commitment of that side contains it."""
    if of_proposer:
        return SIGNED_FOR_PROPOSER <= stage <= REMOVING
    return SIGNED_FOR_THEM <= stage <= REVOKED_PROPOSER


def removed_from(stage: int, *, of_proposer: bool) -> bool:
    """Whether that side's latest signed commitment had it once and has it no more."""
    return stage > (REMOVING if of_proposer else REVOKED_PROPOSER)
