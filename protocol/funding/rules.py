"""BOLT 2, Channel Establishment v1: what we ask for, and what of the peer's we refuse."""

from __future__ import annotations

from protocol import features
from protocol.bitcoin import script
from protocol.channel import formats
from protocol.channel.state import Party
from protocol.crypto import secp
from protocol.errors import PeerFault, Refusal
from protocol.features import Features
from protocol.funding.establishment import their_party
from protocol.funding.policy import OpeningPolicy
from protocol.funding.rows import Wanted
from protocol.networks import CHAIN_HASH
from protocol.wire.opening import ANNOUNCE_CHANNEL, AcceptChannel, OpenChannel

MAX_SMALL_CHANNEL_SAT = (1 << 24) - 1
MIN_CHANNEL_SAT, ALL_MONEY_SAT = 10_000, 21_000_000 * 100_000_000
MAX_TO_SELF_DELAY = 2016
FEERATE_BOUNDS_PER_KW = (250, 100_000)
ALIAS, ZEROCONF = features.BIT["option_scid_alias"], features.BIT["option_zeroconf"]
FUNDING_MAX, FUNDING_FEW, FUNDING_CLOSE_TO = 300, 302, 313


def _both(theirs: Features, name: str) -> bool:
    return features.both(features.OUR_INIT, theirs, name)


# ---- what we ask for ---------------------------------------------------------------------------


def wanted(item: Wanted, theirs: Features) -> tuple[Wanted, Features]:
    """The channel that we may ask this peer for, and its type. Raises `Refusal`.

    Codes are Core Lightning's.
    """
    most = None if _both(theirs, "option_support_large_channel") else MAX_SMALL_CHANNEL_SAT
    if most is not None and item.amount_sat > most:
        if not item.up_to:
            raise Refusal(f"the amount exceeds {most} sat", code=FUNDING_MAX)
        item = item.but(amount_sat=most)
    if item.amount_sat < MIN_CHANNEL_SAT:
        raise Refusal(f"a channel has at least {MIN_CHANNEL_SAT} sat", code=FUNDING_FEW)
    if item.push_msat > item.amount_sat * 1000:
        raise Refusal("push_msat: more than the channel's amount", code=-32602)
    if item.reserve_sat is not None and item.reserve_sat > item.amount_sat // 5:
        raise Refusal("reserve: more than a fifth of the channel", code=-32602)
    if item.close_to is not None and not _both(theirs, "option_upfront_shutdown_script"):
        raise Refusal("close_to: the peer does not support it", code=FUNDING_CLOSE_TO)
    return item, _kind(item, theirs)


def _kind(item: Wanted, theirs: Features) -> Features:
    """The best type that both know, or the one that was asked for. Raises `Refusal`."""
    kind = item.kind
    if kind is None:
        anchors = _both(theirs, "option_anchors")
        kind = (formats.ANCHORS if anchors else formats.STATIC_REMOTEKEY).kind
        kind |= {ZEROCONF} if item.mindepth == 0 else frozenset()
    if ZEROCONF in kind and not _both(theirs, "option_zeroconf"):
        raise Refusal("mindepth: the peer does not open channels without confirmation", code=-32602)
    unknown = [bit for bit in kind if not features.has(theirs, features.name(bit))]
    if unknown or not is_known(kind, announce=item.announce):
        raise Refusal("channel_type: the peer or we do not support it", code=-32602)
    return kind


def is_known(kind: Features, *, announce: bool) -> bool:
    """A type that we can do. An alias hides where a channel is: it is never announced."""
    base = kind - {ALIAS, ZEROCONF}
    hidden = ALIAS in kind and announce
    return base == formats.of(base).kind and not hidden


# ---- what the peer asks for --------------------------------------------------------------------


def check_open(message: OpenChannel, network: str, policy: OpeningPolicy, peer: bytes) -> Features:
    """BOLT 2, open_channel: "The receiving node MUST fail the channel if". -> the channel type."""
    # "the chain_hash value is set to a hash of a chain that is unknown to the receiver"
    _require(message.chain_hash.hex() == CHAIN_HASH[network], "open_channel for another chain")
    # "push_msat is greater than funding_satoshis * 1000"
    _require(message.push_msat <= message.funding_satoshis * 1000, "push_msat above the amount")
    # ours: less could not pay for its own closing; and more than there is is a mistake
    _require(message.funding_satoshis >= MIN_CHANNEL_SAT, "the channel is too small for us")
    _require(message.funding_satoshis <= ALL_MONEY_SAT, "there is not so much money")
    # "it considers feerate_per_kw too small for timely processing or unreasonably large"
    low, high = FEERATE_BOUNDS_PER_KW
    _require(low <= message.feerate_per_kw <= high, "the feerate is out of our bounds")
    # "the channel_type is not suitable": accept_channel has to repeat it
    _require(message.channel_type is not None, "open_channel without a channel_type")
    kind = features.decode(message.channel_type or b"")
    announce = bool(message.channel_flags & ANNOUNCE_CHANNEL)
    _require(is_known(kind, announce=announce), "a channel_type that we do not support")
    # "includes option_zeroconf and it does not trust the sender to open an unconfirmed channel"
    trusted = peer in policy.zeroconf_peers
    _require(ZEROCONF not in kind or trusted, "we do not trust you with an unconfirmed channel")
    # "the funder's amount for the initial commitment transaction is not sufficient for full fee
    # payment"
    cost = formats.of(kind).opener_cost_sat(message.feerate_per_kw, 0)
    own = message.funding_satoshis - message.push_msat // 1000
    _require(own >= cost, "the funder cannot afford the first commitment")
    # "both to_local and to_remote amounts for the initial commitment transaction are less than or
    # equal to channel_reserve_satoshis"
    _require(
        own - cost > message.channel_reserve_satoshis
        or message.push_msat // 1000 > message.channel_reserve_satoshis,
        "both balances would start below the reserve",
    )
    return kind


