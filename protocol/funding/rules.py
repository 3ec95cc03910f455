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
    _require(message.chain_hash.hex() == CHAIN_HASH[network], "open_channel for another chain")
    _require(message.push_msat <= message.funding_satoshis * 1000, "push_msat above the amount")
    _require(message.funding_satoshis >= MIN_CHANNEL_SAT, "the channel is too small for us")
    _require(message.funding_satoshis <= ALL_MONEY_SAT, "there is not so much money")
    low, high = FEERATE_BOUNDS_PER_KW
    _require(low <= message.feerate_per_kw <= high, "the feerate is out of our bounds")
    _require(message.channel_type is not None, "open_channel without a channel_type")
    kind = features.decode(message.channel_type or b"")
    announce = bool(message.channel_flags & ANNOUNCE_CHANNEL)
    _require(is_known(kind, announce=announce), "a channel_type that we do not support")
    trusted = peer in policy.zeroconf_peers
    _require(ZEROCONF not in kind or trusted, "we do not trust you with an unconfirmed channel")
    cost = formats.of(kind).opener_cost_sat(message.feerate_per_kw, 0)
    own = message.funding_satoshis - message.push_msat // 1000
    _require(own >= cost, "the funder cannot afford the first commitment")
    _require(
        own - cost > message.channel_reserve_satoshis
        or message.push_msat // 1000 > message.channel_reserve_satoshis,
        "both balances would start below the reserve",
    )
    return kind


def check_open_with(message: OpenChannel, theirs: Features) -> None:
    """What depends on the peer's features. Raises `PeerFault`."""
    wumbo = _both(theirs, "option_support_large_channel")
    _require(message.funding_satoshis <= MAX_SMALL_CHANNEL_SAT or wumbo, "the channel is too large")
    _check_common(message, message.funding_satoshis, theirs)


def check_accept(message: AcceptChannel, sent: OpenChannel, party: Party, theirs: Features) -> None:
    """BOLT 2, accept_channel: raises `PeerFault`."""
    _require(message.minimum_depth <= 144, "minimum_depth is unreasonably large")
    _require(message.channel_type == sent.channel_type, "accept_channel with another channel_type")
    zeroconf = ZEROCONF in features.decode(sent.channel_type or b"")
    _require(message.minimum_depth == 0 or not zeroconf, "option_zeroconf with a minimum_depth")
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
    _require(message.to_self_delay <= MAX_TO_SELF_DELAY, "to_self_delay is too large")
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
    if upfront:
        any_segwit = _both(theirs, "option_shutdown_anysegwit")
        _require(
            script.is_standard_shutdown(upfront, any_segwit=any_segwit),
            "upfront_shutdown_script is not allowed",
        )
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
