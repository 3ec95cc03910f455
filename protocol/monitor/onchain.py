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
from protocol.chain.items import (
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
from protocol.channel.items import FORWARD, LearnedPreimage
from protocol.channel.mined import Found, Mined
from protocol.channel.state import Channel, Htlc, Setup
from protocol.crypto.keys import ChannelSecrets
from protocol.machine import Step
from protocol.monitor import claims, htlcs, truth
from protocol.monitor.items import Closing, HtlcEnded, TakenOutput
from protocol.wallet.items import FOR_GOOD, NewScript, ScriptIs

IRREVOCABLE_DEPTH = 6

# reasons of watches, each behind "<channel>/": the funding output, the commitment that spent it,
# and of its outputs ("output/<vout>") the transactions that took them ("spender/<txid>")
FUNDING, CLOSING, OUTPUT, SPENDER = "funding", "closing", "output", "spender"


def reason(cid: str, what: str, which: object = "") -> str:
    return f"{cid}/{what}/{which}" if which != "" else f"{cid}/{what}"


def funding_watch(setup: Setup, since: int) -> WatchSpend:
    return WatchSpend(
        reason=reason(setup.channel_id.hex(), FUNDING),
        txid=setup.funding_txid,
        vout=setup.funding_index,
        since=since,
    )


def watch_again(step: Step) -> None:
    """Chain has restarted, or we have: everything that is to be watched. What it knows already
    changes nothing; what it has lost it looks for from the beginning."""
    for key, setup in step.scan("setup/").items():
        cid = key.removeprefix("setup/")
        watch, closing = step.get(f"watch/{cid}"), step.get(f"closing/{cid}")
        if watch is None:
            continue
        step.say("chain", funding_watch(setup, watch.since))
        if closing is None or closing.done:
            continue
        step.say("chain", _until_buried(closing.txid, closing.height, reason(cid, CLOSING)))
        for place, row in _taken(step, cid).items():
            step.say("chain", _spend_watch(cid, closing, int(place.rpartition("/")[2])))
            if row.by is not None:
                spender = reason(cid, SPENDER, row.by.hex())
                step.say("chain", _until_buried(row.by, closing.height, spender))


def _until_buried(txid: bytes, since: int, why: str) -> WatchTx:
    return WatchTx(reason=why, txid=txid, depth=IRREVOCABLE_DEPTH, since=since)


def _spend_watch(cid: str, closing: Closing, vout: int) -> WatchSpend:
    why = reason(cid, OUTPUT, vout)
    return WatchSpend(reason=why, txid=closing.txid, vout=vout, since=closing.height)


def spent(step: Step, channel: Channel, item: Spent, master: bytes) -> None:
    """The funding output went to a commitment (again, after a reorganisation)."""
    cid, tx = channel.id.hex(), parse(item.raw)
    known = step.get(f"closing/{cid}")
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
    step.put(f"closing/{cid}", closing)
    step.tell("chain", _until_buried(tx.txid, item.height, reason(cid, CLOSING)))


def forget(step: Step, cid: str) -> None:
    """Another transaction closed the channel, after a reorganisation."""
    if step.get(f"closing/{cid}") is not None:
        step.drop(f"closing/{cid}")
        _rest(step, cid)
    for key in _taken(step, cid):
        step.drop(key)


def _rest(step: Step, cid: str) -> None:
    """Chain need not look for what followed from this closing any more."""
    rows = _taken(step, cid)
    spenders = [reason(cid, SPENDER, row.by.hex()) for row in rows.values() if row.by is not None]
    outputs = [reason(cid, OUTPUT, key.rpartition("/")[2]) for key in rows]
    for why in (reason(cid, CLOSING), *outputs, *dict.fromkeys(spenders)):
        step.tell("chain", Unwatch(reason=why))
    for key, row in rows.items():
        if row.sent not in (None, row.by):
            step.tell("chain", GiveUp(purpose=_purpose(cid, int(key.rpartition("/")[2]))))


def _purpose(cid: str, vout: int) -> str:
    return f"{cid}/take/{vout}"


def script_is(step: Step, item: ScriptIs) -> str:
    """Where the wallet wants what comes back; -> the channel."""
    cid = item.purpose.removeprefix(FOR_GOOD)
    closing = step.get(f"closing/{cid}")
    if closing is not None and closing.to is None:
        step.put(f"closing/{cid}", closing.but(to=item.script))
    return cid


def output_spent(step: Step, cid: str, item: Spent) -> bool:
    """Somebody, maybe we, has taken an output of this channel's commitment; -> is it that one's?"""
    closing, row = step.get(f"closing/{cid}"), step.get(f"taken/{cid}/{item.vout}")
    if closing is None or closing.txid != item.txid or row is None:
        return False
    tx = parse(item.raw)
    step.put(f"taken/{cid}/{item.vout}", row.but(by=tx.txid, final=False))
    spender = reason(cid, SPENDER, tx.txid.hex())
    step.tell("chain", _until_buried(tx.txid, item.height, spender))
    _learn(step, cid, mined.preimages_in(tx, Outpoint(item.txid, item.vout)))
    return True


def _learn(step: Step, cid: str, shown: dict[bytes, bytes]) -> None:
    """A preimage is known for all HTLCs of ours with that hash: which of equal ones an output
    belongs to cannot be told."""
    for htlc in step.scan(f"htlc/{cid}/ours/").values():
        preimage = shown.get(htlc.payment_hash)
        if preimage is not None:
            channel = bytes.fromhex(cid)
            fact = LearnedPreimage(channel_id=channel, htlc_id=htlc.id, preimage=preimage)
            htlcs.learned(step, fact)


def deep(step: Step, item: TxConfirmed | TxReorged) -> list[str]:
    """A transaction is irrevocable, or is in no block any more; -> the channel, if it has one."""
    final = isinstance(item, TxConfirmed)
    cid, _, what = item.reason.partition("/")
    closing = step.get(f"closing/{cid}")
    if closing is None:
        return []
    if what == CLOSING and closing.txid == item.txid:
        step.put(f"closing/{cid}", closing.but(buried=final))
    for place, row in _taken(step, cid).items() if what.startswith(SPENDER) else ():
        if row.by == item.txid:
            # what is mined again is told again
            step.put(place, row.but(final=final, by=item.txid if final else None))
    return [cid]


# ---- what is to be done --------------------------------------------------------------------------


def look(step: Step, cid: str, master: bytes) -> None:
    """`master`: the secret of all our channels."""
    closing = step.get(f"closing/{cid}")
    if closing is None or closing.done:
        return
    channel = truth.channel(step, cid)
    assert channel is not None
    if closing.to is None:
        step.say("wallet", NewScript(purpose=FOR_GOOD + cid))
    secrets = ChannelSecrets(master, channel.setup.key_index)
    known = {int(key.rpartition("/")[2]): row.what for key, row in _taken(step, cid).items()}
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


def _taken(step: Step, cid: str) -> dict[str, TakenOutput]:
    return step.scan(f"taken/{cid}/")


def _alarm(step: Step, cid: str, seen: Mined) -> None:
    text = "the peer closed the channel alone: what is ours of it is brought to the wallet"
    if seen.ours:
        text = "our own commitment was published: its outputs are not collected yet"
    elif seen.revoked is not None:
        text = "the peer published a revoked commitment: what it holds is taken"
    elif seen.point is None:
        text = "the channel was closed by what we do not know: its HTLCs are not followed"
    watch = step.get(f"watch/{cid}")
    if watch.alarm != text:
        step.put(f"watch/{cid}", watch.but(alarm=text))
        step.log(f"ALARM channel={cid} {text}")


def _watch(step: Step, cid: str, closing: Closing, found: Found) -> None:
    key = f"taken/{cid}/{found.vout}"
    if step.get(key) is None:
        step.put(key, TakenOutput(what=found.what))
        step.tell("chain", _spend_watch(cid, closing, found.vout))


def _take(
    step: Step,
    channel: Channel,
    secrets: ChannelSecrets,
    closing: Closing,
    seen: Mined,
    found: Found,
) -> None:
    cid = channel.id.hex()
    row, tip = step.get(f"taken/{cid}/{found.vout}"), step.get("~tip")
    if row.sent is not None or row.by is not None or closing.to is None or tip is None:
        return
    htlc = channel.htlcs.get(found.what)
    preimage = None
    if htlc is not None and not htlc.ours:
        answer = step.get(f"settle/{cid}/{htlc.id}")
        preimage = answer.preimage if answer is not None else None
    way = mined.our_way(channel, secrets, seen, found, preimage)
    if way is None or way.locktime > tip.height:
        return
    tx = mined.take(closing.txid, found, way, closing.to, tip.feerate_per_kw)
    if tx is not None:
        step.put(f"taken/{cid}/{found.vout}", row.but(sent=tx.txid))
        purpose = _purpose(cid, found.vout)
        step.tell("chain", Broadcast(purpose=purpose, raw=serialize(tx)))
        step.log(f"channel={cid} takes {found.what} by {display(tx.txid)}")


# ---- how HTLCs end -------------------------------------------------------------------------------


def _end(step: Step, cid: str, channel: Channel, *, ours: bool) -> None:
    """HTLCs that nothing can happen to any more: payments hears of ours, and all are forgotten."""
    places = {row.what: row for row in _taken(step, cid).values()}
    shown = {
        channel.htlcs[f"ours/{number}"].payment_hash: known.value
        for key, known in step.scan(f"preimage/{cid}/").items()
        if f"ours/{(number := key.rpartition('/')[2])}" in channel.htlcs
    }
    _learn(step, cid, shown)
    for key, htlc in channel.htlcs.items():
        row = places.get(key)
        if row is None or row.final or not ours and _is_left(step, htlc, row):
            _ended(step, cid, htlc)


def _is_left(step: Step, htlc: Htlc, row: TakenOutput) -> bool:
    """It has expired, and its output does not pay for the transaction that would take it."""
    tip = step.get("~tip")
    late = tip is not None and tip.height >= htlc.cltv_expiry + IRREVOCABLE_DEPTH
    return late and row.sent is None and row.by is None


def _ended(step: Step, cid: str, htlc: Htlc) -> None:
    known = step.get(f"preimage/{cid}/{htlc.id}") if htlc.ours else None
    if known is not None and not known.released and htlc.origin.startswith(FORWARD):
        return  # upstream does not have its preimage yet
    if htlc.ours and known is None:
        channel = bytes.fromhex(cid)
        ended = HtlcEnded(origin=htlc.origin, channel_id=channel, htlc_id=htlc.id)
        step.tell("payments", ended)
    _forget(step, cid, htlc)


def _done(step: Step, cid: str, closing: Closing) -> None:
    """Nothing of it can change any more: chain need not look."""
    rows = _taken(step, cid).values()
    tried = closing.ours or closing.to is not None and step.get("~tip") is not None
    open_ones = [row for row in rows if row.sent is not None and not row.final]
    if not tried or open_ones or step.scan(f"htlc/{cid}/"):
        return
    step.put(f"closing/{cid}", closing.but(done=True))
    _rest(step, cid)


def _forget(step: Step, cid: str, htlc: Htlc) -> None:
    step.drop(f"htlc/{cid}/{htlc.key}")
    if htlc.ours:
        step.drop(f"preimage/{cid}/{htlc.id}")
        return
    answer = step.get(f"settle/{cid}/{htlc.id}")
    step.drop(f"settle/{cid}/{htlc.id}")
    if answer is not None and answer.payment_id:
        claims.forget(step, cid, answer.payment_id)
