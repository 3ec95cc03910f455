"""The side that is asked for a channel (BOLT 2, Channel Establishment v1)."""

from __future__ import annotations

from protocol.bitcoin.transaction import Outpoint, parse
from protocol.chain.messages import TIP
from protocol.channel.state import channel_id
from protocol.errors import PeerFault
from protocol.funding import establishment, negotiations, rules
from protocol.funding.messages import FromPeer
from protocol.funding.negotiations import Funder, purpose_of, upfront
from protocol.funding.rows import GROUPS, NEGOTIATIONS, OPENINGS, Negotiation
from protocol.machine import Moment, Step
from protocol.wallet.messages import NewScript, ReleaseCoins
from protocol.wire.opening import FundingCreated, OpenChannel

MAX_OF_PEER, MAX_NEGOTIATIONS, MAX_UNCONFIRMED = 4, 200, 400


def on_open(us: Funder, step: Step, item: FromPeer, message: OpenChannel, at: Moment) -> None:
    """open_channel: accept_channel goes out, and nothing is durable yet. Raises `PeerFault`."""
    # "MUST ensure temporary_channel_id is unique from any other channel ID with the same peer"
    if negotiations.find(step, item.peer, message.temporary_channel_id) is not None:
        raise PeerFault("open_channel with a temporary_channel_id in use")
    # ours: since which block its output may be spent has to be known
    if TIP.get(step) is None:
        raise PeerFault("still reading the chain; try again")
    _check_room(step, item.peer)
    kind = rules.check_open(message, us.network, us.policy, item.peer)
    rules.check_open_with(message, item.features)
    negotiation = Negotiation(
        temporary_id=message.temporary_channel_id,
        began=at.unix_seconds,
        peer=item.peer,
        features=item.features,
        we_opened=False,
        key_index=negotiations.next_index(step, durable=False),
        opened=message,
        address=item.address,
    )
    secrets = us.secrets(negotiation.key_index)
    depth = us.policy.depth_for(message.funding_satoshis)
    answer = establishment.accept_channel(
        temporary_id=negotiation.temporary_id,
        depth=0 if rules.ZEROCONF in kind else depth,
        kind=kind,
        party=negotiations.party(us, negotiation),
        first_point=secrets.commitment_point(0),
        upfront=upfront(item.features, None),
    )
    negotiations.keep(step, negotiation.but(accepted=answer))
    negotiations.send(step, negotiation, answer)


def _check_room(step: Step, peer: bytes) -> None:
    """Opening costs the peer nothing, so pending openings are bounded per peer and in total."""
    negotiating = [row.peer for _, row in NEGOTIATIONS.each(step)]
    unconfirmed = [
        row.peer
        for _, row in OPENINGS.each(step)
        if not row.we_opened and row.state in ("guarding", "confirming")
    ]
    # ours, as below: bounds for what costs the peer nothing
    of_peer = (negotiating + unconfirmed).count(peer)
    if of_peer >= MAX_OF_PEER:
        raise PeerFault("too many openings of yours are pending")
    known = any(
        row.peer == peer and row.state not in ("guarding", "confirming")
        for _, row in OPENINGS.each(step)
    )
    full = len(negotiating) >= MAX_NEGOTIATIONS or len(unconfirmed) >= MAX_UNCONFIRMED
    if full and not known:
        raise PeerFault("too many openings are pending; try again later")


def on_created(us: Funder, step: Step, item: Negotiation, message: FundingCreated) -> None:
    """funding_created: the wallet is asked for the script that our side is paid to in the end.
    Raises `PeerFault`."""
    # nothing but accept_channel asks for it, and once
    if item.we_opened or item.created is not None:
        raise PeerFault("funding_created that nobody asked for")
    funding = Outpoint(message.funding_txid, message.funding_output_index)
    _check_free(step, item, funding)
    channel = negotiations.first(us, item, funding, b"")
    establishment.check_first(channel, us.secrets(item.key_index), message.signature)
    negotiations.keep(step, item.but(created=message))
    step.tell("wallet", NewScript(purpose=purpose_of(item)))


def _check_free(step: Step, item: Negotiation, funding: Outpoint) -> None:
    """Nobody else's output, least of all one that we have just told this peer of. A channel id
    is the txid XORed with the output's index: of every output there are twins in transactions
    that are easily invented, so that it is the id that has to be free. Raises `PeerFault`."""
    groups = [group.raw for group in GROUPS.below(step).values()]
    ours = {parse(raw).txid for raw in groups if raw is not None}
    ours |= {row.funding_txid for _, row in OPENINGS.each(step) if row.we_opened}
    taken = negotiations.channel_ids(step, but=item.key_index)
    if channel_id(funding) in taken or funding.txid in ours:
        raise PeerFault("funding_created for an output that is in use")


def script(us: Funder, step: Step, item: Negotiation, script: bytes) -> None:
    """All is there: the opening becomes durable. Raises `PeerFault`."""
    created = item.created
    if created is None:
        return
    secrets = us.secrets(item.key_index)
    funding = Outpoint(created.funding_txid, created.funding_output_index)
    _check_free(step, item, funding)
    channel = negotiations.first(us, item, funding, script)
    channel = establishment.check_first(channel, secrets, created.signature)
    record = negotiations.record(us, step, item, channel, purpose_of(item))
    signature = establishment.sign_first(channel, secrets)
    negotiations.guard(step, item, channel, record.but(signature=signature))


def ask_wallet(step: Step, item: Negotiation) -> None:
    """The wallet has restarted; it gives the same answer twice."""
    if item.created is not None:
        step.tell("wallet", NewScript(purpose=purpose_of(item)))


def abandon(step: Step, item: Negotiation) -> None:
    """Nothing of it is left."""
    negotiations.drop(step, item)
    if item.created is not None:
        step.tell("wallet", ReleaseCoins(purpose=purpose_of(item)))
