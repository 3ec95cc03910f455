"""What the gossiper needs to know of our channels: facts, said anew at every start."""

from __future__ import annotations

from protocol.channel.proof import Side
from protocol.channel.state import Channel, Core
from protocol.gossip.messages import OwnChannel, OwnChannels
from protocol.machine import Step
from protocol.monitor import snapshot
from protocol.monitor.rows import WATCHES
from protocol.scid import is_alias


def say(step: Step, cid: bytes) -> None:
    """To the gossiper, of one channel."""
    known = _facts_of(step, cid)
    if known is not None:
        step.tell("gossiper", known)


def say_all(step: Step, of: int) -> None:
    """To the gossiper, of all that live; it has restarted. There are `of` monitors."""
    living = [cid for (cid,), watch in WATCHES.below(step).items() if watch.ended is None]
    found = [_facts_of(step, cid) for cid in living]
    step.tell("gossiper", OwnChannels(all=tuple(one for one in found if one is not None), of=of))


def _facts_of(step: Step, cid: bytes) -> OwnChannel | None:
    channel = snapshot.channel(step, cid)
    return facts(channel) if channel is not None else None


def facts(channel: Channel) -> OwnChannel | None:
    """None while it is not usable. The proof is whole when the channel may be announced: it is
    public, deep enough, and the peer has given its half."""
    setup, core = channel.setup, channel.core
    if core.scid is None or not (core.ready_sent and core.ready_received):
        return None
    half = core.their_half
    if setup.private or core.buried is None or half is None or half.scid != core.buried:
        half = None
    hidden = setup.scid_alias or is_alias(core.scid)
    return OwnChannel(
        channel_id=channel.id,
        scid=core.scid if half is None else half.scid,
        txid=setup.funding_txid,
        theirs=Side(node_id=setup.peer, funding_key=setup.theirs.basepoints.funding),
        their_half=half,
        called=core.their_alias if hidden and core.their_alias is not None else core.scid,
        key_index=setup.key_index,
        capacity_sat=setup.capacity_sat,
        least_msat=setup.theirs.htlc_minimum_msat,
        most_msat=min(setup.theirs.max_htlc_value_in_flight_msat, setup.capacity_sat * 1000),
    )


def said_of(core: Core) -> tuple[object, ...]:
    """What of a channel's state the facts depend on."""
    ready = core.ready_sent and core.ready_received
    return core.scid, core.buried, core.their_half, core.their_alias, ready