def check_open_with(message: OpenChannel, theirs: Features) -> None:
    """What depends on the peer's features. Raises `PeerFault`."""
    # "funding_satoshis is greater than or equal to 2^24 and the receiver does not support
    # option_support_large_channel"
    wumbo = _both(theirs, "option_support_large_channel")
    _require(message.funding_satoshis <= MAX_SMALL_CHANNEL_SAT or wumbo, "the channel is too large")
    _check_common(message, message.funding_satoshis, theirs)


def check_accept(message: AcceptChannel, sent: OpenChannel, party: Party, theirs: Features) -> None:
    """BOLT 2, accept_channel: raises `PeerFault`."""
    # "if minimum_depth is unreasonably large: MAY fail the channel"
    _require(message.minimum_depth <= 144, "minimum_depth is unreasonably large")
    # "if channel_type does not match the channel_type from open_channel: MUST fail the channel"
    _require(message.channel_type == sent.channel_type, "accept_channel with another channel_type")
    # "if channel_type includes option_zeroconf: MUST set minimum_depth to zero"
    zeroconf = ZEROCONF in features.decode(sent.channel_type or b"")
    _require(message.minimum_depth == 0 or not zeroconf, "option_zeroconf with a minimum_depth")
    _check_common(message, sent.funding_satoshis, theirs)
    # "if channel_reserve_satoshis is less than dust_limit_satoshis within the open_channel message"
    _require(
        message.channel_reserve_satoshis >= party.dust_limit_sat,
        "channel_reserve_satoshis is below our dust limit",
    )
    # "if channel_reserve_satoshis from the open_channel message is less than dust_limit_satoshis"
    _require(
        party.channel_reserve_sat >= message.dust_limit_satoshis,
        "dust_limit_satoshis is above our reserve",
    )


def _check_common(message: OpenChannel | AcceptChannel, amount_sat: int, theirs: Features) -> None:
    # "to_self_delay is unreasonably large"
    _require(message.to_self_delay <= MAX_TO_SELF_DELAY, "to_self_delay is too large")
    # "max_accepted_htlcs is greater than 483"; with none there would be no payment
    _require(message.max_accepted_htlcs <= 483, "max_accepted_htlcs is above 483")
    _require(message.max_accepted_htlcs > 0, "max_accepted_htlcs of zero")
    # "dust_limit_satoshis is smaller than 354 satoshis"; one that is large makes fees of our HTLCs
    _require(message.dust_limit_satoshis >= 354, "dust_limit_satoshis is below 354")
    _require(message.dust_limit_satoshis <= 5000, "dust_limit_satoshis is too large")
    # "dust_limit_satoshis is greater than channel_reserve_satoshis"
    _require(
        message.dust_limit_satoshis <= message.channel_reserve_satoshis,
        "dust_limit_satoshis is above channel_reserve_satoshis",
    )
    # ours, as the next two: what would leave us a channel that carries nothing
    _require(
        message.channel_reserve_satoshis <= max(amount_sat // 5, 1000),
        "channel_reserve_satoshis is too large",
    )
    _require(message.htlc_minimum_msat <= amount_sat * 100, "htlc_minimum_msat is too large")
    _require(
        message.max_htlc_value_in_flight_msat >= min(amount_sat * 10, 1_000_000),
        "max_htlc_value_in_flight_msat is too small",
    )
    # "MUST set scriptpubkey in one of the following forms" (shutdown)
    upfront = message.upfront_shutdown_script
    if upfront:
        any_segwit = _both(theirs, "option_shutdown_anysegwit")
        _require(
            script.is_standard_shutdown(upfront, any_segwit=any_segwit),
            "upfront_shutdown_script is not allowed",
        )
    # "funding_pubkey, revocation_basepoint, htlc_basepoint, payment_basepoint, or
    # delayed_payment_basepoint are not valid secp256k1 pubkeys in compressed format"
    points = their_party(message).basepoints
    for point in (
        points.funding,
        points.revocation,
        points.payment,
        points.delayed_payment,
        points.htlc,
        message.first_per_commitment_point,
    ):
        secp.check_point(point)


def _require(condition: bool, text: str) -> None:
    if not condition:
        raise PeerFault(text)
