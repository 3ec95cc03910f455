"""A channel that lives: the off-chain protocol of one channel, born from its monitor.

Hears: peer messages, connection and disconnection, what its monitor says (`messages.ToChannel`).
Delivers: the monitor (`Update`, `LearnedPreimage`), the peer (messages).
Keeps: nothing. A peer message that follows from an update leaves when the update is durable.

One turn = any number of events, then `drain`: propose what waits, sign once, one update.
"""

from __future__ import annotations

from protocol.channel import commitments, stages
from protocol.channel.messages import (
    AddHtlc,
    Born,
    CloseRequest,
    LearnedPreimage,
    ResolveHtlc,
    Update,
)
from protocol.channel.state import Channel
from protocol.crypto.keys import ChannelSecrets, NodeKey
from protocol.errors import PeerFault
from protocol.features import Features
from protocol.values import Value
from protocol.wire import setup
from protocol.wire.closing import ClosingComplete
from protocol.wire.message import Message

# (origin, reason, final)
Refusals = tuple[tuple[str, str, bool], ...]


class ClosingNegotiation(Value, frozen=True, kw_only=True):
    """One run of closing negotiation, over with the connection."""

    our_fee_sat: int | None = None
    our_range: tuple[int, int] | None = None
    complete: ClosingComplete | None = None


class Live(Value, frozen=True, kw_only=True):
    """`channel` runs ahead of `persisted`, what the monitor was last given.

    `unacked`: updates given and not known to be durable. `unsent`: messages, each with the update
    that it waits for. `fresh`: messages of this turn. `adds` and `resolutions` are the monitor's
    wishes that are not carried out irrevocably. `holds`: why no revoke_and_ack is applied now;
    `inbox`: one that was not, and what the peer has said after it. `half_said`, `half_owed`: our
    announcement_signatures on this connection.
    """

    channel: Channel
    persisted: Channel
    durable_id: int
    unacked: tuple[Update, ...] = ()
    unsent: tuple[tuple[int, Message], ...] = ()
    fresh: tuple[Message, ...] = ()
    adds: dict[str, AddHtlc] = {}
    resolutions: dict[int, ResolveHtlc] = {}
    refused: Refusals = ()
    holds: frozenset[str] = frozenset()
    inbox: tuple[Message, ...] = ()
    close: CloseRequest | None = None
    feerate_wanted: int | None = None
    negotiation: ClosingNegotiation | None = None
    features: Features = frozenset()
    online: bool = False
    established: bool = False
    half_said: bool = False
    half_owed: bool = False
    dirty: bool = False


class Turn:
    """The work of one turn on one channel. Pure as a whole: `Live` in, `Live` and effects out.

    `height`: that of the newest block; None while it is not known, and nothing is offered.
    """

    __slots__ = ("live", "secrets", "node", "height", "to_monitor", "to_peer")

    def __init__(
        self, live: Live, secrets: ChannelSecrets, node: NodeKey, height: int | None
    ) -> None:
        self.live = live
        self.secrets = secrets
        self.node = node
        self.height = height
        self.to_monitor: list[Update | LearnedPreimage] = []
        self.to_peer: list[Message] = []

    @property
    def channel(self) -> Channel:
        """As this turn has left it."""
        return self.live.channel

    def set(self, channel: Channel, *, dirty: bool = True) -> None:
        """The channel changed; `dirty`: in a way that must be durable before more is said."""
        self.live = self.live.but(channel=channel, dirty=self.live.dirty or dirty)

    def send(self, message: Message) -> None:
        """To the peer, when what it follows from is durable."""
        self.live = self.live.but(fresh=(*self.live.fresh, message))

    def fail(self, reason: str) -> None:
        """BOLT 1: "fail the channel": from here on nothing but the error is said."""
        if self.channel.core.failed is None:
            self.set(self.channel.with_core(failed=reason))
        self.live = self.live.but(fresh=(), unsent=())
        self.send(setup.Error(channel_id=self.channel.id, data=reason.encode()))


