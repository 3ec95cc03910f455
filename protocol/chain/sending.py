"""What is to be mined, and what might be: sent until they are."""

from __future__ import annotations

from protocol.bitcoin.transaction import display, parse
from protocol.chain.messages import Broadcast, Sent, Verdict, WouldTake
from protocol.chain.port import Away, Send, Submitted, Tried, Try
from protocol.chain.rows import AWAY, DOUBTS, SENDS, Doubt, Rebroadcast
from protocol.machine import Step


def rebroadcast(step: Step) -> None:
    """All that is not mined is sent again."""
    for (owner, purpose), pending in SENDS.below(step).items():
        if pending.height is None:
            step.do(Send(owner=owner, purpose=purpose, raw=pending.raw))


def broadcast(step: Step, owner: str, item: Broadcast) -> None:
    """Kept until it is mined or given up; said twice, it is one."""
    known = SENDS.get(step, owner, item.purpose)
    if known is None or known.raw != item.raw:
        fresh = Rebroadcast(
            owner=owner,
            purpose=item.purpose,
            txid=parse(item.raw).txid,
            raw=item.raw,
            report=item.report,
        )
        SENDS.put(step, fresh, owner, item.purpose)
    step.do(Send(owner=owner, purpose=item.purpose, raw=item.raw))


def submitted(step: Step, item: Submitted) -> None:
    """What the backend says of a transaction that was sent."""
    place = item.owner, item.purpose
    pending = SENDS.get(step, *place)
    if pending is None or pending.raw != item.raw:
        return  # an older one of the same purpose
    if not item.refused:
        if not pending.taken:
            SENDS.put(step, taken(step, pending), *place)
    elif not pending.taken and not pending.refused:
        SENDS.put(step, pending.but(refused=True), *place)
        step.log(f"transaction={display(pending.txid)} is not accepted: {item.refused!r}")
        if pending.report:
            step.deliver(pending.owner, Sent(purpose=pending.purpose, refused=item.refused))


def taken(step: Step, pending: Rebroadcast) -> Rebroadcast:
    """The mempool has it: its owner is told, once -> the row as it is now."""
    if not pending.taken and pending.report:
        step.deliver(pending.owner, Sent(purpose=pending.purpose))
    return pending if pending.taken else pending.but(taken=True)


def would_take(step: Step, owner: str, item: WouldTake) -> None:
    """A question about a transaction: would the mempool take it?"""
    DOUBTS.put(step, Doubt(owner=owner, item=item), owner, item.purpose)
    step.do(Try(owner=owner, purpose=item.purpose, raw=item.raw))


def tried(step: Step, item: Tried) -> None:
    """The port's answer to it, to who asked."""
    doubt = DOUBTS.get(step, item.owner, item.purpose)
    if doubt is not None and doubt.item.raw == item.raw:
        DOUBTS.drop(step, item.owner, item.purpose)
        step.tell(doubt.owner, Verdict(purpose=doubt.item.purpose, refused=item.refused))


def away(step: Step, item: Away) -> None:
    """What was on its way to a backend that did not answer is said again when it does."""
    if item.reason:
        AWAY.put(step, item)
        return
    AWAY.drop(step)
    for (owner, purpose), doubt in DOUBTS.below(step).items():
        step.do(Try(owner=owner, purpose=purpose, raw=doubt.item.raw))
    rebroadcast(step)
