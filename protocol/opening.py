"""BOLT 2, Channel Establishment v1: what is offered, what is accepted, the first commitments.

Pure functions for both roles; `protocol/funding/` decides when they are used.
"""

from __future__ import annotations

from typing import Any

from protocol import features
from protocol.bitcoin import script
from protocol.bitcoin.transaction import Outpoint, Transaction
from protocol.channel import commitments, scripts, stages, state, transactions
from protocol.channel.state import Channel, Core, Fee, Party, Setup
from protocol.crypto import secp
from protocol.crypto.keys import Basepoints, ChannelSecrets
from protocol.errors import PeerFault, Refusal
from protocol.features import Features
from protocol.values import Value
from protocol.wire.opening import ANNOUNCE_CHANNEL, AcceptChannel, OpenChannel

CHAIN_HASH = {
    "bitcoin": "6fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000",
    "testnet": "43497fd7f826957108f4a30fd9cec3aeba79972084e90ead01ea330900000000",
    "signet": "f61eee3b63a380a477a063af32b2bbc97c9ff9f01f2c4225e973988108000000",
    "regtest": "06226e46111a0b59caaf126043eb5bbf28c34f3a5e332a1fc7b2b73cf188910f",
}
MAX_SMALL_CHANNEL_SAT = (1 << 24) - 1
MIN_CHANNEL_SAT = 10_000
MAX_PUBLIC_TO_SELF_DELAY = 2016
DUST_LIMIT_SAT = 354
FEERATE_BOUNDS_PER_KW = (250, 100_000)


class Policy(Value, frozen=True, kw_only=True):
    """What we ask of every peer; delays and depths in blocks."""

    to_self_delay: int = 144
    max_accepted_htlcs: int = 483
    htlc_minimum_msat: int = 1
    minimum_depth: int = 1
    reserve_percent: int = 1


def our_party(
    policy: Policy,
    secrets: ChannelSecrets,
    capacity_sat: int,
    own_script: bytes | None,
    least_reserve: int = 0,
) -> Party:
    """ "MUST set channel_reserve_satoshis greater than or equal to dust_limit_satoshis"."""
    return Party(
        dust_limit_sat=DUST_LIMIT_SAT,
        max_htlc_value_in_flight_msat=capacity_sat * 1000,
        channel_reserve_sat=max(1000, least_reserve, capacity_sat * policy.reserve_percent // 100),
        htlc_minimum_msat=policy.htlc_minimum_msat,
        to_self_delay=policy.to_self_delay,
        max_accepted_htlcs=policy.max_accepted_htlcs,
        basepoints=secrets.basepoints,
        shutdown_script=own_script,
    )


def their_party(message: OpenChannel | AcceptChannel) -> Party:
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


def channel_type(ours: Features, theirs: Features) -> Features:
    """The best type that both know: anchors, else static_remotekey."""
    if features.both(ours, theirs, "option_anchors"):
        return features.TYPE_ANCHORS
    return features.TYPE_STATIC_REMOTEKEY


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
) -> OpenChannel:
    return OpenChannel(
        chain_hash=bytes.fromhex(CHAIN_HASH[network]),
        temporary_channel_id=temporary_id,
        funding_satoshis=amount_sat,
        push_msat=push_msat,
        feerate_per_kw=feerate_per_kw,
        channel_flags=ANNOUNCE_CHANNEL if announce else 0,
        first_per_commitment_point=first_point,
        channel_type=features.encode(kind),
        **_fields(party),
    )


