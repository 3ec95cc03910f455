"""Who is told of what is new: peers that have asked for it, and the router.

`RELAYS` and `NEWS` gather what a batch has changed (see `graph`).
"""

from __future__ import annotations

from protocol.gossip import graph
from protocol.gossip.messages import Change, News, Since, ToWire, UpToDate
from protocol.gossip.rows import (
    CATCH_UP,
    EDGES,
    EPOCH,
    FILTERS,
    NEWS,
    NODES,
    RELAYS,
    SERIAL,
    UP,
    CatchUp,
)
from protocol.machine import Moment, Step

EDGES_A_TURN = 1000


def pass_on(step: Step, at: Moment) -> None:
    """ "SHOULD send gossip messages as it generates them regardless of timestamp": ours to all;
    others' to those who have asked for gossip of this time, and not back."""
    relays = [(key, row) for key, row in RELAYS.each(step)]
    if not relays:
        return
    for key, _ in relays:
        RELAYS.drop(step, *key)
    ours = tuple(row.raw for _, row in relays if not row.peer)
    for up in UP.below(step).values() if ours else ():
        step.tell("peers", ToWire(peer=up.peer, messages=ours))
    for (peer,), wanted in FILTERS.below(step).items():
        if wanted.first <= at.unix_seconds < wanted.last:
            theirs = tuple(row.raw for _, row in relays if row.peer and row.peer != peer)
            if theirs:
                step.tell("peers", ToWire(peer=peer, messages=theirs, lossy=True))


# ---- the router --------------------------------------------------------------------------------


def tell_router(step: Step) -> None:
    """What this batch has changed."""
    changes = NEWS.below(step)  # a channel before its policies
    for key in changes:
        NEWS.drop(step, *key)
    if changes:
        news = tuple(noted.change for noted in changes.values())
        step.tell("router", News(serial=SERIAL.need(step), changes=news))


def catch_up(step: Step, item: Since, at: Moment) -> None:
    """The router has started: all that has changed since it was told last."""
    since = item.serial if item.epoch == EPOCH.need(step).value else 0
    scids = tuple(scid for (scid,), edge in EDGES.each(step) if edge.serial > since)
    CATCH_UP.put(step, CatchUp(scids=scids))
    go_on(step, at)


def go_on(step: Step, at: Moment) -> None:
    """Some more of it: a turn has an end."""
    work = CATCH_UP.get(step)
    if work is None:
        return
    turn = work.scids[work.done : work.done + EDGES_A_TURN]
    changes: list[Change] = []
    for scid in turn:
        changes += graph.all_of(step, scid)
    if changes:
        step.tell("router", News(serial=0, changes=tuple(changes)))
    if work.done + len(turn) < len(work.scids):
        CATCH_UP.put(step, work.but(done=work.done + len(turn)))
        step.wake(at.unix_seconds)
        return
    CATCH_UP.drop(step)
    alive = b"".join(
        scid for (scid,), edge in EDGES.each(step) if edge.spent_height is None and not edge.barred
    )
    barred = tuple(node for (node,), seen in NODES.each(step) if seen.barred)
    epoch, serial = EPOCH.need(step).value, SERIAL.get(step) or 0
    step.tell("router", UpToDate(epoch=epoch, serial=serial, scids=alive, barred=barred))
