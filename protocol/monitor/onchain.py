"""After the peer (or somebody with our commitment) has closed a channel alone: every HTLC ends.

`look` derives what there is to do from the rows, and does what has not been done: it is called
whenever something changes (a block, a preimage, a late update, a spend), and may be called twice.

An HTLC of theirs is taken with its preimage; one of ours is taken back when it has expired, or its
preimage is found in the transaction that takes it. What was not in the mined commitment, or was
taken back, fails upstream when that is six blocks deep; a preimage goes upstream at once. From our
own commitment nothing is taken yet, and fees are not raised.
"""

from __future__ import annotations

from protocol.bitcoin.transaction import Outpoint, display, parse, serialize
from protocol.chain.messages import (
    TIP,
    Broadcast,
    GiveUp,
    Spent,
    TxConfirmed,
    TxReorged,
    Unwatch,
    WatchSpend,
    WatchTx,
)
from protocol.channel import mined
from protocol.channel.messages import FORWARD, LearnedPreimage
from protocol.channel.mined import FoundOutput, Mined
from protocol.channel.state import Channel, Htlc, Setup
from protocol.crypto.keys import ChannelSecrets
from protocol.machine import ALARM, Step
from protocol.monitor import claims, htlcs, snapshot
from protocol.monitor.messages import HtlcEnded
from protocol.monitor.rows import (
    CLOSINGS,
    HTLCS,
    PREIMAGES,
    RESOLUTIONS,
    SETUPS,
    TAKEN,
    WATCHES,
    Closing,
    TakenOutput,
)
from protocol.wallet.messages import FOR_GOOD, NewScript, ScriptIs

IRREVOCABLE_DEPTH = 6

# reasons of watches, each behind "<channel>/": the funding output, the commitment that spent it,
# and of its outputs ("output/<vout>") the transactions that took them ("spender/<txid>")
FUNDING, CLOSING, OUTPUT, SPENDER = "funding", "closing", "output", "spender"


def reason(cid: bytes, what: str, which: object = "") -> str:
    """The name of a watch of this channel."""
    place = f"{cid.hex()}/{what}"
    return f"{place}/{which}" if which != "" else place


def told(reason: str) -> tuple[bytes, str]:
    """The channel, and what of it, from the reason of a watch."""
    channel, _, what = reason.partition("/")
    return bytes.fromhex(channel), what


def funding_watch(setup: Setup, since: int) -> WatchSpend:
    """The watch over a channel's own output, from block `since` on."""
    return WatchSpend(
        reason=reason(setup.channel_id, FUNDING),
        txid=setup.funding_txid,
        vout=setup.funding_index,
        since=since,
    )


def watch_again(step: Step) -> None:
    """Chain has restarted, or we have: everything that is to be watched. What it knows already
    changes nothing; what it has lost it looks for from the beginning."""
    for (cid,), setup in SETUPS.below(step).items():
        watch, closing = WATCHES.get(step, cid), CLOSINGS.get(step, cid)
        if watch is None:
            continue
        step.tell("chain", funding_watch(setup, watch.since))
        if closing is None or closing.done:
            continue
        step.tell("chain", _until_buried(closing.txid, closing.height, reason(cid, CLOSING)))
        for (_, vout), row in TAKEN.below(step, cid).items():
            step.tell("chain", _spend_watch(cid, closing, vout))
            if row.by is not None:
                spender = reason(cid, SPENDER, row.by.hex())
                step.tell("chain", _until_buried(row.by, closing.height, spender))


def _until_buried(txid: bytes, since: int, why: str) -> WatchTx:
    return WatchTx(reason=why, txid=txid, depth=IRREVOCABLE_DEPTH, since=since)


def _spend_watch(cid: bytes, closing: Closing, vout: int) -> WatchSpend:
    why = reason(cid, OUTPUT, vout)
    return WatchSpend(reason=why, txid=closing.txid, vout=vout, since=closing.height)


def spent(step: Step, channel: Channel, item: Spent, master: bytes) -> None:
    """The funding output went to a commitment (again, after a reorganisation)."""
    cid, tx = channel.id, parse(item.raw)
    known = CLOSINGS.get(step, cid)
    if known is not None and known.txid == tx.txid:
        return
    forget(step, cid)
    closing = Closing(
        raw=item.raw,
        txid=tx.txid,
        height=item.height,
        ours=mined.is_ours(channel, ChannelSecrets(master, channel.setup.key_index), tx),
        to=known.to if known is not None else None,
    )
    CLOSINGS.put(step, closing, cid)
    step.deliver("chain", _until_buried(tx.txid, item.height, reason(cid, CLOSING)))


