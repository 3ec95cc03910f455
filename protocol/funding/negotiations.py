"""BOLT 2, Channel Establishment: the negotiation of one channel, in memory only, both roles.

What both roles share: how a negotiation is found, what its channel will be, and how it becomes
durable. The two sides are `opener` and `accepter`.
"""

from __future__ import annotations

from protocol import features
from protocol.bitcoin.transaction import Outpoint
from protocol.chain.messages import TIP
from protocol.channel.state import Channel, Party, channel_id
from protocol.crypto.keys import ChannelSecrets
from protocol.features import Features
from protocol.funding import establishment, rules
from protocol.funding.messages import ToPeer
from protocol.funding.policy import OpeningPolicy
from protocol.funding.rows import (
    KEYS,
    NEGOTIATIONS,
    NEXT_KEY,
    OPENINGS,
    TEMPORARY,
    KeyIndex,
    Negotiation,
    Opening,
)
from protocol.machine import Step
from protocol.monitor.messages import Guard
from protocol.wire import setup
from protocol.wire.message import Message

PATIENCE_SECONDS = 120.0
LOST = "the connection to the peer was lost"


def upfront(theirs: Features, script: bytes | None) -> bytes | None:
    """ "MUST include upfront_shutdown_script" (it may be empty) when both know the option."""
    known = features.both(features.OUR_INIT, theirs, "option_upfront_shutdown_script")
    return (script or b"") if known else None


def purpose_of(item: Negotiation) -> str:
    """Under which name the wallet keeps what it gives for this negotiation."""
    return item.purpose or f"opening-{item.key_index}"


def asked_for(step: Step, purpose: str) -> list[Negotiation]:
    """The one, of those that a peer has begun, that the wallet's answer is for; or none."""
    rows = [row for _, row in NEGOTIATIONS.each(step)]
    return [row for row in rows if not row.we_opened and purpose_of(row) == purpose]


def by_channel(step: Step, peer: bytes, channel: bytes) -> Opening | None:
    """The durable opening of a channel with this peer, by the id that the wire gives it."""
    for _, row in OPENINGS.each(step):
        if row.channel_id == channel and row.peer == peer:
            return row
    return None


class Funder:
    """Who we are in every opening: the network, what we ask for, and the channels' secrets."""

    def __init__(self, network: str, channel_secret: bytes, policy: OpeningPolicy) -> None:
        self.network, self.policy = network, policy
        self._master = channel_secret

    def secrets(self, index: int) -> ChannelSecrets:
        """Of the channel with this key index."""
        return ChannelSecrets(self._master, index)


def next_index(step: Step, *, durable: bool) -> int:
    """Of the channel's secrets. One that only a peer has asked for costs no write: after a
    restart it may serve another channel, for the first one was forgotten."""
    stored = (KEYS.get(step) or KeyIndex(next=1)).next
    index = max(stored, NEXT_KEY.get(step) or 1)
    NEXT_KEY.put(step, index + 1)
    if durable:
        use_index(step, index)
    return index


def use_index(step: Step, index: int) -> None:
    """It belongs to this channel for ever: no later one gets it."""
    if (KEYS.get(step) or KeyIndex(next=1)).next <= index:
        KEYS.put(step, KeyIndex(next=index + 1))


def keep(step: Step, item: Negotiation) -> None:
    """In memory, by its key index, and by what the wire calls it."""
    NEGOTIATIONS.put(step, item, item.key_index)
    TEMPORARY.put(step, item.key_index, item.peer, item.temporary_id)


def drop(step: Step, item: Negotiation) -> None:
    """Forgotten, by both its names."""
    NEGOTIATIONS.drop(step, item.key_index)
    TEMPORARY.drop(step, item.peer, item.temporary_id)


def find(step: Step, peer: bytes, temporary_id: bytes) -> Negotiation | None:
    """What this peer calls so."""
    index = TEMPORARY.get(step, peer, temporary_id)
    return None if index is None else NEGOTIATIONS.get(step, index)


