"""The channel itself: read whole from its rows, and written by numbered updates."""

from __future__ import annotations

from protocol.channel import items
from protocol.channel.state import Channel, Core, Setup
from protocol.crypto import shachain
from protocol.machine import Step
from protocol.monitor import claims, htlcs
from protocol.monitor.items import ChannelUsable, Secret, Watch


def channel(step: Step, cid: str) -> Channel | None:
    """The whole channel from its rows."""
    setup, core = step.get(f"setup/{cid}"), step.get(f"core/{cid}")
    if setup is None or core is None:
        return None
    assert isinstance(setup, Setup) and isinstance(core, Core)
    secrets = list(shachain.EMPTY)
    for bucket in range(len(secrets)):  # asked one by one: the segment has those of all channels
        secret = step.get(f"secret/{cid}/{bucket}")
        if secret is not None:
            secrets[bucket] = (secret.index, secret.value)
    found = {htlc.key: htlc for htlc in step.scan(f"htlc/{cid}/").values()}
    return Channel(setup=setup, core=core, htlcs=found, secrets=tuple(secrets))


def born(step: Step, cid: str, watch: Watch) -> items.Born:
    whole = channel(step, cid)
    assert whole is not None
    index, locked = whole.setup.key_index, None
    if watch.locked is not None:
        locked = items.FundingLocked(channel_id=whole.id, key_index=index, scid=watch.locked)
    buried = None
    if watch.buried is not None:
        buried = items.FundingBuried(channel_id=whole.id, key_index=index, scid=watch.buried)
    return items.Born(
        channel=whole,
        holds=claims.holds(step, cid),
        offers=tuple(step.scan(f"offer/{cid}/").values()),
        settles=tuple(step.scan(f"settle/{cid}/").values()),
        close=watch.close,
        locked=locked,
        buried=buried,
    )


def write(step: Step, cid: str, update: items.Update) -> None:
    """All that one update changes."""
    step.put(f"core/{cid}", _ranged(step.get(f"core/{cid}"), update.core))
    for htlc in update.htlcs:
        htlcs.moved(step, cid, htlc)
    for key in update.gone:
        payment_id = htlcs.gone(step, cid, key)
        if payment_id:
            claims.forget(step, cid, payment_id)
    if update.secret is not None:
        bucket, index, value = update.secret
        step.put(f"secret/{cid}/{bucket}", Secret(index=index, value=value))
    for origin, reason, final in update.refused:
        htlcs.refuse(step, cid, origin, reason, final=final)


def _ranged(old: Core, new: Core) -> Core:
    """How little and how much our side has had, in all that the monitor has written."""
    least = min(old.ours_msat if old.least_msat is None else old.least_msat, new.ours_msat)
    most = max(old.ours_msat if old.most_msat is None else old.most_msat, new.ours_msat)
    if (least, most) == (new.least_msat, new.most_msat):
        return new
    return new.but(least_msat=least, most_msat=most)


def usable(step: Step, cid: str) -> ChannelUsable:
    setup, core = step.get(f"setup/{cid}"), step.get(f"core/{cid}")
    return ChannelUsable(
        channel_id=setup.channel_id,
        key_index=setup.key_index,
        peer=setup.peer,
        scid=core.scid or bytes(8),
        hidden=setup.scid_alias,
    )


def used(step: Step) -> bool:
    cores = step.scan("core/").values()
    return any(core.our_next_htlc or core.their_next_htlc for core in cores)


def tell_all(step: Step) -> None:
    """Payments has lost its snapshot: it hears once more of all channels that it can use."""
    for key, watch in step.scan("watch/").items():
        if watch.usable_told and watch.ended is None:
            step.tell("payments", usable(step, key.removeprefix("watch/")))
