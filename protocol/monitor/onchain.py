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
from protocol.chain.items import Broadcast, Spent, TxConfirmed, TxReorged, WatchSpend, WatchTx
from protocol.channel import mined
from protocol.channel.items import FORWARD, LearnedPreimage
from protocol.channel.mined import Found, Mined
from protocol.channel.state import Channel, Htlc
from protocol.crypto.keys import ChannelSecrets
from protocol.machine import Step
from protocol.monitor import claims, htlcs, truth
from protocol.monitor.items import Closing, HtlcEnded, TakenOutput
from protocol.wallet.items import FOR_GOOD, NewScript, ScriptIs

IRREVOCABLE_DEPTH = 6


def spent(step: Step, cid: str, item: Spent) -> None:
    """The funding output went to a commitment (again, after a reorganisation)."""
    txid = parse(item.raw).txid
    known = step.get(f"closing/{cid}")
    if known is not None and known.txid == txid:
        return
    for key in step.scan(f"taken/{cid}/"):
        step.drop(key)
    to = known.to if known is not None else None
    step.put(f"closing/{cid}", Closing(raw=item.raw, txid=txid, height=item.height, to=to))
    step.tell("chain", WatchTx(txid=txid, depth=IRREVOCABLE_DEPTH, since=item.height))


def script_is(step: Step, item: ScriptIs) -> str:
    """Where the wallet wants what comes back; -> the channel."""
    cid = item.purpose.removeprefix(FOR_GOOD)
    closing = step.get(f"closing/{cid}")
    if closing is not None and closing.to is None:
        step.put(f"closing/{cid}", closing.but(to=item.script))
    return cid


def output_spent(step: Step, item: Spent) -> str | None:
    """Somebody, maybe we, has taken an output of a commitment; -> the channel."""
    found = _channel_of(step, item.txid)
    row = step.get(f"taken/{found}/{item.vout}") if found is not None else None
    if found is None or row is None:
        return None
    tx = parse(item.raw)
    step.put(f"taken/{found}/{item.vout}", row.but(by=tx.txid, final=False))
    step.tell("chain", WatchTx(txid=tx.txid, depth=IRREVOCABLE_DEPTH, since=item.height))
    htlc = step.get(f"htlc/{found}/{row.what}")
    preimage = mined.preimage_in(tx, Outpoint(item.txid, item.vout), htlc) if htlc else None
    if htlc is not None and htlc.ours and preimage is not None:
        fact = LearnedPreimage(channel_id=bytes.fromhex(found), htlc_id=htlc.id, preimage=preimage)
        htlcs.learned(step, fact)
    return found


def deep(step: Step, item: TxConfirmed | TxReorged) -> list[str]:
    """A transaction is irrevocable, or is in no block any more; -> the channels."""
    final = isinstance(item, TxConfirmed)
    changed = []
    for key, closing in step.scan("closing/").items():
        cid = key.removeprefix("closing/")
        if closing.txid == item.txid:
            step.put(key, closing.but(buried=final))
            changed.append(cid)
        for place, row in step.scan(f"taken/{cid}/").items():
            if row.by == item.txid:
                step.put(place, row.but(final=final))
                changed.append(cid)
    return changed


def _channel_of(step: Step, txid: bytes) -> str | None:
    for key, closing in step.scan("closing/").items():
        if closing.txid == txid:
            return key.removeprefix("closing/")
    return None


# ---- what is to be done --------------------------------------------------------------------------


def look(step: Step, cid: str, master: bytes) -> None:
    """`master`: the secret of all our channels."""
    closing = step.get(f"closing/{cid}")
    if closing is None:
        return
    channel = truth.channel(step, cid)
    assert channel is not None
    if closing.to is None:
        step.say("wallet", NewScript(purpose=FOR_GOOD + cid))
    secrets = ChannelSecrets(master, channel.setup.key_index)
    seen = mined.read(channel, secrets, parse(closing.raw))
    _alarm(step, cid, seen)
    for found in seen.outputs:
        _watch(step, cid, closing, found)
    if not seen.ours:
        for found in seen.outputs:
            _take(step, channel, secrets, closing, seen, found)
    _end(step, cid, channel, closing, seen)


