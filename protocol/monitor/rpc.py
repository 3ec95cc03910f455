"""Channels as Core Lightning's `listpeerchannels` and `listclosedchannels` show them."""

from __future__ import annotations

from typing import Any

from protocol import features
from protocol.bitcoin import units
from protocol.bitcoin.transaction import display
from protocol.channel import commitments, stages
from protocol.channel.headroom import Headroom
from protocol.channel.state import Channel, Htlc
from protocol.gossip.policies import BASE_MSAT, PPM
from protocol.monitor.rows import Watch
from protocol.scid import alias_of, is_alias, scid_text

# stage of an HTLC that we offered, in Core Lightning's words
_OURS = (
    "SENT_ADD_HTLC", "SENT_ADD_COMMIT", "RCVD_ADD_REVOCATION", "RCVD_ADD_ACK_COMMIT",
    "SENT_ADD_ACK_REVOCATION", "RCVD_REMOVE_HTLC", "RCVD_REMOVE_COMMIT",
    "SENT_REMOVE_REVOCATION", "SENT_REMOVE_ACK_COMMIT", "RCVD_REMOVE_ACK_REVOCATION",
)  # fmt: skip
_SWAP = {"SENT": "RCVD", "RCVD": "SENT"}


def htlc_state(htlc: Htlc) -> str:
    """Core Lightning's name for the stage of an HTLC: the letters name who has to act."""
    name = _OURS[htlc.stage]
    return name if htlc.ours else _SWAP[name[:4]] + name[4:]


def state_name(channel: Channel, watch: Watch) -> str:
    """Core Lightning's name for where a channel stands."""
    core = channel.core
    if watch.ended is not None:
        return "ONCHAIN"
    if core.failed is not None:
        return "AWAITING_UNILATERAL"
    if core.closing_tx is not None:
        return "CLOSINGD_COMPLETE"
    if core.our_shutdown is not None or core.their_shutdown is not None:
        return "CLOSINGD_SIGEXCHANGE" if commitments.quiet(channel) else "CHANNELD_SHUTTING_DOWN"
    if core.ready_sent and core.ready_received:
        return "CHANNELD_NORMAL"
    return "CHANNELD_AWAITING_LOCKIN"


def _htlcs(channel: Channel) -> list[dict[str, Any]]:
    return [
        {
            "direction": "out" if htlc.ours else "in",
            "id": htlc.id,
            "amount_msat": htlc.amount_msat,
            "expiry": htlc.cltv_expiry,
            "payment_hash": htlc.payment_hash.hex(),
            "state": htlc_state(htlc),
        }
        for htlc in channel.htlcs.values()
        if htlc.stage < stages.GONE
    ]


def _status(channel: Channel, watch: Watch) -> str:
    """What the channel waits for, in words."""
    core = channel.core
    if watch.ended is not None:
        how = "closed together" if watch.ended == "mutual" else "closed alone"
        return f"{how} by {watch.spent_by}, mined at height {watch.ended_height}"
    if core.our_shutdown is not None or core.their_shutdown is not None:
        return f"waiting for {'HTLCs to end' if channel.htlcs else 'the closing transaction'}"
    if watch.confirmed is None:
        depth = channel.setup.minimum_depth
        return f"waiting for {depth} confirmations of the funding transaction"
    if not core.ready_received:
        return "waiting for the peer's channel_ready"
    if channel.setup.private or core.their_half is not None and core.buried is not None:
        return "ready for use"
    if core.buried is None:
        return "ready for use; waiting for the depth at which it may be announced"
    return "ready for use; waiting for the peer's announcement_signatures"


FORGOTTEN_DEPTH = 100  # a closed channel is a thing of the past then, as Core Lightning has it


def is_gone(watch: Watch, height: int | None) -> bool:
    """Whether it stands among the closed channels, and no more with its peer."""
    if watch.ended is None or height is None:
        return False
    return height - (watch.ended_height or 0) >= FORGOTTEN_DEPTH


