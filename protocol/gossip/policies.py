"""What we ask for relaying over a channel of ours: its default, how it changes, how it is shown."""

from __future__ import annotations

from typing import Any

from protocol.gossip.announce import Policy
from protocol.gossip.messages import OwnTerms
from protocol.gossip.rows import Facts, Own
from protocol.machine import Step
from protocol.scid import scid_text

DELTA, BASE_MSAT, PPM = 80, 1000, 10


def tell_payments(step: Step, own: Own) -> None:
    """Fees and limits of a channel of ours, both directions."""
    facts = own.facts
    terms = OwnTerms(
        channel_id=facts.channel_id,
        scid=facts.scid,
        called=facts.called,
        peer=facts.theirs.node_id,
        public=facts.their_half is not None,
        ours=own.policy,
        theirs=own.theirs,
    )
    step.tell("payments", terms)


def changed(own: Own, params: dict[str, Any]) -> Policy:
    """What is not given stays as it is; limits stay within the channel's."""
    least = max(params.get("htlcmin", own.policy.htlc_minimum_msat), own.facts.least_msat)
    most = params.get("htlcmax", own.policy.htlc_maximum_msat)
    most = min(most, own.facts.most_msat, own.facts.capacity_sat * 1000)
    return own.policy.but(
        fee_base_msat=params.get("feebase", own.policy.fee_base_msat),
        fee_proportional_millionths=params.get("feeppm", own.policy.fee_proportional_millionths),
        htlc_minimum_msat=min(least, most),
        htlc_maximum_msat=most,
    )


def shown(own: Own) -> dict[str, object]:
    """A row of `setchannel`'s answer."""
    return {
        "peer_id": own.facts.theirs.node_id.hex(),
        "channel_id": own.facts.channel_id.hex(),
        "short_channel_id": scid_text(own.facts.scid),
        "fee_base_msat": own.policy.fee_base_msat,
        "fee_proportional_millionths": own.policy.fee_proportional_millionths,
        "ignore_fee_limits": True,
        "minimum_htlc_out_msat": own.policy.htlc_minimum_msat,
        "maximum_htlc_out_msat": own.policy.htlc_maximum_msat,
    }


def listed(policy: Policy) -> dict[str, int]:
    """A row of `listpeerchannels`' `updates`."""
    return {
        "htlc_minimum_msat": policy.htlc_minimum_msat,
        "htlc_maximum_msat": policy.htlc_maximum_msat,
        "cltv_expiry_delta": policy.cltv_expiry_delta,
        "fee_base_msat": policy.fee_base_msat,
        "fee_proportional_millionths": policy.fee_proportional_millionths,
    }


def default_policy(facts: Facts) -> Policy:
    """What a channel demands until `setchannel` says otherwise; never more than it holds."""
    return Policy(
        cltv_expiry_delta=DELTA,
        htlc_minimum_msat=facts.least_msat,
        htlc_maximum_msat=min(facts.most_msat, facts.capacity_sat * 1000),
        fee_base_msat=BASE_MSAT,
        fee_proportional_millionths=PPM,
    )