def _alarm(step: Step, cid: str, seen: Mined) -> None:
    text = "the peer closed the channel alone: what is ours of it is brought to the wallet"
    if seen.ours:
        text = "our own commitment was published: its outputs are not collected yet"
    elif seen.revoked is not None:
        text = "the peer published a revoked commitment: what it holds is taken"
    elif seen.point is None:
        text = "somebody closed the channel alone: look at its outputs"
    watch = step.get(f"watch/{cid}")
    if watch.alarm != text:
        step.put(f"watch/{cid}", watch.but(alarm=text))
        step.log(f"channel={cid} {text}")


def _watch(step: Step, cid: str, closing: Closing, found: Found) -> None:
    key = f"taken/{cid}/{found.vout}"
    if step.get(key) is None:
        step.put(key, TakenOutput(what=found.what))
        watch = WatchSpend(txid=closing.txid, vout=found.vout, since=closing.height)
        step.tell("chain", watch)


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
    if row.ours or row.by is not None or closing.to is None or tip is None:
        return
    htlc = channel.htlcs.get(found.what)
    preimage = _preimage(step, cid, htlc)
    if htlc is not None and htlc.ours and preimage is not None:
        return  # it is theirs to take
    way = mined.our_way(channel, secrets, seen, found, preimage)
    if way is None or way.locktime > tip.height:
        return
    tx = mined.take(closing.txid, found, way, closing.to, tip.feerate_per_kw)
    if tx is not None:
        step.put(f"taken/{cid}/{found.vout}", row.but(ours=True))
        step.tell("chain", Broadcast(raw=serialize(tx)))
        step.log(f"channel={cid} takes {found.what} by {display(tx.txid)}")


def _preimage(step: Step, cid: str, htlc: Htlc | None) -> bytes | None:
    if htlc is None:
        return None
    if htlc.ours:
        known = step.get(f"preimage/{cid}/{htlc.id}")
        return known.value if known is not None else None
    answer = step.get(f"settle/{cid}/{htlc.id}")
    return answer.preimage if answer is not None else None


# ---- how HTLCs end -------------------------------------------------------------------------------


def _end(step: Step, cid: str, channel: Channel, closing: Closing, seen: Mined) -> None:
    """HTLCs that nothing can happen to any more: payments hears of ours, and all are forgotten."""
    if not closing.buried or seen.point is None:
        return
    places = {found.what: found.vout for found in seen.outputs}
    for key, htlc in channel.htlcs.items():
        place = places.get(key)
        if place is not None and not step.get(f"taken/{cid}/{place}").final:
            continue
        if htlc.ours and _preimage(step, cid, htlc) is None:
            ended = HtlcEnded(origin=htlc.origin, channel_id=channel.id, htlc_id=htlc.id)
            step.tell("payments", ended)
        elif htlc.ours and _is_held(step, cid, htlc):
            continue  # upstream does not have its preimage yet
        _forget(step, cid, htlc)


def _is_held(step: Step, cid: str, htlc: Htlc) -> bool:
    known = step.get(f"preimage/{cid}/{htlc.id}")
    return htlc.origin.startswith(FORWARD) and not known.released


def _forget(step: Step, cid: str, htlc: Htlc) -> None:
    step.drop(f"htlc/{cid}/{htlc.key}")
    if htlc.ours:
        step.drop(f"preimage/{cid}/{htlc.id}")
        return
    answer = step.get(f"settle/{cid}/{htlc.id}")
    step.drop(f"settle/{cid}/{htlc.id}")
    if answer is not None and answer.payment_id:
        claims.forget(step, cid, answer.payment_id)
