"""Claims over several channels, and the blocking action that makes them whole.

A claim is written by the monitor of every channel of its set. Until it is known to be durable in
all of them, none of these channels applies a revoke_and_ack: so none forgets the preimage while
another lacks it. On a single channel it is durable in all as soon as it is written. A forward is
the same with two channels: downstream holds until upstream has the preimage. Holds are derived from
these rows at every birth of a channel, and stored nowhere.
"""

from __future__ import annotations

from protocol.channel import messages
from protocol.channel.messages import FORWARD, claim_hold, forward_hold
from protocol.machine import Step
from protocol.monitor import htlcs
from protocol.monitor.messages import Claim, ClaimFound, ClaimKept, Release, ResolutionKept
from protocol.monitor.rows import CLAIMS, HTLCS, PREIMAGES, KeptClaim


def holds(step: Step, cid: bytes) -> tuple[str, ...]:
    """The reasons, by name, why this channel applies no revoke_and_ack now."""
    claimed = [
        claim_hold(row.payment_id) for row in CLAIMS.below(step, cid).values() if not row.released
    ]
    forwarded = [
        forward_hold(number)
        for (_, number), row in PREIMAGES.below(step, cid).items()
        if not row.released and _is_forward(step, cid, number)
    ]
    return (*claimed, *forwarded)


def _is_forward(step: Step, cid: bytes, number: int) -> bool:
    htlc = HTLCS.get(step, cid, "ours", number)
    return htlc is not None and htlc.origin.startswith(FORWARD)


def claim(step: Step, item: Claim) -> None:
    """Written at most once for each channel, and never queued behind anything."""
    cid = item.channel_id
    alive = [
        number
        for channel, number in item.parts
        if channel == item.channel_id and HTLCS.get(step, cid, "theirs", number) is not None
    ]
    if CLAIMS.get(step, cid, item.payment_id) is None and alive:
        alone = len(item.channels) == 1
        CLAIMS.put(step, item.into(KeptClaim, released=alone), cid, item.payment_id)
        if not alone:
            # before the preimage can leave: the peer's answer to it finds the channel held
            hold = claim_hold(item.payment_id)
            step.tell("peers", messages.Held(channel_id=item.channel_id, hold=hold))
    for number in alive:
        wish = messages.ResolveHtlc(
            channel_id=item.channel_id,
            htlc_id=number,
            payment_id=item.payment_id,
            preimage=item.preimage,
        )
        htlcs.resolve(step, wish)
    kept = ClaimKept(payment_id=item.payment_id, channel_id=item.channel_id)
    step.deliver("payments", kept)


def settled_upstream(step: Step, item: messages.ResolveHtlc) -> None:
    """The preimage of a forward: from now on it is safe here."""
    htlcs.resolve(step, item)
    kept = ResolutionKept(channel_id=item.channel_id, htlc_id=item.htlc_id)
    step.deliver("payments", kept)


def release(step: Step, item: Release) -> None:
    """Durable wherever it has to be: the channel goes on."""
    cid = item.channel_id
    kind, _, name = item.hold.partition("/")
    if kind == "claim":
        payment_id = bytes.fromhex(name)
        claimed = CLAIMS.get(step, cid, payment_id)
        if claimed is not None:
            CLAIMS.put(step, claimed.but(released=True), cid, payment_id)
            forget(step, cid, payment_id)
    else:
        preimage = PREIMAGES.get(step, cid, int(name))
        if preimage is not None:
            PREIMAGES.put(step, preimage.but(released=True), cid, int(name))
    step.tell("peers", messages.Unheld(channel_id=item.channel_id, hold=item.hold))


def forget(step: Step, cid: bytes, payment_id: bytes) -> None:
    """Once it is released, and all its parts on this channel are irrevocably gone."""
    row = CLAIMS.get(step, cid, payment_id)
    if row is None or not row.released:
        return
    here = [number for channel, number in row.parts if channel == cid]
    if all(HTLCS.get(step, cid, "theirs", number) is None for number in here):
        CLAIMS.drop(step, cid, payment_id)


def found(step: Step) -> None:
    """To payments, which has started or asks: every claim that is not forgotten."""
    for (cid, _), row in CLAIMS.below(step).items():
        claim = row.into(Claim, channel_id=cid)
        step.deliver("payments", ClaimFound(claim=claim, released=row.released))
