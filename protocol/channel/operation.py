"""BOLT 2, Normal Operation: updates, commitment_signed, revoke_and_ack, both ways."""

from __future__ import annotations

from protocol.channel import commitments, limits, stages
from protocol.channel.headroom import Headroom
from protocol.channel.living import Turn, require
from protocol.channel.messages import FORWARD, AddHtlc, LearnedPreimage, ResolveHtlc, forward_hold
from protocol.channel.stages import Move
from protocol.channel.state import Channel, Fee, Htlc, Signed
from protocol.crypto import secp, shachain
from protocol.crypto.hashes import sha256
from protocol.errors import PeerFault, Refusal
from protocol.onion.failures import BADONION
from protocol.wire.commitment import (
    CommitmentSigned,
    RevokeAndAck,
    UpdateAddHtlc,
    UpdateFailHtlc,
    UpdateFailMalformedHtlc,
    UpdateFee,
    UpdateFulfillHtlc,
)
from protocol.wire.message import Message
from protocol.wire.opening import ChannelReady

# of update_fail_htlc, in bytes: BOLT 4 pads to 292, and leaves more to whoever wants it
MAX_REASON = 2048

# ---- what the peer says -------------------------------------------------------------------------


def on_channel_ready(turn: Turn, message: ChannelReady) -> None:
    """BOLT 2: "upon reconnection: MUST ignore any redundant channel_ready it receives"."""
    core = turn.channel.core
    alias = message.alias or core.their_alias
    if core.ready_received:
        if alias != core.their_alias:  # "MAY send multiple channel_ready ... with different alias"
            turn.set(turn.channel.with_core(their_alias=alias))
        return
    secp.check_point(message.second_per_commitment_point)
    turn.set(
        turn.channel.with_core(
            ready_received=True,
            their_next_point=message.second_per_commitment_point,
            their_alias=alias,
        )
    )


def on_add(turn: Turn, message: UpdateAddHtlc) -> None:
    """It is proposed; nothing of it is durable before a commitment_signed. Raises `PeerFault`."""
    core = turn.channel.core
    # not before both have said channel_ready, nor after the sender's shutdown
    require(core.ready_sent and core.ready_received, "update_add_htlc before channel_ready")
    require(core.their_shutdown is None, "update_add_htlc after shutdown")
    # from 0 on: "MUST increase the value of id by 1 for each successive offer"
    require(message.id == core.their_next_htlc, "update_add_htlc with an id out of order")
    htlc = Htlc(
        ours=False,
        id=message.id,
        amount_msat=message.amount_msat,
        payment_hash=message.payment_hash,
        cltv_expiry=message.cltv_expiry,
        onion=message.onion_routing_packet,
        stage=stages.PROPOSED,
    )
    limits.check_received(turn.channel, htlc)
    if limits.overflows_dust(turn.channel.with_htlc(htlc), htlc):
        htlc = htlc.but(dusty=True)
    added = turn.channel.with_htlc(htlc).with_core(their_next_htlc=message.id + 1)
    turn.set(added, dirty=False)


def _removable(turn: Turn, htlc_id: int) -> Htlc:
    """An HTLC of ours that the peer may remove now.

    "MUST NOT ... remove an HTLC until it's irrevocably committed in both sides' transactions."
    """
    htlc = turn.channel.htlcs.get(f"ours/{htlc_id}")
    if htlc is None or htlc.stage != stages.COMMITTED:
        raise PeerFault("removal of an HTLC that is not irrevocably committed")
    return htlc


