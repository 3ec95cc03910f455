"""BOLT 2, Channel Establishment: the negotiation of one channel, in memory only, both roles.

What both roles share, and the accepting side. The opening side is in `group`.
"""

from __future__ import annotations

from protocol import features
from protocol.bitcoin.transaction import Outpoint, parse
from protocol.chain.messages import TIP
from protocol.channel.state import Channel, Party, channel_id
from protocol.crypto.keys import ChannelSecrets
from protocol.errors import PeerFault
from protocol.features import Features
from protocol.funding import establishment, rules
from protocol.funding.messages import FromPeer, ToPeer
from protocol.funding.policy import OpeningPolicy
from protocol.funding.rows import (
    GROUPS,
    KEYS,
    NEGOTIATIONS,
    NEXT_KEY,
    OPENINGS,
    TEMPORARY,
    KeyIndex,
    Negotiation,
    Opening,
)
from protocol.machine import Moment, Step
from protocol.monitor.messages import Guard
from protocol.wallet.messages import NewScript, ReleaseCoins
from protocol.wire import setup
from protocol.wire.message import Message
from protocol.wire.opening import FundingCreated, OpenChannel

MAX_OF_PEER, MAX_NEGOTIATIONS, MAX_UNCONFIRMED = 4, 200, 400
PATIENCE_SECONDS = 120.0
LOST = "the connection to the peer was lost"


def upfront(theirs: Features, script: bytes | None) -> bytes | None:
    """ "MUST include upfront_shutdown_script" (it may be empty) when both know the option."""
    known = features.both(features.OUR_INIT, theirs, "option_upfront_shutdown_script")
    return (script or b"") if known else None


def purpose_of(item: Negotiation) -> str:
    """Under which name the wallet keeps what it gives for this negotiation."""
    return item.purpose or f"opening-{item.key_index}"


def by_channel(step: Step, peer: bytes, channel: bytes) -> Opening | None:
    """The durable opening of a channel with this peer, by the id that the wire gives it."""
    for _, row in OPENINGS.each(step):
        if row.channel_id == channel and row.peer == peer:
            return row
    return None


class Table:
    """The negotiations, and how they become durable."""

    def __init__(self, network: str, channel_secret: bytes, policy: OpeningPolicy) -> None:
        self.network, self.policy = network, policy
        self._master = channel_secret

    def secrets(self, index: int) -> ChannelSecrets:
        return ChannelSecrets(self._master, index)

    def next_index(self, step: Step, *, durable: bool) -> int:
        """Of the channel's secrets. One that only a peer has asked for costs no write: after a
        restart it may serve another channel, for the first one was forgotten."""
        stored = (KEYS.get(step) or KeyIndex(next=1)).next
        index = max(stored, NEXT_KEY.get(step) or 1)
        NEXT_KEY.put(step, index + 1)
        if durable:
            self.use_index(step, index)
        return index

    def use_index(self, step: Step, index: int) -> None:
        if (KEYS.get(step) or KeyIndex(next=1)).next <= index:
            KEYS.put(step, KeyIndex(next=index + 1))

    def keep(self, step: Step, item: Negotiation) -> None:
        NEGOTIATIONS.put(step, item, item.key_index)
        TEMPORARY.put(step, item.key_index, item.peer, item.temporary_id)

    def drop(self, step: Step, item: Negotiation) -> None:
        NEGOTIATIONS.drop(step, item.key_index)
        TEMPORARY.drop(step, item.peer, item.temporary_id)

    def find(self, step: Step, peer: bytes, temporary_id: bytes) -> Negotiation | None:
        """What this peer calls so."""
        index = TEMPORARY.get(step, peer, temporary_id)
        return None if index is None else NEGOTIATIONS.get(step, index)

    def send(self, step: Step, item: Negotiation, message: Message) -> None:
        raw = message.encode()
        step.tell("peers", ToPeer(peer=item.peer, message=raw, negotiation=item.temporary_id))

    def tell_peer(self, step: Step, item: Negotiation, text: str) -> None:
        error = setup.Error(channel_id=item.temporary_id, data=text.encode())
        step.tell("peers", ToPeer(peer=item.peer, message=error.encode()))

    def party(self, item: Negotiation, own_script: bytes | None = None) -> Party:
        """What we ask for in this channel."""
        asked = item.wanted
        return establishment.our_party(
            self.policy,
            self.secrets(item.key_index),
            item.opened.funding_satoshis,
            own_script=own_script,
            # "MUST set channel_reserve_satoshis greater than or equal to" the opener's dust limit
            least_reserve=0 if item.we_opened else item.opened.dust_limit_satoshis,
            reserve_sat=asked.reserve_sat if asked is not None else None,
        )

    def channel_ids(self, step: Step, *, but: int) -> set[bytes]:
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

    def funding_script(self, item: Negotiation) -> bytes:
        said = item.accepted if item.we_opened else item.opened
        assert said is not None
        return establishment.funding_script(self.party(item), establishment.their_party(said))

    def first(self, item: Negotiation, funding: Outpoint, own_script: bytes) -> Channel:
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
            ours=self.party(item, close_to or own_script),
            minimum_depth=max(least, depth),
            close_to=close_to,
        )

    def guard(self, step: Step, item: Negotiation, channel: Channel, record: Opening) -> None:
        """From here on the opening is durable; nothing has been broadcast or signed for them."""
        self.use_index(step, item.key_index)
        known = OPENINGS.get(step, item.key_index)
        assert known is None, "an opening is never overwritten"
        OPENINGS.put(step, record, item.key_index)
        self.drop(step, item)
        guard = Guard(channel=channel, since=record.since, address=item.address)
        step.deliver("monitors", guard)

    def record(self, step: Step, item: Negotiation, channel: Channel, purpose: str) -> Opening:
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
            script=self.funding_script(item),
            funding_txid=terms.funding_txid,
            funding_index=terms.funding_index,
            private=terms.private,
            anchors=terms.anchors,
            close_to=terms.close_to,
            since=tip.height if tip is not None else 0,
        )


