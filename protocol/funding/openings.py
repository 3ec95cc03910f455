"""Durable openings, from the monitor's word until the channel's end.

The states are drawn in `machine`. Nothing here is forgotten but on the word of chain or monitor.
"""

from __future__ import annotations

from protocol.bitcoin.transaction import display, parse
from protocol.chain.messages import (
    TIP,
    Broadcast,
    Sent,
    Tip,
    TxConfirmed,
    TxReorged,
    Unwatch,
    Verdict,
    WatchTx,
    WouldTake,
)
from protocol.channel.messages import ChannelEnded, ChannelUsable, FundingBuried, FundingConfirmed
from protocol.funding import opener
from protocol.funding.messages import ToPeer, TryLater, UnknownChannel
from protocol.funding.negotiations import by_channel
from protocol.funding.rows import OPENINGS, Opening
from protocol.machine import Step
from protocol.monitor.messages import ForgetUnfunded, Guarding
from protocol.scid import alias_of, short_channel_id
from protocol.wallet.messages import ReleaseCoins, SentCoins
from protocol.wire import setup
from protocol.wire.opening import FundingSigned

FORGET_BLOCKS, ANNOUNCE_DEPTH = 2016, 6
UNSENT = ("guarding", "guarded")


def _siblings(step: Step, record: Opening) -> list[Opening]:
    """All channels of ours in the same transaction, this one too."""
    if not record.we_opened:
        return [OPENINGS.need(step, record.key_index)]
    return _of(step, record.purpose)


def _of(step: Step, purpose: str) -> list[Opening]:
    return [row for row in OPENINGS.below(step).values() if row.purpose == purpose]


def _watched(step: Step, reason: str) -> Opening | None:
    """The opening that a watch is for: it is named like it (see `_watch`)."""
    return OPENINGS.get(step, int(reason))


def guarding(step: Step, item: Guarding) -> None:
    """The monitor has the channel on its disk."""
    record = OPENINGS.get(step, item.key_index)
    if record is None or record.state != "guarding":
        return
    OPENINGS.put(step, record.but(state="guarded"), item.key_index)
    siblings = _siblings(step, record)
    if any(sibling.state != "guarded" for sibling in siblings):
        return
    if record.we_opened:
        step.tell("chain", WouldTake(purpose=record.purpose, raw=record.raw))
    else:
        _leave(step, siblings)


def judged(step: Step, item: Verdict) -> None:
    """Whether the chain would take our transaction; nobody has it yet."""
    records = _of(step, item.purpose)
    if not records or any(record.state != "guarded" for record in records):
        return
    if item.refused:
        why = f"the chain refuses the funding transaction: {item.refused}"
        give_up(step, records[0], why, opener.NOT_SENT)
    else:
        _leave(step, records)


def sent(step: Step, item: Sent) -> None:
    """Our transaction is in the mempool; or it is refused now, and sent again and again."""
    records = _of(step, item.purpose)
    if not records:
        return
    records = [record.but(sent=not item.refused, refused=item.refused) for record in records]
    for record in records:
        OPENINGS.put(step, record, record.key_index)
    opener.answer(step, records)


def _leave(step: Step, records: list[Opening]) -> None:
    """The point of no return: only now does anything leave that could bind us."""
    for record in records:
        OPENINGS.put(step, record.but(state="confirming"), record.key_index)
        step.log(f"{_named(record)}: {'our' if record.we_opened else 'their'} funding transaction")
        if record.zeroconf:
            step.deliver("monitors", _confirmed(record, alias_of(record.channel_id)))
        step.deliver("chain", _watch(record, _next_depth(record)))
    first = records[0]
    if first.we_opened:
        step.deliver("wallet", SentCoins(purpose=first.purpose))
        step.deliver("chain", Broadcast(purpose=first.purpose, raw=first.raw, report=True))
    else:
        signed = FundingSigned(channel_id=first.channel_id, signature=first.signature)
        step.tell("peers", ToPeer(peer=first.peer, message=signed.encode()))


def watch_again(step: Step) -> None:
    """Chain has restarted, or we have: all that it is to watch or to judge for us."""
    for record in OPENINGS.below(step).values():
        if record.state not in UNSENT:
            step.tell("chain", _watch(record, _next_depth(record)))
        elif record.we_opened and all(x.state == "guarded" for x in _siblings(step, record)):
            step.tell("chain", WouldTake(purpose=record.purpose, raw=record.raw))


def unknown(step: Step, item: UnknownChannel) -> None:
    """An error would make the peer forget a channel whose transaction may still be sent."""
    if by_channel(step, item.peer, item.channel_id) is not None:
        step.tell("peers", TryLater(peer=item.peer))
        return
    error = setup.Error(channel_id=item.channel_id, data=b"we do not know this channel")
    step.tell("peers", ToPeer(peer=item.peer, message=error.encode()))


