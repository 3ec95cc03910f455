"""BOLT 2, Message Retransmission: what to say again after a new connection."""

from __future__ import annotations

from protocol.channel import operation, stages
from protocol.channel.living import Turn, require
from protocol.channel.state import Channel
from protocol.crypto import shachain
from protocol.errors import PeerFault
from protocol.features import OUR_INIT, both
from protocol.scid import alias_of
from protocol.wire.commitment import ChannelReestablish, UpdateFee
from protocol.wire.message import Message
from protocol.wire.opening import ChannelReady
from protocol.wire.setup import Error

FELL_BEHIND = "we have lost data of this channel; please close it"


def on_connected(turn: Turn) -> None:
    """Say where we are; every other message waits for the peer's answer."""
    turn.live = turn.live.but(online=True)
    core = turn.channel.core
    if core.failed is not None:
        turn.send(Error(channel_id=turn.channel.id, data=core.failed.encode()))
        return
    turn.send(_ours(turn))


def _ours(turn: Turn) -> ChannelReestablish:
    core, channel = turn.channel.core, turn.channel
    last = _last_secret(channel)
    return ChannelReestablish(
        channel_id=channel.id,
        next_commitment_number=core.our_number + 1,
        next_revocation_number=core.their_revoked,
        your_last_per_commitment_secret=last,
        my_current_per_commitment_point=turn.secrets.commitment_point(core.our_number),
    )


def _last_secret(channel: Channel) -> bytes:
    revoked = channel.core.their_revoked
    if revoked == 0:
        return bytes(32)
    found = shachain.lookup(channel.secrets, shachain.FIRST_INDEX - (revoked - 1))
    assert found is not None
    return found


def on_reestablish(turn: Turn, message: ChannelReestablish) -> None:
    """Where the peer is: what it has not heard is said again. Raises `PeerFault`."""
    core = turn.channel.core
    _check_for_lost_data(turn, message)
    if turn.channel.core.failed is not None:
        return
    # "if next_commitment_number is zero: MUST immediately fail the channel"
    require(message.next_commitment_number > 0, "channel_reestablish with commitment number 0")
    # "if next_commitment_number is not equal to the commitment number of the next commitment_signed
    # that the receiving node would send: SHOULD send an error and fail the channel"
    owed_commit = core.awaiting_revoke and message.next_commitment_number == core.their_number
    require(
        owed_commit or message.next_commitment_number == core.their_number + 1,
        "channel_reestablish: the peer has lost a commitment that it had acknowledged",
    )
    # "if next_revocation_number is equal to the commitment number of the last revoke_and_ack the
    # receiving node sent, AND the receiving node hasn't already received a closing_signed: MUST
    # re-send the revoke_and_ack"; after one nobody owes a revocation, for the channel was empty
    owed_revoke = core.our_number > 0 and message.next_revocation_number == core.our_number - 1
    require(
        owed_revoke or message.next_revocation_number == core.our_number,
        "channel_reestablish: the peer has lost a revocation that it had acted upon",
    )
    turn.live = turn.live.but(established=True)
    # "if next_commitment_number is 1 in both the channel_reestablish it sent and received"
    if message.next_commitment_number == 1 and core.our_number == 0 and core.ready_sent:
        turn.send(channel_ready(turn))
    _retransmit(turn, owed_commit=owed_commit, owed_revoke=owed_revoke)


def _check_for_lost_data(turn: Turn, message: ChannelReestablish) -> None:
    """Option data_loss_protect: can the peer prove that we are behind?

    "MUST NOT broadcast its commitment transaction": `fell_behind` is durable and never cleared.
    """
    number, core = message.next_revocation_number, turn.channel.core
    if number == 0:
        return
    known = turn.secrets.commitment_secret(number - 1)
    # "if your_last_per_commitment_secret does not match the expected values: SHOULD send an error
    # and fail the channel"
    if known != message.your_last_per_commitment_secret:
        raise PeerFault("channel_reestablish with a wrong last secret")
    if number > core.our_number:
        turn.set(turn.channel.with_core(fell_behind=True))
        turn.fail(FELL_BEHIND)


def _retransmit(turn: Turn, *, owed_commit: bool, owed_revoke: bool) -> None:
    """ "MUST retransmit revoke_and_ack and commitment_signed in the same relative order"."""
    commit: list[Message] = []
    if owed_commit:
        commit = [*_updates(turn.channel), operation.commitment_signed(turn)]
    revoke: list[Message] = [operation.revocation(turn)] if owed_revoke else []
    revoke_first = turn.channel.core.commit_sent_last
    for message in revoke + commit if revoke_first else commit + revoke:
        turn.send(message)


def _updates(channel: Channel) -> list[Message]:
    """The updates that the unacknowledged commitment_signed covers."""
    messages: list[Message] = [
        UpdateFee(channel_id=channel.id, feerate_per_kw=fee.feerate_per_kw)
        for fee in channel.core.fees
        if channel.setup.we_opened and fee.stage == stages.SIGNED_FOR_THEM
    ]
    for htlc in sorted(channel.htlcs.values(), key=lambda item: item.id):
        if not htlc.ours and htlc.stage == stages.UNSIGNED_PROPOSER:
            messages.append(operation.removal(channel, htlc))
        elif htlc.ours and htlc.stage == stages.SIGNED_FOR_THEM:
            messages.append(operation.addition(channel, htlc))
    return messages


def channel_ready(turn: Turn) -> ChannelReady:
    """With an alias, if the peer knows what that is: it may be said again without harm."""
    known = both(OUR_INIT, turn.live.features, "option_scid_alias")
    return ChannelReady(
        channel_id=turn.channel.id,
        second_per_commitment_point=turn.secrets.commitment_point(1),
        alias=alias_of(turn.channel.id) if known else None,
    )
