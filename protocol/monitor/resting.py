"""A channel that rests: something that carries its truth was put aside, and nothing may follow.

An update, a preimage, the end on the chain: whoever has met one of them goes on from it. So none of
what comes after is taken for the channel, until it is heard after all (`retrydeadletter`, a new
release). What is only wished of a channel leaves it as it is: an alarm, and the wish lies there.
"""

from __future__ import annotations

from typing import assert_never

from protocol.chain.messages import Spent, TxConfirmed, TxReorged
from protocol.channel import messages
from protocol.crypto.hashes import sha256
from protocol.machine import ALARM, Step
from protocol.monitor import onchain, snapshot
from protocol.monitor.messages import Guard
from protocol.monitor.rows import WATCHES, Watch
from protocol.values import Value
from protocol.wallet.messages import FOR_GOOD, ScriptIs

DEFECT = "a defect of ours"
Truth = messages.Update | messages.LearnedPreimage | Spent


def channel_of(item: Value) -> bytes | None:
    """The id of the channel that a message is about; None if it is about none."""
    if isinstance(item, Guard):
        return item.channel.id
    if isinstance(item, Spent | TxConfirmed | TxReorged):
        return onchain.told(item.reason)[0]
    if isinstance(item, ScriptIs):
        return bytes.fromhex(item.purpose.removeprefix(FOR_GOOD))
    found: bytes | None = getattr(item, "channel_id", None)
    return found


def _name(item: Truth) -> str:
    """Which of those of a channel."""
    match item:
        case messages.Update():
            return f"update {item.update_id}"
        case messages.LearnedPreimage():
            return f"preimage {item.htlc_id}"
        case Spent():
            return f"spent {item.reason} by {sha256(item.raw).hex()[:16]}"
        case _:
            assert_never(item)


def aside(step: Step, item: Value) -> None:
    """It is put aside: an alarm, and rest if it carries the channel's truth."""
    cid = channel_of(item)
    watch = None if cid is None else WATCHES.get(step, cid)
    if cid is None or watch is None:
        return
    kind = type(item).__name__
    alarm(step, cid, f"{DEFECT}: {kind} was put aside, see listdeadletters")
    if isinstance(item, Truth):
        watch = WATCHES.need(step, cid)
        WATCHES.put(step, watch.but(stopped=(*watch.stopped, _name(item))), cid)
        step.tell("peers", messages.Rests(channel_id=cid))


def may_follow(watch: Watch | None, update: messages.Update) -> bool:
    """Whether nothing that was put aside is missing before it: it is the oldest of that itself."""
    return watch is None or not watch.stopped or watch.stopped[0] == _name(update)


def heard(step: Step, cid: bytes, item: Truth) -> None:
    """If it was put aside, it is not any more; the last of them ends the rest."""
    watch = WATCHES.get(step, cid)
    if watch is None or not watch.stopped or _name(item) not in watch.stopped:
        return
    left = tuple(name for name in watch.stopped if name != _name(item))
    of_ours = not left and (watch.alarm or "").startswith(DEFECT)
    watch = watch.but(stopped=left, alarm=None if of_ours else watch.alarm)
    WATCHES.put(step, watch, cid)
    born(step, cid, watch)


def is_late(watch: Watch, spent: Spent) -> bool:
    """Whether this end was put aside, and the channel has met another one since."""
    return watch.ended is not None and _name(spent) in watch.stopped


def born(step: Step, cid: bytes, watch: Watch) -> None:
    """The channel's life may begin, unless it is over; one that rests is known to be there."""
    if watch.ended is None and watch.stopped:
        step.tell("peers", messages.Rests(channel_id=cid))
    elif watch.ended is None:
        step.tell("peers", snapshot.born(step, cid, watch))


def alarm(step: Step, cid: bytes, text: str) -> None:
    """For the operator: in the log, and with the channel."""
    step.log(f"{ALARM} channel={cid.hex()} {text!r}")
    WATCHES.put(step, WATCHES.need(step, cid).but(alarm=text), cid)
