"""HTLCs of a channel: the wishes that are to be carried out, and what payments is told of each."""

from __future__ import annotations

from protocol.channel import messages, stages
from protocol.channel.state import Htlc, placed
from protocol.machine import Step
from protocol.monitor.messages import HtlcArrived, HtlcEnded, HtlcRefused, HtlcStands
from protocol.monitor.rows import (
    ADDS,
    HTLCS,
    PREIMAGES,
    RESOLUTIONS,
    WATCHES,
    KeptAdd,
    KeptResolution,
    Preimage,
)

# ---- wishes of payments -------------------------------------------------------------------------


def add(step: Step, item: messages.AddHtlc) -> None:
    """A wish of payments: an HTLC is to be offered."""
    cid = item.channel_id
    ADDS.put(step, item.into(KeptAdd), cid, item.origin)
    step.tell("peers", item)
    watch = WATCHES.get(step, cid)
    if watch is None or watch.ended is not None:
        refuse(step, cid, item.origin, "the channel is closed")


def withdraw(step: Step, item: messages.CancelAdd) -> None:
    """Payments no longer wants an HTLC that may not be offered yet."""
    found = ADDS.get(step, item.channel_id, item.origin)
    if found is not None:
        cid, found = item.channel_id, found.but(withdrawn=True)
        ADDS.put(step, found, cid, item.origin)
        step.tell("peers", found.into(messages.AddHtlc, channel_id=cid))


def resolve(step: Step, item: messages.ResolveHtlc) -> None:
    """The first answer stands: an HTLC whose preimage is known is never failed."""
    cid = item.channel_id
    known = RESOLUTIONS.get(step, cid, item.htlc_id)
    alive = HTLCS.get(step, cid, "theirs", item.htlc_id) is not None
    if alive and known is None:
        RESOLUTIONS.put(step, item.into(KeptResolution), cid, item.htlc_id)
        step.tell("peers", item)


def refuse(step: Step, cid: bytes, origin: str, reason: str, *, final: bool = True) -> None:
    """To payments: this wish will not be carried out."""
    if ADDS.get(step, cid, origin) is not None:
        ADDS.drop(step, cid, origin)
        step.deliver("payments", HtlcRefused(origin=origin, reason=reason, final=final))


# ---- what becomes of them -----------------------------------------------------------------------


def moved(step: Step, cid: bytes, htlc: Htlc) -> None:
    """An HTLC is new, or stands elsewhere in its life."""
    old = HTLCS.get(step, cid, htlc.side, htlc.id)
    HTLCS.put(step, htlc, cid, htlc.side, htlc.id)
    if htlc.ours and ADDS.get(step, cid, htlc.origin) is not None:
        ADDS.drop(step, cid, htlc.origin)
    if htlc.failure and not htlc.ours:
        _said(step, cid, htlc)
    was = old.stage if old is not None else stages.PROPOSED
    if not htlc.ours and was < stages.COMMITTED <= htlc.stage:
        step.deliver("payments", arrived(cid, htlc))


def _said(step: Step, cid: bytes, htlc: Htlc) -> None:
    """The failure stands in the HTLC now, signed: of the wish it is enough that it was one."""
    answer = RESOLUTIONS.get(step, cid, htlc.id)
    if answer is not None and answer.failure:
        RESOLUTIONS.put(step, answer.but(failure=b""), cid, htlc.id)


def arrived(cid: bytes, htlc: Htlc) -> HtlcArrived:
    """To payments: an HTLC of the peer is irrevocably committed."""
    return HtlcArrived(
        channel_id=cid,
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
    rows = HTLCS.below(step).items()
    for (cid, _), row in ADDS.below(step).items():
        _stands(step, cid, row)
    for (cid, whose, number), htlc in rows:
        if whose == "ours" and PREIMAGES.get(step, cid, number) is None:
            _stands(step, cid, htlc)
    for (cid, whose, number), htlc in rows:
        answered = RESOLUTIONS.get(step, cid, number) is not None
        if whose == "theirs" and htlc.stage == stages.COMMITTED and not answered:
            step.deliver("payments", arrived(cid, htlc))
    for (cid, whose, number), htlc in rows:
        known = PREIMAGES.get(step, cid, number) if whose == "ours" else None
        if known is not None and not known.released:
            step.deliver("payments", _ended(cid, htlc.but(preimage=known.value, failure=None)))


def _stands(step: Step, cid: bytes, one: Htlc | KeptAdd) -> None:
    stands = HtlcStands(
        origin=one.origin,
        channel_id=cid,
        amount_msat=one.amount_msat,
        payment_hash=one.payment_hash,
        cltv_expiry=one.cltv_expiry,
    )
    step.deliver("payments", stands)


def gone(step: Step, cid: bytes, key: str) -> bytes:
    """Irrevocably removed: tell how it ended, unless the preimage has been told already.

    -> the payment id of the claim that it was a part of, if of any.
    """
    htlc = HTLCS.get(step, cid, *placed(key))
    HTLCS.drop(step, cid, *placed(key))
    if htlc is None:
        return b""
    if not htlc.ours:
        answer = RESOLUTIONS.get(step, cid, htlc.id)
        RESOLUTIONS.drop(step, cid, htlc.id)
        return answer.payment_id if answer is not None else b""
    if PREIMAGES.get(step, cid, htlc.id) is not None:
        PREIMAGES.drop(step, cid, htlc.id)
    elif htlc.stage > stages.COMMITTED:
        step.deliver("payments", _ended(cid, htlc))
    return b""


def _ended(cid: bytes, htlc: Htlc) -> HtlcEnded:
    return HtlcEnded(
        origin=htlc.origin,
        channel_id=cid,
        htlc_id=htlc.id,
        preimage=htlc.preimage,
        failure=htlc.failure,
        malformed=htlc.malformed,
    )


def learned(step: Step, item: messages.LearnedPreimage) -> None:
    """A fact, and money: durable before anything else follows from it."""
    cid = item.channel_id
    htlc = HTLCS.get(step, cid, "ours", item.htlc_id)
    known = PREIMAGES.get(step, cid, item.htlc_id)
    if htlc is None or known is not None:
        over = htlc is None or known is None or known.released
        if over:  # it asks again after a restart of ours
            hold = messages.forward_hold(item.htlc_id)
            step.tell("peers", messages.Unheld(channel_id=item.channel_id, hold=hold))
        return
    PREIMAGES.put(step, Preimage(value=item.preimage), cid, item.htlc_id)
    step.deliver("payments", _ended(cid, htlc.but(preimage=item.preimage, failure=None)))
