"""Why a part failed, whose fault it was, and what follows from it (BOLT 4, Returning Errors)."""

from __future__ import annotations

from typing import NamedTuple

from protocol.monitor.messages import HtlcEnded
from protocol.onion import failures, sphinx
from protocol.onion.failures import NODE
from protocol.payments.rows import SentPart
from protocol.router.messages import Hop, Learned, Limit

# the set was not whole in time, or another part did not fit: it may go better next time
_MAY_GO_BETTER = ("mpp_timeout",)


class Blame(NamedTuple):
    """`code`: Core Lightning's. `hop`: who failed it, counted from 0, which is us; None when that
    cannot be read. `final`: trying again is pointless."""

    code: int
    text: str
    final: bool = False
    hop: int | None = None
    message: bytes = b""
    limits: tuple[Limit, ...] = ()
    without: tuple[bytes, ...] = ()
    learned: Learned | None = None


def read(part: SentPart, item: HtlcEnded) -> Blame:
    """What the end of a part means: whose fault it is, what to avoid, whether to try again."""
    hops = part.route.hops
    direct = len(hops) == 1
    if item.failure is None and item.malformed is None:
        avoid: tuple[Limit, ...] = () if direct else (_limit(hops[0], zero=True),)
        return Blame(202, "our channel was closed on chain", limits=avoid)
    if item.failure is None:
        digest, code = item.malformed or (b"", 0)
        text = "the peer could not read our onion"
        avoid = () if direct else (_limit(hops[0], zero=True),)
        return Blame(202, text, direct, 1, code.to_bytes(2, "big") + digest, avoid)
    secrets, _ = sphinx.shared_secrets(part.session_key, [hop.node_id for hop in hops])
    found = sphinx.read_failure(secrets, item.failure)
    if found is None:
        # somebody on the way has spoilt it: any of them but our peer's channel, which is ours
        avoid = tuple(_limit(hop, zero=True) for hop in hops[1:])
        return Blame(202, "an unreadable failure came back", direct, limits=avoid)
    place, message = found
    failure = failures.decode(message)
    if place == len(hops) - 1:
        text = f"the destination answered {failure.name}"
        final = failure.name not in _MAY_GO_BETTER
        return Blame(203, text, final, place + 1, message)
    return _on_the_way(hops, place, message)


def _on_the_way(hops: tuple[Hop, ...], place: int, message: bytes) -> Blame:
    """The node that received hop `place` did not send the next one on."""
    failure, following = failures.decode(message), hops[place + 1]
    text = f"hop {place + 1} answered {failure.name}"
    passed = tuple(_limit(hop) for hop in hops[1 : place + 1])
    if failure.code & NODE:
        node = (hops[place].node_id,)
        return Blame(204, text, False, place + 1, message, without=node)
    if failure.name == "temporary_channel_failure":
        full = _limit(following)
        learned = Learned(passed=passed, failed=(full,))
        less = full.but(amount_msat=full.amount_msat - 1)
        return Blame(204, text, False, place + 1, message, (less,), learned=learned)
    avoid = (_limit(following, zero=True),)
    return Blame(204, text, False, place + 1, message, avoid, learned=Learned(passed=passed))


def _limit(hop: Hop, *, zero: bool = False) -> Limit:
    amount = 0 if zero else hop.amount_msat
    return Limit(scid=hop.scid, direction=hop.direction, amount_msat=amount)