def on_fulfill(turn: Turn, message: UpdateFulfillHtlc) -> None:
    """An HTLC of ours is paid: its preimage is told to the monitor at once. Raises `PeerFault`."""
    htlc = _removable(turn, message.id)
    # "if the payment_preimage value ... doesn't SHA256 hash to the corresponding HTLC payment_hash"
    require(
        sha256(message.payment_preimage) == htlc.payment_hash,
        "update_fulfill_htlc with a preimage that does not fit",
    )
    removed = htlc.but(stage=stages.REMOVING, preimage=message.payment_preimage)
    turn.set(turn.channel.with_htlc(removed), dirty=False)
    # a fact, at once: the preimage is worth money from now on, whatever happens to the channel
    turn.to_monitor.append(
        LearnedPreimage(
            channel_id=turn.channel.id, htlc_id=htlc.id, preimage=message.payment_preimage
        )
    )
    if htlc.origin.startswith(FORWARD):
        # the revoke_and_ack that lets us forget it waits until upstream has the preimage
        turn.live = turn.live.but(holds=turn.live.holds | {forward_hold(htlc.id)})


def on_fail(turn: Turn, message: UpdateFailHtlc) -> None:
    """An HTLC of ours has failed, for an encrypted reason. Raises `PeerFault`."""
    htlc = _removable(turn, message.id)
    # one that is far too long is no failure message of anybody's: it says nothing, and is not kept
    reason = message.reason if len(message.reason) <= MAX_REASON else b""
    removed = htlc.but(stage=stages.REMOVING, failure=reason)
    turn.set(turn.channel.with_htlc(removed), dirty=False)
    _not_fulfilled(turn, htlc)


def on_fail_malformed(turn: Turn, message: UpdateFailMalformedHtlc) -> None:
    """The peer could not read the onion of an HTLC of ours. Raises `PeerFault`."""
    htlc = _removable(turn, message.id)
    # "if the BADONION bit in failure_code is not set"
    require(
        bool(message.failure_code & BADONION),
        "update_fail_malformed_htlc without the BADONION bit",
    )
    _not_fulfilled(turn, htlc)
    malformed = (message.sha256_of_onion, message.failure_code)
    turn.set(
        turn.channel.with_htlc(htlc.but(stage=stages.REMOVING, malformed=malformed)), dirty=False
    )


def _not_fulfilled(turn: Turn, htlc: Htlc) -> None:
    """On an earlier connection the peer may have fulfilled it: that was forgotten on both sides."""
    turn.live = turn.live.but(holds=turn.live.holds - {forward_hold(htlc.id)})


def on_fee(turn: Turn, message: UpdateFee) -> None:
    """A new feerate is proposed by the opener. Raises `PeerFault`."""
    core = turn.channel.core
    # BOLT 2: "Once both nodes have exchanged channel_ready ..., the channel can be used"
    require(core.ready_sent and core.ready_received, "update_fee before channel_ready")
    limits.check_fee(turn.channel, message.feerate_per_kw)
    fee = Fee(feerate_per_kw=message.feerate_per_kw, stage=stages.PROPOSED)
    turn.set(turn.channel.with_core(fees=_with_fee(turn.channel, fee)), dirty=False)


def _with_fee(channel: Channel, fee: Fee) -> tuple[Fee, ...]:
    """A newer proposal takes the place of one that was not signed."""
    kept = tuple(item for item in channel.core.fees if item.stage != stages.PROPOSED)
    return (*kept, fee)


def on_commitment_signed(turn: Turn, message: CommitmentSigned) -> None:
    """Check, take the new commitment, revoke the old one: one durable step."""
    channel = turn.channel
    # BOLT 2: "Once both nodes have exchanged channel_ready ..., the channel can be used"
    require(channel.core.ready_sent and channel.core.ready_received, "commitment_signed too early")
    # it needs the point that our last revoke_and_ack carries, and that has not left yet
    require(
        channel.core.our_number == turn.live.persisted.core.our_number,
        "commitment_signed before our revoke_and_ack",
    )
    # "MUST NOT send a commitment_signed message that does not include any updates"
    require(commitments.something_to_verify(channel), "commitment_signed without any change")
    channel = commitments.advance(channel, Move.RECEIVE_COMMIT)
    number = channel.core.our_number + 1
    channel = channel.with_core(
        our_number=number,
        signed=(Signed(signature=message.signature, htlc_signatures=message.htlc_signatures),),
    )
    new_fee = commitments.feerate(channel.core, ours=True, we_opened=False) != commitments.feerate(
        turn.channel.core, ours=True, we_opened=False
    )
    limits.check_fee_is_paid(channel, new_fee=new_fee)
    commitments.check_ours(channel, turn.secrets, message.signature, message.htlc_signatures)
    channel = commitments.advance(channel, Move.SEND_REVOKE)
    turn.set(channel.with_core(commit_sent_last=False))
    turn.send(revocation(turn))


