"""Who is told of what is new: peers that have asked for it, and the router.

The rows "~relay/" and "~news/" gather what a batch has changed (see `graph`).
"""

from __future__ import annotations

from protocol.gossip import graph
from protocol.gossip.items import Change, News, Since, ToWire, UpToDate
from protocol.machine import Moment, Step
from protocol.values import Value

EDGES_A_TURN = 1000


class CatchUp(Value, frozen=True, kw_only=True):
    """Row "~catch_up": what the router must still hear of; `keys` are short channel ids in hex."""

    keys: tuple[str, ...]
    done: int = 0


def pass_on(step: Step, at: Moment) -> None:
    """ "SHOULD send gossip messages as it generates them regardless of timestamp": ours to all;
    others' to those who have asked for gossip of this time, and not back."""
    relays = [(key, row) for key, row in step.each("~relay")]
    if not relays:
        return
    for key, _ in relays:
        step.drop(f"~relay/{key}")
    ours = tuple(row.raw for _, row in relays if not row.peer)
    for up in step.scan("~up/").values() if ours else ():
        step.say("peers", ToWire(peer=up.peer, messages=ours))
    for key, wanted in step.scan("~filter/").items():
        peer = bytes.fromhex(key.removeprefix("~filter/"))
        if wanted.first <= at.unix_seconds < wanted.last:
            theirs = tuple(row.raw for _, row in relays if row.peer and row.peer != peer)
            if theirs:
                step.say("peers", ToWire(peer=peer, messages=theirs, lossy=True))


# ---- the router --------------------------------------------------------------------------------


def tell_router(step: Step) -> None:
    """What this batch has changed."""
    changes = tuple(step.each("~news"))
    for key, _ in changes:
        step.drop(f"~news/{key}")
    if changes:
        news = tuple(change for _, change in changes)
        step.say("router", News(serial=step.get("~serial"), changes=news))


def catch_up(step: Step, item: Since, at: Moment) -> None:
    """The router has started: all that has changed since it was told last."""
    since = item.serial if item.epoch == step.get("epoch").value else 0
    keys = tuple(key for key, edge in step.each("edge") if edge.serial > since)
    step.put("~catch_up", CatchUp(keys=keys))
    go_on(step, at)


def go_on(step: Step, at: Moment) -> None:
    """Some more of it: a turn has an end."""
    work = step.get("~catch_up")
    if work is None:
        return
    turn = work.keys[work.done : work.done + EDGES_A_TURN]
    changes: list[Change] = []
    for key in turn:
        changes += graph.all_of(step, bytes.fromhex(key))
    if changes:
        step.say("router", News(serial=0, changes=tuple(changes)))
    if work.done + len(turn) < len(work.keys):
        step.put("~catch_up", work.but(done=work.done + len(turn)))
        step.wake(at.unix_seconds)
        return
    step.drop("~catch_up")
    alive = b"".join(
        bytes.fromhex(key)
        for key, edge in step.each("edge")
        if edge.spent_height is None and not edge.barred
    )
    barred = tuple(bytes.fromhex(key) for key, seen in step.each("node") if seen.barred)
    epoch, serial = step.get("epoch").value, step.get("~serial") or 0
    step.say("router", UpToDate(epoch=epoch, serial=serial, scids=alive, barred=barred))
