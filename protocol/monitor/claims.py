"""Claims over several channels, and the blocking action that makes them whole.

A claim is written by the monitor of every channel of its set. Until it is known to be durable in
all of them, none of these channels applies a revoke_and_ack: so none forgets the preimage while
another lacks it. On a single channel it is durable in all as soon as it is written. A forward is
the same with two channels: downstream holds until upstream has the preimage. Holds are derived from
these rows at every birth of a channel, and stored nowhere.
"""

from __future__ import annotations

from protocol.channel import items
from protocol.channel.items import FORWARD, claim_hold, forward_hold
from protocol.machine import Step
from protocol.monitor import htlcs
from protocol.monitor.items import Claim, ClaimFound, ClaimKept, KeptClaim, Release, SettleKept


def holds(step: Step, cid: str) -> tuple[str, ...]:
    """The reasons, by name, why this channel applies no revoke_and_ack now."""
    claimed = [
        claim_hold(row.claim.payment_id)
        for row in step.scan(f"claim/{cid}/").values()
        if not row.released
    ]
    forwarded = [
        forward_hold(int(key.rpartition("/")[2]))
        for key, row in step.scan(f"preimage/{cid}/").items()
        if not row.released and _is_forward(step, cid, key.rpartition("/")[2])
    ]
    return (*claimed, *forwarded)


def _is_forward(step: Step, cid: str, number: str) -> bool:
    htlc = step.get(f"htlc/{cid}/ours/{number}")
    return htlc is not None and htlc.origin.startswith(FORWARD)


def claim(step: Step, item: Claim) -> None:
    """Written at most once for each channel, and never queued behind anything."""
    cid = item.channel_id.hex()
    key = f"claim/{cid}/{item.payment_id.hex()}"
    alive = [
        number
        for channel, number in item.parts
        if channel == item.channel_id and step.get(f"htlc/{cid}/theirs/{number}") is not None
    ]
    if step.get(key) is None and alive:
        alone = len(item.channels) == 1
        step.put(key, KeptClaim(claim=item, released=alone))
        if not alone:
            # before the preimage can leave: the peer's answer to it finds the channel held
            hold = claim_hold(item.payment_id)
            step.say("peers", items.Held(channel_id=item.channel_id, hold=hold))
    for number in alive:
        wish = items.Settle(
            channel_id=item.channel_id,
            htlc_id=number,
            payment_id=item.payment_id,
            preimage=item.preimage,
        )
        htlcs.settle(step, wish)
    kept = ClaimKept(payment_id=item.payment_id, channel_id=item.channel_id)
    step.tell("payments", kept)


def settled_upstream(step: Step, item: items.Settle) -> None:
    """The preimage of a forward: from now on it is safe here."""
    htlcs.settle(step, item)
    kept = SettleKept(channel_id=item.channel_id, htlc_id=item.htlc_id)
    step.tell("payments", kept)


def release(step: Step, item: Release) -> None:
    """Durable wherever it has to be: the channel goes on."""
    cid = item.channel_id.hex()
    kind, _, name = item.hold.partition("/")
    key = f"claim/{cid}/{name}" if kind == "claim" else f"preimage/{cid}/{name}"
    row = step.get(key)
    if row is not None:
        step.put(key, row.but(released=True))
        if kind == "claim":
            forget(step, cid, row.claim.payment_id)
    step.say("peers", items.Unheld(channel_id=item.channel_id, hold=item.hold))


def forget(step: Step, cid: str, payment_id: bytes) -> None:
    """Once it is released, and all its parts on this channel are irrevocably gone."""
    key = f"claim/{cid}/{payment_id.hex()}"
    row = step.get(key)
    if row is None or not row.released:
        return
    here = [number for channel, number in row.claim.parts if channel.hex() == cid]
    if all(step.get(f"htlc/{cid}/theirs/{number}") is None for number in here):
        step.drop(key)


def found(step: Step) -> None:
    """To payments, which has started or asks: every claim that is not forgotten."""
    for row in step.scan("claim/").values():
        step.tell("payments", ClaimFound(claim=row.claim, released=row.released))
