"""What is to be mined, and what might be: rows "send/<owner>/<purpose>", said until they are."""

from __future__ import annotations

from protocol.bitcoin.transaction import display, parse
from protocol.chain.items import Broadcast, Sent, Verdict, WouldTake
from protocol.chain.port import Away, Send, Submitted, Tried, Try
from protocol.chain.rows import Doubt, Pending
from protocol.machine import Step


def rebroadcast(step: Step) -> None:
    for key, pending in step.scan("send/").items():
        if pending.height is None:
            step.do(Send(key=key, raw=pending.raw))


def broadcast(step: Step, owner: str, item: Broadcast) -> None:
    key = f"send/{owner}/{item.purpose}"
    known = step.get(key)
    if known is None or known.raw != item.raw:
        fresh = Pending(
            owner=owner,
            purpose=item.purpose,
            txid=parse(item.raw).txid,
            raw=item.raw,
            report=item.report,
        )
        step.put(key, fresh)
    step.do(Send(key=key, raw=item.raw))


def submitted(step: Step, item: Submitted) -> None:
    pending = step.get(item.key)
    if pending is None or pending.raw != item.raw:
        return  # an older one of the same purpose
    if not item.refused:
        if not pending.taken:
            step.put(item.key, taken(step, pending))
    elif not pending.taken and not pending.refused:
        step.put(item.key, pending.but(refused=True))
        step.log(f"transaction={display(pending.txid)} is not accepted: {item.refused!r}")
        if pending.report:
            step.tell(pending.owner, Sent(purpose=pending.purpose, refused=item.refused))


def taken(step: Step, pending: Pending) -> Pending:
    if not pending.taken and pending.report:
        step.tell(pending.owner, Sent(purpose=pending.purpose))
    return pending if pending.taken else pending.but(taken=True)


def would_take(step: Step, owner: str, item: WouldTake) -> None:
    key = f"~doubt/{owner}/{item.purpose}"
    step.put(key, Doubt(owner=owner, item=item))
    step.do(Try(key=key, raw=item.raw))


def tried(step: Step, item: Tried) -> None:
    doubt = step.get(item.key)
    if doubt is not None and doubt.item.raw == item.raw:
        step.drop(item.key)
        step.say(doubt.owner, Verdict(purpose=doubt.item.purpose, refused=item.refused))


def away(step: Step, item: Away) -> None:
    """What was on its way to a backend that did not answer is said again when it does."""
    step.put("~away", item if item.reason else None)
    if not item.reason:
        for key, doubt in step.scan("~doubt/").items():
            step.do(Try(key=key, raw=doubt.item.raw))
        rebroadcast(step)
