"""BOLT 7, announcement_signatures: each end's half of the proof that the channel exists.

Ours is made anew whenever it is due, theirs is kept with the channel: nothing is lost by a restart
of either side. Who lacks the other's half says its own; who hears one answers with its own.
"""

from __future__ import annotations

from protocol.channel import proof
from protocol.channel.living import Turn
from protocol.channel.messages import FundingBuried
from protocol.channel.proof import Half, Side
from protocol.channel.state import Channel
from protocol.errors import PeerFault
from protocol.wire.gossip import AnnouncementSignatures, ChannelAnnouncement


def sides(turn: Turn) -> tuple[Side, Side]:
    """Ours and theirs."""
    terms = turn.channel.setup
    ours = Side(node_id=turn.node.id, funding_key=terms.ours.basepoints.funding)
    return ours, Side(node_id=terms.peer, funding_key=terms.theirs.basepoints.funding)


def _announcement(turn: Turn, scid: bytes) -> ChannelAnnouncement:
    return proof.unsigned(turn.node.chain_hash, scid, *sides(turn))


def _is_good(turn: Turn, scid: bytes, half: Half) -> bool:
    return proof.half_is_good(_announcement(turn, scid), sides(turn)[1], half)


def may_be_announced(channel: Channel) -> bool:
    """ "After channel_ready has been sent and received AND ... enough confirmations"."""
    core = channel.core
    return not channel.setup.private and core.buried is not None and core.usable


def buried(turn: Turn, item: FundingBuried) -> None:
    """A half that came early is looked at only now: it names the place of the funding output.

    One that does not fit is dropped, and asked for by saying our own.
    """
    core = turn.channel.core
    if core.buried == item.scid:
        return
    half = core.their_half
    if half is not None and not _is_good(turn, item.scid, half):
        half = None
    turn.live = turn.live.but(half_said=False)
    turn.set(turn.channel.with_core(buried=item.scid, their_half=half))


def on_announcement_signatures(turn: Turn, message: AnnouncementSignatures) -> None:
    """ "If it receives announcement_signatures: MUST respond with its own"."""
    core = turn.channel.core
    half = Half(
        scid=message.short_channel_id,
        node_signature=message.node_signature,
        bitcoin_signature=message.bitcoin_signature,
    )
    # "If the open_channel message has the announce_channel bit set ...; otherwise: MUST NOT send
    # the announcement_signatures message"
    if turn.channel.setup.private:
        raise PeerFault("announcement_signatures for a private channel", fatal=False)
    # "If the node_signature OR the bitcoin_signature is NOT correct: MAY send a warning and close
    # the connection, or send an error and fail the channel"
    if core.buried is not None and not _is_good(turn, core.buried, half):
        raise PeerFault("announcement_signatures do not fit the funding transaction", fatal=False)
    turn.live = turn.live.but(half_owed=True)
    if half != core.their_half:
        turn.set(turn.channel.with_core(their_half=half))


def say_half(turn: Turn) -> None:
    """Once on each connection: while theirs is missing, or in answer to it."""
    live, core = turn.live, turn.channel.core
    wanted = core.their_half is None or live.half_owed
    if live.half_said or not wanted or not may_be_announced(turn.channel):
        return
    assert core.buried is not None
    half = proof.sign_half(_announcement(turn, core.buried), turn.node.secret, turn.secrets.funding)
    turn.live = live.but(half_said=True)
    turn.send(
        AnnouncementSignatures(
            channel_id=turn.channel.id,
            short_channel_id=half.scid,
            node_signature=half.node_signature,
            bitcoin_signature=half.bitcoin_signature,
        )
    )
