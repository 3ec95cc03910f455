"""Announcements of channels that are not ours: signatures, then the chain, then belief.

A channel that is announced waits (`PENDING`) until chain has said what its output holds;
what is said of it meanwhile waits with it. All that waits is bounded, and so is what a peer may
cost us: who announces channels that do not exist is sent away.
"""

from __future__ import annotations

from protocol.bitcoin import script
from protocol.chain.messages import TIP, LookUp, OutputsFound
from protocol.channel import scripts
from protocol.errors import Malformed
from protocol.gossip import announce, graph
from protocol.gossip.graph import Refused
from protocol.gossip.messages import Complain
from protocol.gossip.rows import (
    ABSENT,
    EARLY,
    EDGES,
    LOBBY,
    LOOKUP,
    NODES,
    PENDING,
    RIVALS,
    STRIKES,
    UP,
    Pending,
)
from protocol.machine import Step
from protocol.wire.gossip import DIRECTION, ChannelAnnouncement, ChannelUpdate, NodeAnnouncement

MAX_PENDING, MAX_EARLY, MAX_ABSENT = 10_000, 1_000, 20_000
MAX_STRIKES = 100
MAX_BYTES = 4000  # of one announcement: what has no other bound waits in memory
LOOK_UPS, ANNOUNCE_DEPTH = 50, 6


def hear_channel(step: Step, peer: bytes, raw: bytes, chain_hash: bytes) -> None:
    """A channel_announcement. Raises `Refused`, or `Malformed`."""
    message = ChannelAnnouncement.decode(raw[2:])
    scid = message.short_channel_id
    tip = TIP.get(step)
    # "if the specified chain_hash is unknown to the receiver: MUST ignore the message"
    if message.chain_hash != chain_hash or tip is None:
        raise Refused
    form = script.p2wsh(scripts.funding(message.bitcoin_key_1, message.bitcoin_key_2))
    known = [PENDING.get(step, scid), EARLY.get(step, scid)]
    rival = any(other is not None and other.script != form for other in known)
    if any(known) and not rival or len(raw) > MAX_BYTES:
        raise Refused
    absent = ABSENT.get(step, scid) or ABSENT.get(step, _other(scid, form))
    if absent or EDGES.get(step, scid) is not None:
        raise Refused
    # "node_id_1 is the lexicographically-lesser of the two compressed keys"
    if message.node_id_1 >= message.node_id_2:
        raise Malformed("channel_announcement with its nodes out of order")
    early = graph.height(scid) + ANNOUNCE_DEPTH - 1 > tip.height
    full = EARLY.count(step) >= MAX_EARLY if early else waiting(step) >= MAX_PENDING
    # "if the short_channel_id's output does NOT have at least 6 confirmations"
    if full or graph.height(scid) > tip.height + ANNOUNCE_DEPTH:
        raise Refused
    # "MUST verify the integrity AND authenticity of the message by verifying the signatures"
    if not announce.announcement_is_signed(raw, message):
        raise Refused("channel_announcement with a wrong signature")
    pending = Pending(
        peer=peer,
        raw=raw,
        ends=message.node_id_1 + message.node_id_2,
        script=form,
    )
    if rival:
        # only the chain knows which is true: this one is looked up when the first was false
        RIVALS.put(step, pending, scid)
        return
    (EARLY if early else PENDING).put(step, pending, scid)
    for node in (message.node_id_1, message.node_id_2):
        LOBBY.put(step, scid, node)


def _other(scid: bytes, form: bytes) -> bytes:
    """The key of a false announcement of a channel that exists: the true one is not refused."""
    return scid + form[2:10]


def waiting(step: Step) -> int:
    """How many wait for the chain; what this very step changes does not matter."""
    return PENDING.count(step)


def hear_update(step: Step, raw: bytes, message: ChannelUpdate, now: float) -> bool:
    """A channel_update of a channel that is still looked up: it waits. False when it is of none.

    Raises `Refused`.
    """
    scid = message.short_channel_id
    for kind in (PENDING, EARLY) if len(raw) <= MAX_BYTES else ():
        pending = kind.get(step, scid)
        if pending is not None:
            way = message.channel_flags & DIRECTION
            known = pending.updates[way]
            since = ChannelUpdate.decode(known[2:]).timestamp if known else 0
            graph.check_time(message.timestamp, since, now)
            graph.check_update(raw, message, pending.ends[33 * way : 33 * way + 33])
            updates = (raw, pending.updates[1]) if way == 0 else (pending.updates[0], raw)
            kind.put(step, pending.but(updates=updates), scid)
            return True
    return False