def confirmed(step: Step, item: TxConfirmed) -> None:
    """The funding transaction is so deep now; its output must be what was agreed."""
    record = _watched(step, item.reason)
    if record is None or record.funding_txid != item.txid:
        return
    outputs, index = parse(item.raw).outputs, record.funding_index
    good = index < len(outputs) and (
        outputs[index].script == record.script and outputs[index].amount_sat == record.amount_sat
    )
    if not good:
        # "funding output missing, short or to another script": never usable
        _drop(step, record)
        return
    scid = short_channel_id(item.height, item.position, index)
    record = record.but(depth=item.depth)
    if item.depth >= record.minimum_depth:
        if record.state == "confirming":
            step.log(f"{_named(record)}: confirmed at height {item.height}")
            record = record.but(state="confirmed")
        step.deliver("monitors", _confirmed(record, scid))
    OPENINGS.put(step, record, record.key_index)
    if item.depth >= ANNOUNCE_DEPTH and not record.private:
        channel, index = record.channel_id, record.key_index
        step.deliver("monitors", FundingBuried(channel_id=channel, key_index=index, scid=scid))
    if _next_depth(record) > item.depth:
        step.deliver("chain", _watch(record, _next_depth(record)))


def reorged(step: Step, item: TxReorged) -> None:
    """The funding transaction is in no block any more."""
    record = _watched(step, item.reason)
    if record is None or record.funding_txid != item.txid:
        return
    record = record.but(depth=0)  # what was deep enough once is not given up for that
    OPENINGS.put(step, record, record.key_index)
    step.deliver("chain", _watch(record, _next_depth(record)))
    if record.we_opened:
        step.deliver("chain", Broadcast(purpose=record.purpose, raw=record.raw))


def usable(step: Step, item: ChannelUsable) -> None:
    """Both have said channel_ready."""
    record = OPENINGS.get(step, item.key_index)
    if record is not None:
        OPENINGS.put(step, record.but(state="usable"), item.key_index)
        step.log(f"{_named(record)}: usable")


def ended(step: Step, item: ChannelEnded) -> None:
    """The monitor says that the channel is no more; see `channel.messages.End`."""
    record = OPENINGS.get(step, item.key_index)
    if record is None:
        return
    if record.state in UNSENT:
        give_up(step, record, "one of the channels could not be kept")
    elif item.reason == "failed" and record.state == "confirming" and not record.we_opened:
        _drop(step, record)  # of one that we opened the money is on its way
    elif item.reason != "failed":
        OPENINGS.drop(step, record.key_index)
        step.deliver("chain", Unwatch(reason=str(record.key_index)))


def give_up(step: Step, record: Opening, why: str, code: int = -1) -> None:
    """Before anything has left: the transaction pays to all of its channels, so without one of
    them it must never be sent."""
    for sibling in _siblings(step, record):
        step.log(f"{_named(sibling)}: given up, {why!r}")
        _drop(step, sibling)
        error = setup.Error(channel_id=sibling.channel_id, data=why.encode())
        step.tell("peers", ToPeer(peer=sibling.peer, message=error.encode()))
    if record.we_opened:
        step.tell("wallet", ReleaseCoins(purpose=record.purpose))
        if record.ask:
            step.refuse(record.ask, code, why)


def take_back(step: Step, peer: bytes) -> None:
    """The peer wants none of its channels: what has not left will not."""
    for record in OPENINGS.below(step).values():
        known = OPENINGS.get(step, record.key_index)  # a sibling may have taken it along
        if known is not None and known.peer == peer and known.state in UNSENT:
            give_up(step, known, "the peer refused all its channels")


def _drop(step: Step, record: Opening) -> None:
    """The channel never came to be."""
    OPENINGS.drop(step, record.key_index)
    if record.state not in UNSENT:
        step.deliver("chain", Unwatch(reason=str(record.key_index)))
    forget = ForgetUnfunded(channel_id=record.channel_id, key_index=record.key_index)
    step.deliver("monitors", forget)


def on_tip(step: Step, tip: Tip) -> None:
    """What a peer's opening has waited for too long is forgotten."""
    TIP.put(step, tip)
    for record in OPENINGS.below(step).values():
        late = tip.height - record.since > FORGET_BLOCKS
        if late and not record.we_opened and record.state == "confirming":
            _drop(step, record)


# ---- what follows from one ----------------------------------------------------------------------


def _watch(record: Opening, depth: int) -> WatchTx:
    """One watch for each opening, named like it."""
    reason, txid = str(record.key_index), record.funding_txid
    return WatchTx(reason=reason, txid=txid, depth=depth, since=record.since)


def _named(record: Opening) -> str:
    """For the log."""
    place = f"{display(record.funding_txid)}:{record.funding_index}"
    channel, peer = record.channel_id.hex(), record.peer.hex()
    amount = f"{record.amount_sat} sat"
    return f"opening={record.key_index} channel={channel} peer={peer} {place} {amount}"


def _next_depth(record: Opening) -> int:
    """The depth of which the chain is to tell us next."""
    least = max(1, record.minimum_depth)
    return least if record.depth < least or record.private else max(least, ANNOUNCE_DEPTH)


def _confirmed(record: Opening, scid: bytes) -> FundingConfirmed:
    channel, index = record.channel_id, record.key_index
    return FundingConfirmed(channel_id=channel, key_index=index, scid=scid)