def born(snapshot: Born) -> Live:
    """A channel from its monitor's snapshot, offline."""
    channel = snapshot.channel
    return Live(
        channel=commitments.forget_uncommitted(channel),
        persisted=channel,
        durable_id=channel.core.update_id,
        adds={offer.origin: offer for offer in snapshot.adds},
        resolutions={settle.htlc_id: settle for settle in snapshot.resolutions},
        holds=frozenset(snapshot.holds),
        close=snapshot.close,
    )


def disconnected(turn: Turn) -> None:
    """The connection is gone: what was not committed to is undone, what was not sent is dropped."""
    turn.live = turn.live.but(
        channel=commitments.forget_uncommitted(turn.channel),
        unsent=(),
        fresh=(),
        inbox=(),  # unapplied, so that the peer says it again
        negotiation=None,
        online=False,
        established=False,
        half_said=False,
        half_owed=False,
    )


def durable(turn: Turn, update_id: int) -> None:
    """Updates up to `update_id` are on disk: what waited for them may leave."""
    live = turn.live
    turn.live = live.but(
        durable_id=max(live.durable_id, update_id),
        unacked=tuple(update for update in live.unacked if update.update_id > update_id),
    )
    release(turn)


def release(turn: Turn) -> None:
    """Messages leave in the order in which they were said."""
    live = turn.live
    count = 0
    for awaited, _ in live.unsent:
        if awaited > live.durable_id:
            break
        count += 1
    if count:
        turn.to_peer += [message for _, message in live.unsent[:count]]
        turn.live = live.but(unsent=live.unsent[count:])


def monitor_restarted(turn: Turn) -> None:
    """The monitor may have lost what was on its way: say it again, in order."""
    for htlc in turn.channel.htlcs.values():
        if htlc.ours and htlc.preimage and htlc.stage >= stages.REMOVING:
            turn.to_monitor.append(
                LearnedPreimage(channel_id=turn.channel.id, htlc_id=htlc.id, preimage=htlc.preimage)
            )
    turn.to_monitor += turn.live.unacked  # behind the preimages that they let go of


def persist(turn: Turn) -> None:
    """Give the monitor what changed, as one numbered update, and hold what was said for it."""
    live = turn.live
    if live.dirty or live.refused:
        channel = live.channel.with_core(update_id=live.persisted.core.update_id + 1)
        update = difference(live.persisted, channel, live.refused)
        turn.to_monitor.append(update)
        live = live.but(
            channel=channel,
            persisted=channel,
            dirty=False,
            refused=(),
            unacked=(*live.unacked, update),
        )
    awaited = live.persisted.core.update_id
    unsent = live.unsent + tuple((awaited, message) for message in live.fresh)
    turn.live = live.but(unsent=unsent if live.online else (), fresh=())
    release(turn)


def difference(old: Channel, new: Channel, refused: Refusals = ()) -> Update:
    """The update that makes `new` of `old`; unchanged records are known by identity."""
    changed = [htlc for key, htlc in new.htlcs.items() if old.htlcs.get(key) is not htlc]
    secret = None
    if new.secrets is not old.secrets:
        for bucket, entry in enumerate(new.secrets):
            if entry is not None and entry != old.secrets[bucket]:
                secret = (bucket, *entry)
    return Update(
        channel_id=new.id,
        update_id=new.core.update_id,
        core=new.core,
        htlcs=tuple(changed),
        gone=tuple(key for key in old.htlcs if key not in new.htlcs),
        secret=secret,
        refused=refused,
    )


def apply(channel: Channel, update: Update) -> Channel:
    """The other direction: what the monitor does with an update."""
    htlcs = {key: htlc for key, htlc in channel.htlcs.items() if key not in update.gone}
    htlcs |= {htlc.key: htlc for htlc in update.htlcs}
    secrets = channel.secrets
    if update.secret is not None:
        bucket, index, value = update.secret
        secrets = (*secrets[:bucket], (index, value), *secrets[bucket + 1 :])
    return channel.but(core=update.core, htlcs=htlcs, secrets=secrets)


def require(condition: bool, text: str) -> None:
    """A rule for the peer: breaking it fails the channel."""
    if not condition:
        raise PeerFault(text)
