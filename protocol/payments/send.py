"""Sending: a payment is a durable machine. It is known at any time whether it succeeded, failed,
or is pending; it is never sent twice for one hash, and a preimage is never forgotten.

What is not under way goes over a channel with the payee, if there is one, else over routes that
the router finds (`find`). Each part that fails teaches something, and what it carried is tried
again, until the time, the fee or the hope is used up.
"""

from __future__ import annotations

from protocol.chain.messages import TIP
from protocol.channel.messages import OVER, WITHDRAWN
from protocol.gossip.announce import direction
from protocol.machine import Moment, Step
from protocol.monitor.messages import HtlcEnded, HtlcRefused
from protocol.payments import blame, events, sent_parts, waiters
from protocol.payments.channels import channels_to, count
from protocol.payments.rows import (
    CHANNELS,
    FINDING,
    PARTS,
    PAYMENTS,
    PENDING,
    QUESTIONS,
    Payment,
    SentPart,
    UnderWay,
)
from protocol.router.messages import FindRoutes, Hop, Limit, Route, RoutesFound

RETRY_SECONDS, MAX_RETRY_SECONDS, DEFAULT_RETRY_FOR = 0.2, 5.0, 60
DIRECT_SECONDS, ASK_AGAIN_SECONDS = 2.0, 10.0
MOST_TRIES = 200


# ---- the machine --------------------------------------------------------------------------------


def go_on(step: Step, us: bytes, row: Payment, at: Moment) -> None:
    """Whatever is not under way is brought on its way, or the payment ends."""
    missing = row.amount_msat - sent_parts.flying_msat(step, row)
    if row.status != "pending" or missing <= 0:
        put(step, row)
    elif (
        row.sendpay or row.doomed or at.unix_seconds >= row.deadline or row.last_part >= MOST_TRIES
    ):
        put(step, row) if row.living else _fail(step, row, at)
    elif TIP.get(step) is None:
        _later(step, row, at)
    else:
        direct = _direct(step, us, row) if not row.living else None
        if direct is not None:
            row = row.but(direct=(*row.direct, direct.channel_id))
            _offer(step, row, [direct], at)
        elif count(step) == 0:
            _fail(step, row.but(code=205, reason="no route: we have no usable channel"), at)
        else:
            _find(step, row, missing, at)


def _direct(step: Step, us: bytes, row: Payment) -> Route | None:
    """The whole over one of our channels with the payee: nobody has to be asked."""
    for channel in channels_to(step, row.destination):
        if channel not in row.direct and channel not in row.never:
            hop = Hop(
                scid=CHANNELS.need(step, channel).scid,
                direction=direction(us, row.destination),
                node_id=row.destination,
                amount_msat=row.amount_msat,
                delay=row.final_cltv,
            )
            return Route(channel_id=channel, hops=(hop,))
    return None


def _find(step: Step, row: Payment, missing: int, at: Moment) -> None:
    """Ask for routes; the answer is `found`. A question that is lost is asked again."""
    put(step, row.but(retry_at=None))
    number = (QUESTIONS.get(step) or 0) + 1
    QUESTIONS.put(step, number)
    FINDING.put(step, number, row.payment_hash)
    live = sent_parts.living(step, row)
    fees = sum(part.route.sent_msat - part.route.amount_msat for part in live)
    flying = [hop for part in live for hop in part.route.hops[1:]]
    question = FindRoutes(
        payment=row.payment_hash,
        number=number,
        target=row.destination,
        amount_msat=missing,
        most_fee_msat=max(0, row.most_fee_msat - fees),
        final_cltv=row.final_cltv,
        most_delay=row.most_delay - sent_parts.EXTRA_CLTV,
        most_parts=max(1, row.most_parts - len(live)),
        limits=row.limits,
        flying=tuple(limit_of(hop) for hop in flying),
        without=row.without,
        hints=row.hints,
    )
    step.tell("peers", question)
    step.wake(min(row.deadline, at.unix_seconds + ASK_AGAIN_SECONDS))


