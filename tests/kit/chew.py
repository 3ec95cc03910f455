"""Messages that somebody has chewed on."""

from __future__ import annotations

import random


def chewed(raw: bytes, dice: random.Random) -> bytes:
    """A few bytes changed, cut off or added, behind the type; sometimes none."""
    data = bytearray(raw)
    for _ in range(dice.choice([0, 1, 1, 2, 8])):
        match dice.randrange(4):
            case 0 if len(data) > 2:
                data[dice.randrange(2, len(data))] = dice.randrange(256)
            case 1:
                del data[dice.randrange(2, len(data) + 1) :]
            case 2:
                data += dice.randbytes(dice.choice([1, 8, 300]))
            case 3 if len(data) > 10:
                at = dice.randrange(2, len(data) - 8)
                data[at : at + 8] = dice.choice([b"\xff" * 8, bytes(8)])
    return bytes(data)
