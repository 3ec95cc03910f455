"""HTLCs of a channel: the wishes that are to be carried out, and what payments is told of each."""

from __future__ import annotations

from protocol.channel import items, stages
from protocol.channel.state import Htlc
from protocol.machine import Step
from protocol.monitor.items import HtlcArrived, HtlcEnded, HtlcRefused, HtlcStands, Preimage

# ---- wishes of payments -------------------------------------------------------------------------


def offer(step: Step, item: items.Offer) -> None:
    cid = item.channel_id.hex()
    step.put(f"offer/{cid}/{item.origin}", item)
    step.say("peers", item)
    watch = step.get(f"watch/{cid}")
    if watch is None or watch.ended is not None:
        refuse(step, cid, item.origin, "the channel is closed")


def withdraw(step: Step, item: items.Withdraw) -> None:
    key = f"offer/{item.channel_id.hex()}/{item.origin}"
    found = step.get(key)
    if found is not None:
        step.put(key, found.but(withdrawn=True))
        step.say("peers", found.but(withdrawn=True))


def settle(step: Step, item: items.Settle) -> None:
    """The first answer stands: an HTLC whose preimage is known is never failed."""
    cid = item.channel_id.hex()
    known = step.get(f"settle/{cid}/{item.htlc_id}")
    alive = step.get(f"htlc/{cid}/theirs/{item.htlc_id}") is not None
    if alive and known is None:
        step.put(f"settle/{cid}/{item.htlc_id}", item)
        step.say("peers", item)


def refuse(step: Step, cid: str, origin: str, reason: str, *, final: bool = True) -> None:
    if step.get(f"offer/{cid}/{origin}") is not None:
        step.drop(f"offer/{cid}/{origin}")
        step.tell("payments", HtlcRefused(origin=origin, reason=reason, final=final))


# ---- what becomes of them -----------------------------------------------------------------------


def moved(step: Step, cid: str, htlc: Htlc) -> None:
    """An HTLC is new, or stands elsewhere in its life."""
    old = step.get(f"htlc/{cid}/{htlc.key}")
    step.put(f"htlc/{cid}/{htlc.key}", htlc)
    if htlc.ours and step.get(f"offer/{cid}/{htlc.origin}") is not None:
        step.drop(f"offer/{cid}/{htlc.origin}")
    if htlc.failure and not htlc.ours:
        _said(step, cid, htlc)
    was = old.stage if old is not None else stages.PROPOSED
    if not htlc.ours and was < stages.COMMITTED <= htlc.stage:
        step.tell("payments", arrived(cid, htlc))


def _said(step: Step, cid: str, htlc: Htlc) -> None:
    """The failure stands in the HTLC now, signed: of the wish it is enough that it was one."""
    key = f"settle/{cid}/{htlc.id}"
    answer = step.get(key)
    if answer is not None and answer.failure:
        step.put(key, answer.but(failure=b""))


def arrived(cid: str, htlc: Htlc) -> HtlcArrived:
    return HtlcArrived(
        channel_id=bytes.fromhex(cid),
        htlc_id=htlc.id,
        amount_msat=htlc.amount_msat,
        payment_hash=htlc.payment_hash,
        cltv_expiry=htlc.cltv_expiry,
        onion=htlc.onion,
        dusty=htlc.dusty,
    )


def standing(step: Step) -> None:
    """Payments has lost its snapshot: it hears of all that is under way, then of all that waits for
    an answer, then of the preimages that are owed upstream."""
    rows = [(key.split("/"), htlc) for key, htlc in step.scan("htlc/").items()]
    for item in step.scan("offer/").values():
        _stands(step, item.channel_id.hex(), item)
    for (_, cid, whose, number), htlc in rows:
        if whose == "ours" and step.get(f"preimage/{cid}/{number}") is None:
            _stands(step, cid, htlc)
    for (_, cid, whose, number), htlc in rows:
        answered = step.get(f"settle/{cid}/{number}") is not None
        if whose == "theirs" and htlc.stage == stages.COMMITTED and not answered:
            step.tell("payments", arrived(cid, htlc))
    for (_, cid, whose, number), htlc in rows:
        known = step.get(f"preimage/{cid}/{number}") if whose == "ours" else None
        if known is not None and not known.released:
            step.tell("payments", _ended(cid, htlc.but(preimage=known.value, failure=None)))


def _stands(step: Step, cid: str, one: Htlc | items.Offer) -> None:
    stands = HtlcStands(
        origin=one.origin,
        channel_id=bytes.fromhex(cid),
        amount_msat=one.amount_msat,
        payment_hash=one.payment_hash,
        cltv_expiry=one.cltv_expiry,
    )
    step.tell("payments", stands)


def gone(step: Step, cid: str, key: str) -> bytes:
    """Irrevocably removed: tell how it ended, unless the preimage has been told already.

    -> the payment id of the claim that it was a part of, if of any.
    """
    htlc = step.get(f"htlc/{cid}/{key}")
    step.drop(f"htlc/{cid}/{key}")
    if htlc is None:
        return b""
    if not htlc.ours:
        answer = step.get(f"settle/{cid}/{htlc.id}")
        step.drop(f"settle/{cid}/{htlc.id}")
        return answer.payment_id if answer is not None else b""
    if step.get(f"preimage/{cid}/{htlc.id}") is not None:
        step.drop(f"preimage/{cid}/{htlc.id}")
    elif htlc.stage > stages.COMMITTED:
        step.tell("payments", _ended(cid, htlc))
    return b""


def _ended(cid: str, htlc: Htlc) -> HtlcEnded:
    return HtlcEnded(
        origin=htlc.origin,
        channel_id=bytes.fromhex(cid),
        htlc_id=htlc.id,
        preimage=htlc.preimage,
        failure=htlc.failure,
        malformed=htlc.malformed,
    )


def learned(step: Step, item: items.LearnedPreimage) -> None:
    """A fact, and money: durable before anything else follows from it."""
    cid = item.channel_id.hex()
    htlc = step.get(f"htlc/{cid}/ours/{item.htlc_id}")
    key = f"preimage/{cid}/{item.htlc_id}"
    known = step.get(key)
    if htlc is None or known is not None:
        if htlc is None or known.released:  # it asks again after a restart of ours
            hold = items.forward_hold(item.htlc_id)
            step.say("peers", items.Unheld(channel_id=item.channel_id, hold=hold))
        return
    step.put(key, Preimage(value=item.preimage))
    step.tell("payments", _ended(cid, htlc.but(preimage=item.preimage, failure=None)))