def hear_node(step: Step, raw: bytes, message: NodeAnnouncement, now: float) -> None:
    """A node whose only channel is still looked up: it waits with it. Raises `Refused`."""
    scid = LOBBY.get(step, message.node_id)
    if scid is None or len(raw) > MAX_BYTES:
        return
    for kind in (PENDING, EARLY):
        pending = kind.get(step, scid)
        if pending is not None:
            graph.check_time(message.timestamp, 0, now)
            graph.check_node(raw, message)
            first = message.node_id == pending.ends[:33]
            nodes = (raw, pending.nodes[1]) if first else (pending.nodes[0], raw)
            kind.put(step, pending.but(nodes=nodes), scid)


# ---- the chain ---------------------------------------------------------------------------------


def look_up(step: Step) -> None:
    """Ask chain for some that wait; one question at a time."""
    if LOOKUP.get(step) is None and waiting(step):
        names = []
        for (scid,), _ in PENDING.each(step):
            names.append(scid)
            if len(names) == LOOK_UPS:
                break
        if names:
            question = LookUp(scids=tuple(names))
            LOOKUP.put(step, question)
            step.tell("chain", question)


def ask_again(step: Step) -> None:
    """Chain has restarted: it has forgotten what we asked."""
    if (question := LOOKUP.get(step)) is not None:
        step.tell("chain", question)


def grown(step: Step, height: int) -> None:
    """A new block: some are deep enough now."""
    for (scid,), pending in EARLY.below(step).items():
        if graph.height(scid) + ANNOUNCE_DEPTH - 1 <= height:
            EARLY.drop(step, scid)
            PENDING.put(step, pending, scid)


def found(step: Step, item: OutputsFound, now: float) -> None:
    """What the outputs hold: some channels become edges."""
    LOOKUP.drop(step)
    for output in item.outputs:
        name = output.scid
        pending = PENDING.get(step, name)
        if pending is None:
            continue
        _leave(step, name, pending)
        rival = RIVALS.get(step, name)
        RIVALS.drop(step, name)
        if output.script == pending.script:
            _believe(step, pending, (output.txid, output.amount_sat), now)
        elif output.script:
            _absent(step, _other(name, pending.script), pending.peer)
            if rival is not None:
                PENDING.put(step, rival, name)
        elif not output.unknown:
            _absent(step, name, pending.peer)


def _leave(step: Step, name: bytes, pending: Pending) -> None:
    PENDING.drop(step, name)
    for node in (pending.ends[:33], pending.ends[33:]):
        if LOBBY.get(step, node) == name:
            LOBBY.drop(step, node)


def _believe(step: Step, pending: Pending, funding: tuple[bytes, int], now: float) -> None:
    message = ChannelAnnouncement.decode(pending.raw[2:])
    graph.add_edge(step, pending.raw, message, funding, now, pending.peer)
    for raw in filter(None, pending.updates):
        update = ChannelUpdate.decode(raw[2:])
        policy = announce.policy_of(update)
        if policy.htlc_maximum_msat <= funding[1] * 1000:
            graph.put_update(step, raw, update, policy, pending.peer)
    for raw in filter(None, pending.nodes):
        node = NodeAnnouncement.decode(raw[2:])
        known = NODES.get(step, node.node_id)
        if known is None or known.timestamp < node.timestamp:
            graph.put_node(step, raw, node, pending.peer)


def _absent(step: Step, name: bytes, peer: bytes) -> None:
    """No such output, another script, or spent: not asked for again for a while."""
    if ABSENT.count(step) >= MAX_ABSENT:
        for key, _ in list(ABSENT.each(step)):
            ABSENT.drop(step, *key)
    ABSENT.put(step, True, name)
    if UP.get(step, peer) is None:
        return
    strikes = (STRIKES.get(step, peer) or 0) + 1
    STRIKES.put(step, strikes, peer)
    if strikes == MAX_STRIKES:
        step.tell("peers", Complain(peer=peer, text="too many channels that do not exist"))