def forget(step: Step, cid: bytes) -> None:
    """Another transaction closed the channel, after a reorganisation."""
    if CLOSINGS.get(step, cid) is not None:
        CLOSINGS.drop(step, cid)
        _rest(step, cid)
    for key in TAKEN.below(step, cid):
        TAKEN.drop(step, *key)


def _rest(step: Step, cid: bytes) -> None:
    """Chain need not look for what followed from this closing any more."""
    rows = TAKEN.below(step, cid)
    spenders = [reason(cid, SPENDER, row.by.hex()) for row in rows.values() if row.by is not None]
    outputs = [reason(cid, OUTPUT, vout) for _, vout in rows]
    for why in (reason(cid, CLOSING), *outputs, *dict.fromkeys(spenders)):
        step.deliver("chain", Unwatch(reason=why))
    for (_, vout), row in rows.items():
        if row.sent not in (None, row.by):
            step.deliver("chain", GiveUp(purpose=_purpose(cid, vout)))


def _purpose(cid: bytes, vout: int) -> str:
    return f"{cid.hex()}/take/{vout}"


def script_is(step: Step, item: ScriptIs) -> bytes:
    """Where the wallet wants what comes back; -> the channel."""
    cid = bytes.fromhex(item.purpose.removeprefix(FOR_GOOD))
    closing = CLOSINGS.get(step, cid)
    if closing is not None and closing.to is None:
        CLOSINGS.put(step, closing.but(to=item.script), cid)
    return cid


def output_spent(step: Step, cid: bytes, item: Spent) -> bool:
    """Somebody, maybe we, has taken an output of a commitment; -> whether of this channel's."""
    closing, row = CLOSINGS.get(step, cid), TAKEN.get(step, cid, item.vout)
    if closing is None or closing.txid != item.txid or row is None:
        return False
    tx = parse(item.raw)
    TAKEN.put(step, row.but(by=tx.txid, final=False), cid, item.vout)
    spender = reason(cid, SPENDER, tx.txid.hex())
    step.deliver("chain", _until_buried(tx.txid, item.height, spender))
    _learn(step, cid, mined.preimages_in(tx, Outpoint(item.txid, item.vout)))
    return True


def _learn(step: Step, cid: bytes, shown: dict[bytes, bytes]) -> None:
    """A preimage is known for all HTLCs of ours with that hash: which of equal ones an output
    belongs to cannot be told."""
    for htlc in HTLCS.below(step, cid, "ours").values():
        preimage = shown.get(htlc.payment_hash)
        if preimage is not None:
            fact = LearnedPreimage(channel_id=cid, htlc_id=htlc.id, preimage=preimage)
            htlcs.learned(step, fact)


def deep(step: Step, item: TxConfirmed | TxReorged) -> list[bytes]:
    """A transaction is irrevocable, or is in no block any more; -> the channel, if it has one."""
    final = isinstance(item, TxConfirmed)
    cid, what = told(item.reason)
    closing = CLOSINGS.get(step, cid)
    if closing is None:
        return []
    if what == CLOSING and closing.txid == item.txid:
        CLOSINGS.put(step, closing.but(buried=final), cid)
    for key, row in TAKEN.below(step, cid).items() if what.startswith(SPENDER) else ():
        if row.by == item.txid:
            # what is mined again is told again
            TAKEN.put(step, row.but(final=final, by=item.txid if final else None), *key)
    return [cid]


# ---- what is to be done --------------------------------------------------------------------------


def look(step: Step, cid: bytes, master: bytes) -> None:
    """`master`: the secret of all our channels."""
    closing = CLOSINGS.get(step, cid)
    if closing is None or closing.done:
        return
    channel = snapshot.channel(step, cid)
    assert channel is not None
    if closing.to is None:
        step.tell("wallet", NewScript(purpose=FOR_GOOD + cid.hex()))
    secrets = ChannelSecrets(master, channel.setup.key_index)
    known = {vout: row.what for (_, vout), row in TAKEN.below(step, cid).items()}
    tx = parse(closing.raw)
    seen = mined.read(channel, secrets, tx, ours=closing.ours, known=known)
    _alarm(step, cid, seen)
    for found in seen.outputs:
        _watch(step, cid, closing, found)
    if not seen.ours:
        for found in seen.outputs:
            _take(step, channel, secrets, closing, seen, found)
    if closing.buried and seen.point is not None:
        _end(step, cid, channel, ours=seen.ours)
        _done(step, cid, closing)


