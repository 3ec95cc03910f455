"""The channel itself: read whole from its rows, and written by numbered updates."""

from __future__ import annotations

from protocol.channel import messages
from protocol.channel.messages import ChannelUsable
from protocol.channel.state import Channel, Core
from protocol.crypto import shachain
from protocol.machine import Step
from protocol.monitor import claims, htlcs
from protocol.monitor.rows import (
    ADDS,
    CORES,
    HTLCS,
    RESOLUTIONS,
    SECRETS,
    SETUPS,
    WATCHES,
    Secret,
    Watch,
)


def channel(step: Step, cid: bytes) -> Channel | None:
    """The whole channel from its rows."""
    setup, core = SETUPS.get(step, cid), CORES.get(step, cid)
    if setup is None or core is None:
        return None
    secrets = list(shachain.EMPTY)
    for (_, bucket), secret in SECRETS.below(step, cid).items():
        secrets[bucket] = (secret.index, secret.value)
    found = {htlc.key: htlc for htlc in HTLCS.below(step, cid).values()}
    return Channel(setup=setup, core=core, htlcs=found, secrets=tuple(secrets))


def born(step: Step, cid: bytes, watch: Watch) -> messages.Born:
    """All that peers need to let a channel live."""
    whole = channel(step, cid)
    assert whole is not None
    index, confirmed = whole.setup.key_index, None
    if watch.confirmed is not None:
        confirmed = messages.FundingConfirmed(
            channel_id=whole.id, key_index=index, scid=watch.confirmed
        )
    buried = None
    if watch.buried is not None:
        buried = messages.FundingBuried(channel_id=whole.id, key_index=index, scid=watch.buried)
    close = None
    if watch.close is not None:
        close = watch.close.into(messages.CloseRequest, channel_id=cid)
    return messages.Born(
        channel=whole,
        holds=claims.holds(step, cid),
        adds=tuple(
            row.into(messages.AddHtlc, channel_id=cid) for row in ADDS.below(step, cid).values()
        ),
        resolutions=tuple(
            row.into(messages.ResolveHtlc, channel_id=cid, htlc_id=number)
            for (_, number), row in RESOLUTIONS.below(step, cid).items()
        ),
        close=close,
        confirmed=confirmed,
        buried=buried,
    )


def write(step: Step, cid: bytes, update: messages.Update) -> None:
    """All that one update changes."""
    CORES.put(step, _ranged(CORES.need(step, cid), update.core), cid)
    for htlc in update.htlcs:
        htlcs.moved(step, cid, htlc)
    for key in update.gone:
        payment_id = htlcs.gone(step, cid, key)
        if payment_id:
            claims.forget(step, cid, payment_id)
    if update.secret is not None:
        bucket, index, value = update.secret
        SECRETS.put(step, Secret(index=index, value=value), cid, bucket)
    for origin, reason, final in update.refused:
        htlcs.refuse(step, cid, origin, reason, final=final)


def _ranged(old: Core, new: Core) -> Core:
    """How little and how much our side has had, in all that the monitor has written."""
    least = min(old.ours_msat if old.least_msat is None else old.least_msat, new.ours_msat)
    most = max(old.ours_msat if old.most_msat is None else old.most_msat, new.ours_msat)
    if (least, most) == (new.least_msat, new.most_msat):
        return new
    return new.but(least_msat=least, most_msat=most)


def usable(step: Step, cid: bytes) -> ChannelUsable:
    """What payments is told once of a channel that carries payments now."""
    setup, core = SETUPS.need(step, cid), CORES.need(step, cid)
    return ChannelUsable(
        channel_id=setup.channel_id,
        key_index=setup.key_index,
        peer=setup.peer,
        scid=core.scid or bytes(8),
        hidden=setup.scid_alias,
    )


def used(step: Step) -> bool:
    """Whether any channel here has ever carried an HTLC."""
    cores = CORES.below(step).values()
    return any(core.our_next_htlc or core.their_next_htlc for core in cores)


def tell_all(step: Step) -> None:
    """Payments has lost its snapshot: it hears once more of all channels that it can use."""
    for (cid,), watch in WATCHES.below(step).items():
        if watch.usable_told and watch.ended is None:
            step.deliver("payments", usable(step, cid))