def revocation(turn: Turn) -> RevokeAndAck:
    """The revoke_and_ack for the commitment before our newest one."""
    number = turn.channel.core.our_number
    return RevokeAndAck(
        channel_id=turn.channel.id,
        per_commitment_secret=turn.secrets.commitment_secret(number - 1),
        next_per_commitment_point=turn.secrets.commitment_point(number + 1),
    )


def on_revoke_and_ack(turn: Turn, message: RevokeAndAck) -> None:
    """The peer's last commitment is void; what it covers moves on. Raises `PeerFault`."""
    channel, core = turn.channel, turn.channel.core
    # an answer to a commitment_signed of ours, and to nothing else
    require(core.awaiting_revoke, "revoke_and_ack that nobody asked for")
    # "if per_commitment_secret is not a valid secret key or does not generate the previous
    # per_commitment_point"
    try:
        revoked_point = secp.public_key(message.per_commitment_secret)
    except ValueError:
        raise PeerFault("revoke_and_ack with an impossible secret") from None
    require(revoked_point == core.their_point, "revoke_and_ack with a secret that does not fit")
    secp.check_point(message.next_per_commitment_point)
    # "if the per_commitment_secret was not generated by the protocol in BOLT #3"
    index = shachain.FIRST_INDEX - core.their_revoked
    secrets = shachain.insert(channel.secrets, index, message.per_commitment_secret)
    assert core.their_next_point is not None
    channel = channel.but(secrets=secrets).with_core(
        their_revoked=core.their_revoked + 1,
        their_point=core.their_next_point,
        their_next_point=message.next_per_commitment_point,
    )
    turn.set(commitments.advance(channel, Move.RECEIVE_REVOKE))


# ---- what we say --------------------------------------------------------------------------------


def propose(turn: Turn) -> None:
    """Send the updates that wait: removals first, then offers, then a new feerate."""
    if turn.channel.core.awaiting_revoke:
        return  # one open round at a time: what waits shares the next commitment
    resolutions = {
        key: item
        for key, item in turn.live.resolutions.items()
        if f"theirs/{key}" in turn.channel.htlcs
    }
    turn.live = turn.live.but(resolutions=resolutions)
    for settle in list(resolutions.values()):
        _propose_removal(turn, settle)
    known = {htlc.origin for htlc in turn.channel.htlcs.values() if htlc.ours}
    waiting = [offer for offer in turn.live.adds.values() if offer.origin not in known]
    if waiting and turn.height is not None:
        headroom = Headroom(turn.channel)
        for offer in waiting:
            _propose_offer(turn, headroom, offer)
    _propose_fee(turn)


def _propose_removal(turn: Turn, settle: ResolveHtlc) -> None:
    htlc = turn.channel.htlcs.get(f"theirs/{settle.htlc_id}")
    if htlc is None or htlc.stage != stages.COMMITTED:
        return
    removed = htlc.but(
        stage=stages.REMOVING,
        preimage=settle.preimage,
        failure=settle.failure,
        malformed=settle.malformed,
    )
    turn.set(turn.channel.with_htlc(removed), dirty=False)
    turn.send(removal(turn.channel, removed))


