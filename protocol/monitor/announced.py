"""What the gossiper needs to know of our channels: facts, said anew at every start."""

from __future__ import annotations

from protocol.channel.state import Channel
from protocol.gossip.announce import Side
from protocol.gossip.items import OwnChannel


def facts(channel: Channel) -> OwnChannel | None:
    """None while it may not be announced: private, not deep enough, or without the peer's half."""
    setup, core = channel.setup, channel.core
    half = core.their_half
    if setup.private or core.buried is None or half is None or half.scid != core.buried:
        return None
    return OwnChannel(
        channel_id=channel.id,
        scid=core.buried,
        txid=setup.funding_txid,
        theirs=Side(node_id=setup.peer, funding_key=setup.theirs.basepoints.funding),
        their_half=half,
        key_index=setup.key_index,
        capacity_sat=setup.capacity_sat,
        least_msat=setup.theirs.htlc_minimum_msat,
        most_msat=min(setup.theirs.max_htlc_value_in_flight_msat, setup.capacity_sat * 1000),
    )