def limit_of(hop: Hop, less: int = 0) -> Limit:
    """An edge of a route, and what it was to carry; `less` stays with us."""
    return Limit(scid=hop.scid, direction=hop.direction, amount_msat=hop.amount_msat - less)


def found(step: Step, us: bytes, item: RoutesFound, at: Moment) -> None:
    """The router's answer."""
    row = PAYMENTS.get(step, item.payment)
    if row is None or FINDING.get(step, item.payment) != item.number:
        return
    FINDING.drop(step, item.payment)
    missing = row.amount_msat - sent_parts.flying_msat(step, row)
    if row.status != "pending" or missing <= 0:
        return
    if item.routes and sum(route.amount_msat for route in item.routes) == missing:
        _offer(step, row, list(item.routes), at)
    elif not item.hopeless and at.unix_seconds < row.deadline:
        _later(step, row.but(code=item.code, reason=item.reason), at)
    else:
        # what is under way may still be enough of an answer: nothing fails before it has ended
        code = item.code if row.code in (None, 202, 204) else row.code
        again = row.but(doomed=True, code=code, reason=row.reason or item.reason)
        go_on(step, us, again, at)


def _later(step: Step, row: Payment, at: Moment) -> None:
    """The next round, in which everything may be tried again."""
    pause = min(RETRY_SECONDS * 2 ** min(row.rounds, 8), MAX_RETRY_SECONDS)
    retry = min(at.unix_seconds + pause, max(row.deadline, at.unix_seconds + 0.05))
    put(step, row.but(direct=(), limits=(), without=(), retry_at=retry, rounds=row.rounds + 1))
    step.wake(retry)


def _offer(step: Step, row: Payment, routes: list[Route], at: Moment) -> None:
    for route in routes:
        try:
            row = sent_parts.offer(step, row, route, at)
        except ValueError:  # more hops than an onion holds
            avoid = tuple(limit_of(hop).but(amount_msat=0) for hop in route.hops[-2:-1])
            row = row.but(limits=(*row.limits, *avoid), doomed=row.doomed or not avoid)
            row = row.but(code=205, reason="the route does not fit into an onion")
            step.wake(at.unix_seconds)
    again = None if row.living else at.unix_seconds
    put(step, row.but(retry_at=again))
    direct = len(routes) == 1 and len(routes[0].hops) == 1 and count(step) > 1
    step.wake(at.unix_seconds + DIRECT_SECONDS if direct else row.deadline)


def put(step: Step, row: Payment) -> None:
    """`PENDING` names the payments that the clock may have to look at, also after a start."""
    name = row.payment_hash
    PAYMENTS.put(step, row, name)
    if row.status != "pending":
        PENDING.drop(step, name)
        FINDING.drop(step, name)
    elif PENDING.get(step, name) is None:
        PENDING.put(step, UnderWay(), name)


# ---- what became of a part ----------------------------------------------------------------------


def refused(step: Step, us: bytes, item: HtlcRefused, at: Moment) -> None:
    """It was never offered: our channel could not take it."""
    part = sent_parts.of(step, item.origin)
    if part is None or part.status != "pending":
        return
    row = sent_parts.failed(step, part, at, 204, item.reason)
    first = part.route.hops[0]
    if item.reason == OVER:
        pass  # the same way is as good as it was
    elif len(part.route.hops) > 1:
        row = row.but(limits=(*row.limits, limit_of(first, 1)))
    elif item.final:
        row = row.but(never=(*row.never, part.route.channel_id))
    if item.reason != WITHDRAWN:
        row = row.but(reason=item.reason, code=205)
    if at.unix_seconds >= row.deadline and not row.reason:
        row = row.but(code=210, reason="the time to retry is over, and nothing is in flight")
    waiters.part_done(step, PARTS.need(step, *part.place), row)
    go_on(step, us, row, at)


