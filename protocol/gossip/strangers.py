"""Announcements of channels that are not ours: signatures, then the chain, then belief.

A channel that is announced waits in "~pending/<scid>" until chain has said what its output holds;
what is said of it meanwhile waits with it. All that waits is bounded, and so is what a peer may
cost us: who announces channels that do not exist is sent away.
"""

from __future__ import annotations

from protocol.bitcoin import script
from protocol.chain.items import Found, LookUp
from protocol.channel import scripts
from protocol.errors import Malformed
from protocol.gossip import announce, graph
from protocol.gossip.graph import Refused
from protocol.gossip.items import Complain, Pending
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
    name, tip = scid.hex(), step.get("~tip")
    if message.chain_hash != chain_hash or tip is None:
        raise Refused
    form = script.p2wsh(scripts.funding(message.bitcoin_key_1, message.bitcoin_key_2))
    known = [step.get(f"{kind}/{name}") for kind in ("~pending", "~early")]
    rival = any(other is not None and other.script != form for other in known)
    if any(known) and not rival or len(raw) > MAX_BYTES:
        raise Refused
    if any(step.get(key) for key in (f"edge/{name}", f"~absent/{name}", _other(name, form))):
        raise Refused
    if message.node_id_1 >= message.node_id_2:
        raise Malformed("channel_announcement with its nodes out of order")
    early = graph.height(scid) + ANNOUNCE_DEPTH - 1 > tip.height
    full = _size(step, "~early") >= MAX_EARLY if early else waiting(step) >= MAX_PENDING
    if full or graph.height(scid) > tip.height + ANNOUNCE_DEPTH:
        raise Refused
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
        step.put(f"~rival/{name}", pending)
        return
    step.put(f"{'~early' if early else '~pending'}/{name}", pending)
    for node in (message.node_id_1, message.node_id_2):
        step.put(f"~lobby/{node.hex()}", scid)


def _other(name: str, form: bytes) -> str:
    """The key of a false announcement of a channel that exists: the true one is not refused."""
    return f"~absent/{name}/{form[2:10].hex()}"


def waiting(step: Step) -> int:
    return _size(step, "~pending")


def _size(step: Step, segment: str) -> int:
    return len(step.rows.segment(segment))  # what this very step changes does not matter


def hear_update(step: Step, raw: bytes, message: ChannelUpdate, now: float) -> bool:
    """A channel_update of a channel that is still looked up: it waits. False when it is of none.

    Raises `Refused`.
    """
    name = message.short_channel_id.hex()
    for kind in ("~pending", "~early") if len(raw) <= MAX_BYTES else ():
        pending = step.get(f"{kind}/{name}")
        if pending is not None:
            way = message.channel_flags & DIRECTION
            known = pending.updates[way]
            since = ChannelUpdate.decode(known[2:]).timestamp if known else 0
            graph.check_time(message.timestamp, since, now)
            graph.check_update(raw, message, pending.ends[33 * way : 33 * way + 33])
            updates = (raw, pending.updates[1]) if way == 0 else (pending.updates[0], raw)
            step.put(f"{kind}/{name}", pending.but(updates=updates))
            return True
    return False


def hear_node(step: Step, raw: bytes, message: NodeAnnouncement, now: float) -> None:
    """A node whose only channel is still looked up: it waits with it. Raises `Refused`."""
    scid = step.get(f"~lobby/{message.node_id.hex()}")
    for kind in ("~pending", "~early") if scid is not None and len(raw) <= MAX_BYTES else ():
        pending = step.get(f"{kind}/{scid.hex()}")
        if pending is not None:
            graph.check_time(message.timestamp, 0, now)
            graph.check_node(raw, message)
            first = message.node_id == pending.ends[:33]
            nodes = (raw, pending.nodes[1]) if first else (pending.nodes[0], raw)
            step.put(f"{kind}/{scid.hex()}", pending.but(nodes=nodes))


# ---- the chain ---------------------------------------------------------------------------------


def look_up(step: Step) -> None:
    """Ask chain for some that wait; one question at a time."""
    if step.get("~lookup") is None and waiting(step):
        names = []
        for name, _ in step.each("~pending"):
            names.append(bytes.fromhex(name))
            if len(names) == LOOK_UPS:
                break
        if names:
            question = LookUp(scids=tuple(names))
            step.put("~lookup", question)
            step.say("chain", question)


def ask_again(step: Step) -> None:
    """Chain has restarted: it has forgotten what we asked."""
    if (question := step.get("~lookup")) is not None:
        step.say("chain", question)


def grown(step: Step, height: int) -> None:
    """A new block: some are deep enough now."""
    for key, pending in step.scan("~early/").items():
        name = key.removeprefix("~early/")
        if graph.height(bytes.fromhex(name)) + ANNOUNCE_DEPTH - 1 <= height:
            step.drop(key)
            step.put(f"~pending/{name}", pending)


def found(step: Step, item: Found, now: float) -> None:
    """What the outputs hold: some channels become edges."""
    step.drop("~lookup")
    for output in item.outputs:
        name = output.scid.hex()
        pending = step.get(f"~pending/{name}")
        if pending is None:
            continue
        _leave(step, name, pending)
        rival = step.get(f"~rival/{name}")
        step.drop(f"~rival/{name}")
        if output.script == pending.script:
            _believe(step, pending, (output.txid, output.amount_sat), now)
        elif output.script:
            _absent(step, _other(name, pending.script).removeprefix("~absent/"), pending.peer)
            if rival is not None:
                step.put(f"~pending/{name}", rival)
        elif not output.unknown:
            _absent(step, name, pending.peer)


def _leave(step: Step, name: str, pending: Pending) -> None:
    step.drop(f"~pending/{name}")
    for node in (pending.ends[:33], pending.ends[33:]):
        key = f"~lobby/{node.hex()}"
        if step.get(key) == bytes.fromhex(name):
            step.drop(key)


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
        known = step.get(graph.node_key(node.node_id))
        if known is None or known.timestamp < node.timestamp:
            graph.put_node(step, raw, node, pending.peer)


def _absent(step: Step, name: str, peer: bytes) -> None:
    """No such output, another script, or spent: not asked for again for a while."""
    if _size(step, "~absent") >= MAX_ABSENT:
        for known, _ in list(step.each("~absent")):
            step.drop(f"~absent/{known}")
    step.put(f"~absent/{name}", True)
    if step.get(f"~up/{peer.hex()}") is None:
        return
    strikes = (step.get(f"~strikes/{peer.hex()}") or 0) + 1
    step.put(f"~strikes/{peer.hex()}", strikes)
    if strikes == MAX_STRIKES:
        step.say("peers", Complain(peer=peer, text="too many channels that do not exist"))