def _alarm(step: Step, cid: bytes, seen: Mined) -> None:
    text = "the peer closed the channel alone: what is ours of it is brought to the wallet"
    if seen.ours:
        text = "our own commitment was published: its outputs are not collected yet"
    elif seen.revoked is not None:
        text = "the peer published a revoked commitment: what it holds is taken"
    elif seen.point is None:
        text = "the channel was closed by what we do not know: its HTLCs are not followed"
    watch = WATCHES.need(step, cid)
    if watch.alarm != text:
        WATCHES.put(step, watch.but(alarm=text), cid)
        step.log(f"{ALARM} channel={cid.hex()} {text}")


def _watch(step: Step, cid: bytes, closing: Closing, found: FoundOutput) -> None:
    if TAKEN.get(step, cid, found.vout) is None:
        TAKEN.put(step, TakenOutput(what=found.what), cid, found.vout)
        step.deliver("chain", _spend_watch(cid, closing, found.vout))


def _take(
    step: Step,
    channel: Channel,
    secrets: ChannelSecrets,
    closing: Closing,
    seen: Mined,
    found: FoundOutput,
) -> None:
    cid = channel.id
    row, tip = TAKEN.need(step, cid, found.vout), TIP.get(step)
    if row.sent is not None or row.by is not None or closing.to is None or tip is None:
        return
    htlc = channel.htlcs.get(found.what)
    preimage = None
    if htlc is not None and not htlc.ours:
        answer = RESOLUTIONS.get(step, cid, htlc.id)
        preimage = answer.preimage if answer is not None else None
    way = mined.our_way(channel, secrets, seen, found, preimage)
    if way is None or way.locktime > tip.height:
        return
    tx = mined.take(closing.txid, found, way, closing.to, tip.feerate_per_kw)
    if tx is not None:
        TAKEN.put(step, row.but(sent=tx.txid), cid, found.vout)
        purpose = _purpose(cid, found.vout)
        step.deliver("chain", Broadcast(purpose=purpose, raw=serialize(tx)))
        step.log(f"channel={cid.hex()} takes {found.what} by {display(tx.txid)}")


# ---- how HTLCs end -------------------------------------------------------------------------------


def _end(step: Step, cid: bytes, channel: Channel, *, ours: bool) -> None:
    """HTLCs that nothing can happen to any more: payments hears of ours, and all are forgotten."""
    places = {row.what: row for row in TAKEN.below(step, cid).values()}
    shown = {
        htlc.payment_hash: known.value
        for (_, number), known in PREIMAGES.below(step, cid).items()
        if (htlc := channel.htlcs.get(f"ours/{number}")) is not None
    }
    _learn(step, cid, shown)
    for key, htlc in channel.htlcs.items():
        row = places.get(key)
        if row is None or row.final or not ours and _is_left(step, htlc, row):
            _ended(step, cid, htlc)


def _is_left(step: Step, htlc: Htlc, row: TakenOutput) -> bool:
    """It has expired, and its output does not pay for the transaction that would take it."""
    tip = TIP.get(step)
    late = tip is not None and tip.height >= htlc.cltv_expiry + IRREVOCABLE_DEPTH
    return late and row.sent is None and row.by is None


def _ended(step: Step, cid: bytes, htlc: Htlc) -> None:
    known = PREIMAGES.get(step, cid, htlc.id) if htlc.ours else None
    if known is not None and not known.released and htlc.origin.startswith(FORWARD):
        return  # upstream does not have its preimage yet
    if htlc.ours and known is None:
        ended = HtlcEnded(origin=htlc.origin, channel_id=cid, htlc_id=htlc.id)
        step.deliver("payments", ended)
    _forget(step, cid, htlc)


def _done(step: Step, cid: bytes, closing: Closing) -> None:
    """Nothing of it can change any more: chain need not look."""
    rows = TAKEN.below(step, cid).values()
    tried = closing.ours or closing.to is not None and TIP.get(step) is not None
    open_ones = [row for row in rows if row.sent is not None and not row.final]
    if not tried or open_ones or HTLCS.below(step, cid):
        return
    CLOSINGS.put(step, closing.but(done=True), cid)
    _rest(step, cid)


def _forget(step: Step, cid: bytes, htlc: Htlc) -> None:
    HTLCS.drop(step, cid, htlc.side, htlc.id)
    if htlc.ours:
        PREIMAGES.drop(step, cid, htlc.id)
        return
    answer = RESOLUTIONS.get(step, cid, htlc.id)
    RESOLUTIONS.drop(step, cid, htlc.id)
    if answer is not None and answer.payment_id:
        claims.forget(step, cid, answer.payment_id)