def removal(channel: Channel, htlc: Htlc) -> Message:
    """The message that removes an HTLC of theirs."""
    if htlc.preimage is not None:
        return UpdateFulfillHtlc(channel_id=channel.id, id=htlc.id, payment_preimage=htlc.preimage)
    if htlc.malformed is not None:
        digest, code = htlc.malformed
        return UpdateFailMalformedHtlc(
            channel_id=channel.id, id=htlc.id, sha256_of_onion=digest, failure_code=code
        )
    return UpdateFailHtlc(channel_id=channel.id, id=htlc.id, reason=htlc.failure or b"")


def _propose_offer(turn: Turn, headroom: Headroom, offer: AddHtlc) -> None:
    channel = turn.channel
    htlc = Htlc(
        ours=True,
        id=channel.core.our_next_htlc,
        amount_msat=offer.amount_msat,
        payment_hash=offer.payment_hash,
        cltv_expiry=offer.cltv_expiry,
        onion=offer.onion,
        stage=stages.PROPOSED,
        origin=offer.origin,
    )
    try:
        headroom.admit(htlc)
    except Refusal as refusal:
        refuse(turn, offer.origin, str(refusal), final=refusal.final)
        return
    turn.set(channel.with_htlc(htlc).with_core(our_next_htlc=htlc.id + 1), dirty=False)
    turn.send(addition(channel, htlc))


def addition(channel: Channel, htlc: Htlc) -> UpdateAddHtlc:
    """The message that offers an HTLC of ours."""
    return UpdateAddHtlc(
        channel_id=channel.id,
        id=htlc.id,
        amount_msat=htlc.amount_msat,
        payment_hash=htlc.payment_hash,
        cltv_expiry=htlc.cltv_expiry,
        onion_routing_packet=htlc.onion,
    )


def refuse(turn: Turn, origin: str, reason: str, *, final: bool) -> None:
    """The offer will not be carried out: the monitor is told with the next update."""
    adds = {key: offer for key, offer in turn.live.adds.items() if key != origin}
    refused = (*turn.live.refused, (origin, reason, final))
    turn.live = turn.live.but(adds=adds, refused=refused)


def _propose_fee(turn: Turn) -> None:
    wanted, channel = turn.live.feerate_wanted, turn.channel
    if wanted is None or not channel.setup.we_opened or not channel.core.usable:
        return
    now = commitments.newest_feerate(channel.core)
    far_off = wanted * 10 < now * 7 or wanted * 7 > now * 10
    if far_off and limits.may_raise_fee(channel, wanted):
        fee = Fee(feerate_per_kw=wanted, stage=stages.PROPOSED)
        turn.set(channel.with_core(fees=_with_fee(channel, fee)), dirty=False)
        turn.send(UpdateFee(channel_id=channel.id, feerate_per_kw=wanted))


def commit(turn: Turn) -> None:
    """One commitment_signed for everything proposed, if the last one is revoked."""
    core = turn.channel.core
    if core.awaiting_revoke or core.their_next_point is None:
        return
    if not commitments.something_to_sign(turn.channel):
        return
    channel = commitments.advance(turn.channel, Move.SEND_COMMIT)
    channel = channel.with_core(their_number=core.their_number + 1, commit_sent_last=True)
    turn.set(channel)
    committed = {htlc.origin for htlc in channel.htlcs.values() if htlc.ours}
    adds = {key: offer for key, offer in turn.live.adds.items() if key not in committed}
    turn.live = turn.live.but(adds=adds)
    turn.send(commitment_signed(turn))


def commitment_signed(turn: Turn) -> CommitmentSigned:
    """For their newest commitment: the same bytes however often it is made."""
    core = turn.channel.core
    assert core.their_next_point is not None and core.awaiting_revoke
    signature, htlc_signatures = commitments.sign_theirs(
        turn.channel, core.their_next_point, turn.secrets
    )
    return CommitmentSigned(
        channel_id=turn.channel.id, signature=signature, htlc_signatures=htlc_signatures
    )
