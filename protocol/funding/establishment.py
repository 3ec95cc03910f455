"""BOLT 2, Channel Establishment v1: what is offered, what is accepted, the first commitments.

Pure functions for both roles; `protocol/funding/` decides when they are used.
"""

from __future__ import annotations

from typing import Any

from protocol import features
from protocol.bitcoin import script
from protocol.bitcoin.transaction import Outpoint, Transaction
from protocol.channel import commitments, formats, scripts, stages, state
from protocol.channel.state import Channel, Core, Fee, Funding, Party, Setup, Signed
from protocol.crypto.keys import Basepoints, ChannelSecrets
from protocol.features import Features
from protocol.funding.policy import DUST_LIMIT_SAT, OpeningPolicy
from protocol.networks import CHAIN_HASH
from protocol.wire.opening import ANNOUNCE_CHANNEL, AcceptChannel, OpenChannel


def our_party(
    policy: OpeningPolicy,
    secrets: ChannelSecrets,
    capacity_sat: int,
    *,
    own_script: bytes | None = None,
    least_reserve: int = 0,
    reserve_sat: int | None = None,
) -> Party:
    """ "MUST set channel_reserve_satoshis greater than or equal to dust_limit_satoshis".

    `own_script` is where our side of a closing goes when nobody says otherwise.
    """
    reserve = max(1000, capacity_sat * policy.reserve_percent // 100)
    reserve = reserve if reserve_sat is None else max(DUST_LIMIT_SAT, reserve_sat)
    return Party(
        dust_limit_sat=DUST_LIMIT_SAT,
        max_htlc_value_in_flight_msat=capacity_sat * 1000,
        channel_reserve_sat=max(reserve, least_reserve),
        htlc_minimum_msat=policy.htlc_minimum_msat,
        to_self_delay=policy.to_self_delay,
        max_accepted_htlcs=policy.max_accepted_htlcs,
        basepoints=secrets.basepoints,
        shutdown_script=own_script,
    )


def their_party(message: OpenChannel | AcceptChannel) -> Party:
    """What the peer has said of itself in open_channel or accept_channel."""
    return Party(
        dust_limit_sat=message.dust_limit_satoshis,
        max_htlc_value_in_flight_msat=message.max_htlc_value_in_flight_msat,
        channel_reserve_sat=message.channel_reserve_satoshis,
        htlc_minimum_msat=message.htlc_minimum_msat,
        to_self_delay=message.to_self_delay,
        max_accepted_htlcs=message.max_accepted_htlcs,
        basepoints=Basepoints(
            funding=message.funding_pubkey,
            revocation=message.revocation_basepoint,
            payment=message.payment_basepoint,
            delayed_payment=message.delayed_payment_basepoint,
            htlc=message.htlc_basepoint,
        ),
        shutdown_script=message.upfront_shutdown_script or None,
    )


def open_channel(
    *,
    network: str,
    temporary_id: bytes,
    amount_sat: int,
    push_msat: int,
    feerate_per_kw: int,
    kind: Features,
    announce: bool,
    party: Party,
    first_point: bytes,
    upfront: bytes | None,
) -> OpenChannel:
    """`upfront`: the shutdown script that we commit to; empty for none, None when nobody asks."""
    return OpenChannel(
        chain_hash=bytes.fromhex(CHAIN_HASH[network]),
        temporary_channel_id=temporary_id,
        funding_satoshis=amount_sat,
        push_msat=push_msat,
        feerate_per_kw=feerate_per_kw,
        channel_flags=ANNOUNCE_CHANNEL if announce else 0,
        first_per_commitment_point=first_point,
        channel_type=features.encode(kind),
        upfront_shutdown_script=upfront,
        **_fields(party),
    )


def accept_channel(
    *,
    temporary_id: bytes,
    depth: int,
    kind: Features,
    party: Party,
    first_point: bytes,
    upfront: bytes | None,
) -> AcceptChannel:
    """The answer to an open_channel that we take."""
    return AcceptChannel(
        temporary_channel_id=temporary_id,
        minimum_depth=depth,
        first_per_commitment_point=first_point,
        channel_type=features.encode(kind),
        upfront_shutdown_script=upfront,
        **_fields(party),
    )


def _fields(party: Party) -> dict[str, Any]:
    points = party.basepoints
    return {
        "dust_limit_satoshis": party.dust_limit_sat,
        "max_htlc_value_in_flight_msat": party.max_htlc_value_in_flight_msat,
        "channel_reserve_satoshis": party.channel_reserve_sat,
        "htlc_minimum_msat": party.htlc_minimum_msat,
        "to_self_delay": party.to_self_delay,
        "max_accepted_htlcs": party.max_accepted_htlcs,
        "funding_pubkey": points.funding,
        "revocation_basepoint": points.revocation,
        "payment_basepoint": points.payment,
        "delayed_payment_basepoint": points.delayed_payment,
        "htlc_basepoint": points.htlc,
    }


def funding_script(ours: Party, theirs: Party) -> bytes:
    """The output script (P2WSH) of the funding transaction."""
    return script.p2wsh(scripts.funding(ours.basepoints.funding, theirs.basepoints.funding))


def find_output(tx: Transaction, form: bytes, amount_sat: int) -> int | None:
    """The index of the funding output; None when it is missing, short or to another script."""
    for index, out in enumerate(tx.outputs):
        if out.script == form and out.amount_sat == amount_sat:
            return index
    return None


def first_channel(
    *,
    opened: OpenChannel,
    accepted: AcceptChannel,
    funding: Outpoint,
    we_opened: bool,
    peer: bytes,
    key_index: int,
    ours: Party,
    minimum_depth: int,
    close_to: bytes | None = None,
) -> Channel:
    """The channel as it is before the first signature."""
    theirs_said = accepted if we_opened else opened
    amount_msat = opened.funding_satoshis * 1000
    own = amount_msat - opened.push_msat if we_opened else opened.push_msat
    kind = features.decode(opened.channel_type or b"")
    setup = Setup(
        channel_id=state.channel_id(funding),
        peer=peer,
        fundings=(
            Funding(txid=funding.txid, index=funding.vout, capacity_sat=opened.funding_satoshis),
        ),
        we_opened=we_opened,
        format_name=formats.of(kind).name,
        private=not opened.channel_flags & ANNOUNCE_CHANNEL,
        key_index=key_index,
        minimum_depth=minimum_depth,
        ours=ours,
        theirs=their_party(theirs_said),
        scid_alias=features.BIT["option_scid_alias"] in kind,
        close_to=close_to,
    )
    core = Core(
        update_id=0,
        ours_msat=own,
        theirs_msat=amount_msat - own,
        fees=(Fee(feerate_per_kw=opened.feerate_per_kw, stage=stages.COMMITTED),),
        our_number=0,
        signed=(),
        their_number=0,
        their_revoked=0,
        their_point=theirs_said.first_per_commitment_point,
        their_next_point=None,
    )
    return Channel(setup=setup, core=core, htlcs={})


def sign_first(channel: Channel, secrets: ChannelSecrets) -> bytes:
    """Our signature on their commitment 0."""
    return commitments.sign_theirs(channel, channel.core.their_point, secrets)[0]


def check_first(channel: Channel, secrets: ChannelSecrets, signature: bytes) -> Channel:
    """Their signature on our commitment 0, kept. Raises `PeerFault`."""
    commitments.check_ours(channel, secrets, signature, ())
    return channel.with_core(signed=(Signed(signature=signature),))