def ended(step: Step, us: bytes, item: HtlcEnded, at: Moment) -> None:
    """A part has ended on its first channel: paid, failed by somebody, or refused."""
    part = sent_parts.of(step, item.origin)
    if part is not None and part.route.channel_id != item.channel_id:
        part = None  # of a snapshot that was lost: another part had this name
    if item.preimage is not None:
        # however late, and whatever we thought: a preimage means that it was paid
        _fulfilled(step, item, part, at)
        return
    if part is None or part.status != "pending":
        return
    verdict = blame.read(part, item)
    row = sent_parts.failed(step, part, at, verdict.code, verdict.text, verdict)
    if verdict.learned is not None:
        step.tell("router", verdict.learned)
    waiters.part_done(step, PARTS.need(step, *part.place), row)
    if row.status != "pending":
        put(step, row)
        return
    row = row.but(
        limits=(*row.limits, *verdict.limits),
        without=(*row.without, *verdict.without),
        doomed=row.doomed or verdict.final,
        code=verdict.code,
        reason=verdict.text,
    )
    go_on(step, us, row, at)


def _fulfilled(step: Step, item: HtlcEnded, part: SentPart | None, at: Moment) -> None:
    row = PAYMENTS.get(step, bytes.fromhex(item.origin.partition("/")[0]))
    if row is None:
        return  # the snapshot that knew it was lost
    if part is not None and part.status != "complete":
        row = sent_parts.fulfilled(step, part, at)
    if row.status != "complete":
        row = row.but(
            status="complete",
            preimage=item.preimage,
            completed_at=int(at.unix_seconds),
            code=None,
            reason="",
        )
        about = {
            "payment_hash": row.payment_hash.hex(),
            "amount_msat": row.amount_msat,
            "amount_sent_msat": row.sent_msat,
            "destination": row.destination.hex(),
        }
        events.happened(step, at, "payment_sent", **about)
    put(step, row)
    if part is not None:
        waiters.part_done(step, PARTS.need(step, *part.place), row)
    waiters.payment_done(step, row)


def _fail(step: Step, row: Payment, at: Moment) -> None:
    """Only when nothing is in flight: the user may take the money back now."""
    assert not row.living
    reason = row.reason or "the time to retry is over, and nothing is in flight"
    on_the_way = row.code in (None, 202, 204) and not row.sendpay
    row = row.but(
        status="failed",
        code=210 if on_the_way else row.code,  # 202 and 204 are of single parts
        reason=reason,
        retry_at=None,
        completed_at=int(at.unix_seconds),
    )
    put(step, row)
    about = {"payment_hash": row.payment_hash.hex(), "code": row.code, "reason": reason}
    events.happened(step, at, "payment_failed", **about)
    waiters.payment_done(step, row)


# ---- the clock ----------------------------------------------------------------------------------


def on_clock(step: Step, us: bytes, at: Moment) -> None:
    """Retries that are due; offers that nobody took before the deadline are withdrawn."""
    for (payment_hash,) in PENDING.below(step):
        row = PAYMENTS.need(step, payment_hash)
        _withdraw(step, row, at)
        if row.retry_at is not None and row.retry_at <= at.unix_seconds:
            go_on(step, us, row.but(retry_at=None), at)
        elif row.retry_at is not None:
            step.wake(row.retry_at)
        elif not row.living and not row.sendpay:
            go_on(step, us, row, at)  # its question may be lost


def _withdraw(step: Step, row: Payment, at: Moment) -> None:
    """A peer that is away would hold a part for ever; with other channels there are other ways."""
    over = at.unix_seconds >= row.deadline
    for part in sent_parts.living(step, row) if not row.sendpay or over else []:
        direct = len(part.route.hops) == 1 and count(step) > 1
        due = min(row.deadline, part.since + DIRECT_SECONDS) if direct else row.deadline
        if part.withdrawn:
            continue
        if at.unix_seconds >= due:
            sent_parts.withdraw(step, part)
        else:
            step.wake(due)


def find_again(step: Step, us: bytes, at: Moment) -> None:
    """Who finds routes has restarted, or we have: open questions may be lost."""
    for (payment_hash,) in PENDING.below(step):
        row = PAYMENTS.need(step, payment_hash)
        if row.retry_at is None and TIP.get(step) is not None:
            go_on(step, us, row, at)