class Accepter:
    """The side that is asked."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def on_open(self, step: Step, item: FromPeer, message: OpenChannel, at: Moment) -> None:
        """Raises `PeerFault`. Until the peer has signed, it costs us memory only, and little."""
        if self.table.find(step, item.peer, message.temporary_channel_id) is not None:
            raise PeerFault("open_channel with a temporary_channel_id in use")
        if TIP.get(step) is None:
            raise PeerFault("still reading the chain; try again")
        self._check_room(step, item.peer)
        kind = rules.check_open(message, self.table.network, self.table.policy, item.peer)
        rules.check_open_with(message, item.features)
        negotiation = Negotiation(
            temporary_id=message.temporary_channel_id,
            began=at.unix_seconds,
            peer=item.peer,
            features=item.features,
            we_opened=False,
            key_index=self.table.next_index(step, durable=False),
            opened=message,
            address=item.address,
        )
        secrets = self.table.secrets(negotiation.key_index)
        depth = self.table.policy.depth_for(message.funding_satoshis)
        answer = establishment.accept_channel(
            temporary_id=negotiation.temporary_id,
            depth=0 if rules.ZEROCONF in kind else depth,
            kind=kind,
            party=self.table.party(negotiation),
            first_point=secrets.commitment_point(0),
            upfront=upfront(item.features, None),
        )
        self.table.keep(step, negotiation.but(accepted=answer))
        self.table.send(step, negotiation, answer)

    def _check_room(self, step: Step, peer: bytes) -> None:
        """Openings are free for who asks, so they are few for each and for all together."""
        negotiations = [row.peer for _, row in NEGOTIATIONS.each(step)]
        unconfirmed = [
            row.peer
            for _, row in OPENINGS.each(step)
            if not row.we_opened and row.state in ("guarding", "confirming")
        ]
        of_peer = (negotiations + unconfirmed).count(peer)
        if of_peer >= MAX_OF_PEER:
            raise PeerFault("too many openings of yours are pending")
        known = any(
            row.peer == peer and row.state not in ("guarding", "confirming")
            for _, row in OPENINGS.each(step)
        )
        full = len(negotiations) >= MAX_NEGOTIATIONS or len(unconfirmed) >= MAX_UNCONFIRMED
        if full and not known:
            raise PeerFault("too many openings are pending; try again later")

    def on_created(self, step: Step, item: Negotiation, message: FundingCreated) -> None:
        """The wallet gives the script that our side is paid to in the end. Raises `PeerFault`."""
        if item.we_opened or item.created is not None:
            raise PeerFault("funding_created that nobody asked for")
        funding = Outpoint(message.funding_txid, message.funding_output_index)
        self._check_free(step, item, funding)
        channel = self.table.first(item, funding, b"")
        establishment.check_first(channel, self.table.secrets(item.key_index), message.signature)
        self.table.keep(step, item.but(created=message))
        step.tell("wallet", NewScript(purpose=purpose_of(item)))

    def _check_free(self, step: Step, item: Negotiation, funding: Outpoint) -> None:
        """Nobody else's output, least of all one that we have just told this peer of. A channel id
        is the txid XORed with the output's index: of every output there are twins in transactions
        that are easily invented, so that it is the id that has to be free. Raises `PeerFault`."""
        groups = [group.raw for group in GROUPS.below(step).values()]
        ours = {parse(raw).txid for raw in groups if raw is not None}
        ours |= {row.funding_txid for _, row in OPENINGS.each(step) if row.we_opened}
        taken = self.table.channel_ids(step, but=item.key_index)
        if channel_id(funding) in taken or funding.txid in ours:
            raise PeerFault("funding_created for an output that is in use")

    def script(self, step: Step, item: Negotiation, script: bytes) -> None:
        """All is there: the opening becomes durable. Raises `PeerFault`."""
        created = item.created
        if created is None:
            return
        secrets = self.table.secrets(item.key_index)
        funding = Outpoint(created.funding_txid, created.funding_output_index)
        self._check_free(step, item, funding)
        channel = self.table.first(item, funding, script)
        channel = establishment.check_first(channel, secrets, created.signature)
        record = self.table.record(step, item, channel, purpose_of(item))
        signature = establishment.sign_first(channel, secrets)
        self.table.guard(step, item, channel, record.but(signature=signature))

    def ask_wallet(self, step: Step, item: Negotiation) -> None:
        """The wallet has restarted; it gives the same answer twice."""
        if item.created is not None:
            step.tell("wallet", NewScript(purpose=purpose_of(item)))

    def abandon(self, step: Step, item: Negotiation) -> None:
        self.table.drop(step, item)
        if item.created is not None:
            step.tell("wallet", ReleaseCoins(purpose=purpose_of(item)))