def send(step: Step, item: Negotiation, message: Message) -> None:
    """To the peer; peers notes that this connection negotiates."""
    raw = message.encode()
    step.tell("peers", ToPeer(peer=item.peer, message=raw, negotiation=item.temporary_id))


def tell_peer(step: Step, item: Negotiation, text: str) -> None:
    """An error for this opening, which the peer then forgets."""
    error = setup.Error(channel_id=item.temporary_id, data=text.encode())
    step.tell("peers", ToPeer(peer=item.peer, message=error.encode()))


def party(us: Funder, item: Negotiation, own_script: bytes | None = None) -> Party:
    """What we ask for in this channel."""
    asked = item.wanted
    return establishment.our_party(
        us.policy,
        us.secrets(item.key_index),
        item.opened.funding_satoshis,
        own_script=own_script,
        # "MUST set channel_reserve_satoshis greater than or equal to" the opener's dust limit
        least_reserve=0 if item.we_opened else item.opened.dust_limit_satoshis,
        reserve_sat=asked.reserve_sat if asked is not None else None,
    )


def channel_ids(step: Step, *, but: int) -> set[bytes]:
    """Of all openings and negotiations, derived from what they will spend."""
    taken = {row.channel_id for _, row in OPENINGS.each(step) if row.key_index != but}
    for _, row in NEGOTIATIONS.each(step):
        if row.key_index != but and row.channel is not None:
            taken.add(row.channel.id)
        elif row.key_index != but and row.created is not None:
            created = row.created
            funding = Outpoint(created.funding_txid, created.funding_output_index)
            taken.add(channel_id(funding))
    return taken


def funding_script(us: Funder, item: Negotiation) -> bytes:
    """What the funding output pays to."""
    said = item.accepted if item.we_opened else item.opened
    assert said is not None
    return establishment.funding_script(party(us, item), establishment.their_party(said))


def first(us: Funder, item: Negotiation, funding: Outpoint, own_script: bytes) -> Channel:
    """The channel as it is before the first signature."""
    assert item.accepted is not None
    asked = item.wanted
    close_to = asked.close_to if asked is not None else None
    kind = features.decode(item.opened.channel_type or b"")
    least = 0 if rules.ZEROCONF in kind else 1
    depth = item.accepted.minimum_depth
    if asked is not None and asked.mindepth is not None:
        depth = asked.mindepth
    return establishment.first_channel(
        opened=item.opened,
        accepted=item.accepted,
        funding=funding,
        we_opened=item.we_opened,
        peer=item.peer,
        key_index=item.key_index,
        ours=party(us, item, close_to or own_script),
        minimum_depth=max(least, depth),
        close_to=close_to,
    )


def guard(step: Step, item: Negotiation, channel: Channel, record: Opening) -> None:
    """From here on the opening is durable; nothing has been broadcast or signed for them."""
    use_index(step, item.key_index)
    known = OPENINGS.get(step, item.key_index)
    assert known is None, "an opening is never overwritten"
    OPENINGS.put(step, record, item.key_index)
    drop(step, item)
    guard = Guard(channel=channel, since=record.since, address=item.address)
    step.deliver("monitors", guard)


def record(us: Funder, step: Step, item: Negotiation, channel: Channel, purpose: str) -> Opening:
    """The durable row of an opening, before the monitor has the channel."""
    terms, tip = channel.setup, TIP.get(step)
    return Opening(
        key_index=item.key_index,
        channel_id=channel.id,
        purpose=purpose,
        peer=item.peer,
        we_opened=item.we_opened,
        state="guarding",
        minimum_depth=terms.minimum_depth,
        amount_sat=terms.capacity_sat,
        script=funding_script(us, item),
        funding_txid=terms.funding_txid,
        funding_index=terms.funding_index,
        private=terms.private,
        format_name=terms.format_name,
        close_to=terms.close_to,
        since=tip.height if tip is not None else 0,
    )