def accept_channel(
    *, temporary_id: bytes, depth: int, kind: Features, party: Party, first_point: bytes
) -> AcceptChannel:
    return AcceptChannel(
        temporary_channel_id=temporary_id,
        minimum_depth=depth,
        first_per_commitment_point=first_point,
        channel_type=features.encode(kind),
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


def check_amount(amount_sat: int, ours: Features, theirs: Features) -> None:
    """Before we open. Raises `Refusal` with Core Lightning's codes."""
    if amount_sat < MIN_CHANNEL_SAT:
        raise Refusal(f"a channel has at least {MIN_CHANNEL_SAT} sat", code=302)
    wumbo = features.both(ours, theirs, "option_support_large_channel")
    if amount_sat > MAX_SMALL_CHANNEL_SAT and not wumbo:
        raise Refusal(f"the amount exceeds {MAX_SMALL_CHANNEL_SAT} sat", code=300)


def check_open(message: OpenChannel, network: str, ours: Features, theirs: Features) -> Features:
    """BOLT 2, open_channel: "The receiving node MUST fail the channel if". -> the channel type."""
    _require(message.chain_hash.hex() == CHAIN_HASH[network], "open_channel for another chain")
    _require(message.push_msat <= message.funding_satoshis * 1000, "push_msat above the amount")
    _require(message.funding_satoshis >= MIN_CHANNEL_SAT, "the channel is too small for us")
    wumbo = features.both(ours, theirs, "option_support_large_channel")
    _require(message.funding_satoshis <= MAX_SMALL_CHANNEL_SAT or wumbo, "the channel is too large")
    low, high = FEERATE_BOUNDS_PER_KW
    _require(low <= message.feerate_per_kw <= high, "the feerate is out of our bounds")
    _require(message.channel_type is not None, "open_channel without a channel_type")
    kind = features.decode(message.channel_type or b"")
    _require(
        kind in (features.TYPE_ANCHORS, features.TYPE_STATIC_REMOTEKEY),
        "a channel_type that we do not support",
    )
    _check_common(message, message.funding_satoshis, theirs)
    cost = _opener_cost(message.feerate_per_kw, anchors=features.ANCHORS in kind)
    own = message.funding_satoshis - message.push_msat // 1000
    _require(own >= cost, "the funder cannot afford the first commitment")
    _require(
        own - cost > message.channel_reserve_satoshis
        or message.push_msat // 1000 > message.channel_reserve_satoshis,
        "both balances would start below the reserve",
    )
    return kind


def check_accept(message: AcceptChannel, sent: OpenChannel, party: Party, theirs: Features) -> None:
    """BOLT 2, accept_channel: raises `PeerFault`."""
    _require(message.minimum_depth <= 144, "minimum_depth is unreasonably large")
    _require(message.channel_type == sent.channel_type, "accept_channel with another channel_type")
    _check_common(message, sent.funding_satoshis, theirs)
    _require(
        message.channel_reserve_satoshis >= party.dust_limit_sat,
        "channel_reserve_satoshis is below our dust limit",
    )
    _require(
        party.channel_reserve_sat >= message.dust_limit_satoshis,
        "dust_limit_satoshis is above our reserve",
    )


def _check_common(message: OpenChannel | AcceptChannel, amount_sat: int, theirs: Features) -> None:
    _require(message.to_self_delay <= MAX_PUBLIC_TO_SELF_DELAY, "to_self_delay is too large")
    _require(message.max_accepted_htlcs <= 483, "max_accepted_htlcs is above 483")
    _require(message.max_accepted_htlcs > 0, "max_accepted_htlcs of zero")
    _require(message.dust_limit_satoshis >= 354, "dust_limit_satoshis is below 354")
    _require(message.dust_limit_satoshis <= 5000, "dust_limit_satoshis is too large")
    _require(
        message.dust_limit_satoshis <= message.channel_reserve_satoshis,
        "dust_limit_satoshis is above channel_reserve_satoshis",
    )
    _require(
        message.channel_reserve_satoshis <= max(amount_sat // 5, 1000),
        "channel_reserve_satoshis is too large",
    )
    _require(message.htlc_minimum_msat <= amount_sat * 100, "htlc_minimum_msat is too large")
    _require(
        message.max_htlc_value_in_flight_msat >= min(amount_sat * 10, 1_000_000),
        "max_htlc_value_in_flight_msat is too small",
    )
    upfront = message.upfront_shutdown_script
    any_segwit = features.both(features.OUR_INIT, theirs, "option_shutdown_anysegwit")
    if upfront:
        _require(
            script.is_standard_shutdown(upfront, any_segwit=any_segwit),
            "upfront_shutdown_script is not allowed",
        )
    party = their_party(message)
    for point in (
        party.basepoints.funding,
        party.basepoints.revocation,
        party.basepoints.payment,
        party.basepoints.delayed_payment,
        party.basepoints.htlc,
        message.first_per_commitment_point,
    ):
        secp.check_point(point)


def _require(condition: bool, text: str) -> None:
    if not condition:
        raise PeerFault(text)


def _opener_cost(feerate: int, *, anchors: bool) -> int:
    fee = transactions.commitment_fee_sat(feerate, 0, anchors=anchors)
    return fee + (2 * scripts.ANCHOR_SAT if anchors else 0)


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
) -> Channel:
    """The channel as it is before the first signature."""
    theirs_said = accepted if we_opened else opened
    amount_msat = opened.funding_satoshis * 1000
    own = amount_msat - opened.push_msat if we_opened else opened.push_msat
    setup = Setup(
        channel_id=state.channel_id(funding),
        peer=peer,
        funding_txid=funding.txid,
        funding_index=funding.vout,
        capacity_sat=opened.funding_satoshis,
        we_opened=we_opened,
        anchors=features.ANCHORS in features.decode(opened.channel_type or b""),
        private=not opened.channel_flags & ANNOUNCE_CHANNEL,
        key_index=key_index,
        minimum_depth=max(1, accepted.minimum_depth),
        ours=ours,
        theirs=their_party(theirs_said),
    )
    core = Core(
        update_id=0,
        ours_msat=own,
        theirs_msat=amount_msat - own,
        fees=(Fee(feerate_per_kw=opened.feerate_per_kw, stage=stages.COMMITTED),),
        our_number=0,
        our_signature=bytes(64),
        our_htlc_signatures=(),
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
    return channel.with_core(our_signature=signature)