def listpeerchannels(channel: Channel, watch: Watch) -> dict[str, Any]:
    """A monitor's part of a row of `listpeerchannels`; the API adds what others know."""
    setup, core = channel.setup, channel.core
    rate = commitments.feerate(core, ours=True, we_opened=setup.we_opened)
    room = Headroom(channel) if core.usable else None
    row: dict[str, Any] = {
        "peer_id": setup.peer.hex(),
        "peer_connected": False,
        "state": state_name(channel, watch),
        "channel_id": setup.channel_id.hex(),
        "funding_txid": display(setup.funding_txid),
        "funding_outnum": setup.funding_index,
        "private": setup.private,
        "opener": "local" if setup.we_opened else "remote",
        "channel_type": features.shown_type(setup.kind),
        "features": [features.name(bit) for bit in sorted(setup.kind)],
        "feerate": {"perkw": rate, "perkb": units.sat_per_kvb_of_per_kw(rate)},
        "total_msat": setup.capacity_sat * 1000,
        "to_us_msat": core.ours_msat,
        "min_to_us_msat": _or(core.least_msat, core.ours_msat),
        "max_to_us_msat": _or(core.most_msat, core.ours_msat),
        "fee_base_msat": BASE_MSAT,
        "fee_proportional_millionths": PPM,
        "their_to_self_delay": setup.theirs.to_self_delay,
        "our_to_self_delay": setup.ours.to_self_delay,
        "dust_limit_msat": setup.ours.dust_limit_sat * 1000,
        "our_reserve_msat": setup.theirs.channel_reserve_sat * 1000,
        "their_reserve_msat": setup.ours.channel_reserve_sat * 1000,
        "spendable_msat": room.spendable_msat if room is not None else 0,
        "receivable_msat": room.receivable_msat if room is not None else 0,
        "minimum_htlc_in_msat": setup.ours.htlc_minimum_msat,
        "minimum_htlc_out_msat": setup.theirs.htlc_minimum_msat,
        "maximum_htlc_out_msat": setup.theirs.max_htlc_value_in_flight_msat,
        "our_max_htlc_value_in_flight_msat": setup.ours.max_htlc_value_in_flight_msat,
        "their_max_htlc_value_in_flight_msat": setup.theirs.max_htlc_value_in_flight_msat,
        "max_accepted_htlcs": setup.ours.max_accepted_htlcs,
        "htlcs": _htlcs(channel),
        "status": [_status(channel, watch)],
    }
    row |= _places(channel)
    if setup.close_to is not None:
        row["close_to"] = setup.close_to.hex()
    if core.closing_tx is not None or watch.spent_by is not None:
        row["closer"] = "local" if watch.close is not None else "remote"
    if watch.alarm is not None:
        row["status"] = [watch.alarm]
    return row


def _or(known: int | None, now: int) -> int:
    """A channel that has not changed yet has no range."""
    return now if known is None else known


def _places(channel: Channel) -> dict[str, Any]:
    """Where it is, and how it is called."""
    core, shown = channel.core, {"alias": {"local": scid_text(alias_of(channel.id))}}
    if core.their_alias is not None:
        shown["alias"]["remote"] = scid_text(core.their_alias)
    if core.scid is not None and not is_alias(core.scid):
        return {"short_channel_id": scid_text(core.scid), **shown}
    return shown


def closed_row(channel: Channel, watch: Watch) -> dict[str, Any]:
    """A row of `listclosedchannels`."""
    setup, core = channel.setup, channel.core
    cause = "local" if watch.close is not None else "remote"
    return {
        **_places(channel),
        "channel_type": features.shown_type(setup.kind),
        "closer": cause,
        "total_htlcs_sent": core.our_next_htlc,
        "min_to_us_msat": _or(core.least_msat, core.ours_msat),
        "max_to_us_msat": _or(core.most_msat, core.ours_msat),
        "funding_withheld": False,
        "peer_id": setup.peer.hex(),
        "channel_id": setup.channel_id.hex(),
        "opener": "local" if setup.we_opened else "remote",
        "private": setup.private,
        "total_local_commitments": core.our_number + 1,
        "total_remote_commitments": core.their_number + 1,
        "total_msat": setup.capacity_sat * 1000,
        "final_to_us_msat": core.ours_msat,
        "funding_txid": display(setup.funding_txid),
        "funding_outnum": setup.funding_index,
        "leased": False,
        "close_cause": {"mutual": cause, "unfunded": "protocol"}.get(watch.ended or "", "onchain"),
        "last_commitment_txid": watch.spent_by,
    }
