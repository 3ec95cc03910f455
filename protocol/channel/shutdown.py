"""BOLT 2, Channel Close: shutdown, then closing_signed or closing_complete."""

from __future__ import annotations

from protocol.bitcoin import script
from protocol.bitcoin.transaction import Transaction, TxOut, serialize, sighash
from protocol.channel import commitments, scripts, stages, transactions
from protocol.channel.living import ClosingNegotiation, Turn, require
from protocol.channel.state import Channel
from protocol.crypto import secp
from protocol.errors import PeerFault
from protocol.features import OUR_INIT, both
from protocol.wire.closing import ClosingComplete, ClosingSig, ClosingSigned, Shutdown

MIN_CLOSING_FEERATE_PER_KW = 253
RBF_SEQUENCE = 0xFFFFFFFD


def simple(turn: Turn) -> bool:
    """Whether closing_complete is spoken, not closing_signed."""
    return both(OUR_INIT, turn.live.features, "option_simple_close")


def on_shutdown(turn: Turn, message: Shutdown) -> None:
    """The peer wants to close: no HTLC of its own will come any more. Raises `PeerFault`."""
    channel = turn.channel
    # "that shutdown_scriptpubkey is not equal to scriptpubkey: ... MUST fail the connection"
    upfront = channel.setup.theirs.shutdown_script
    if upfront and message.scriptpubkey != upfront:
        raise PeerFault("shutdown with another script than agreed at the opening", fatal=False)
    # "if the scriptpubkey is not in one of the above forms: SHOULD send a warning"
    any_segwit = both(OUR_INIT, turn.live.features, "option_shutdown_anysegwit")
    form = message.scriptpubkey
    if not script.is_standard_shutdown(form, any_segwit=any_segwit, returns=simple(turn)):
        raise PeerFault("shutdown with a script that is not allowed", fatal=False)
    if channel.core.their_shutdown != message.scriptpubkey:
        turn.set(channel.with_core(their_shutdown=message.scriptpubkey))


def shutdown(turn: Turn) -> None:
    """Send `shutdown` when the operator or the peer wants to close.

    "MUST NOT send a shutdown if there are updates pending on the receiving node's commitment".
    """
    core, close = turn.channel.core, turn.live.close
    if core.our_shutdown is not None or (close is None and core.their_shutdown is None):
        return
    pending = any(
        htlc.ours and htlc.stage == stages.PROPOSED for htlc in turn.channel.htlcs.values()
    )
    upfront = turn.channel.setup.ours.shutdown_script
    wanted = close.script if close is not None else upfront
    if pending or wanted is None:
        return
    turn.set(turn.channel.with_core(our_shutdown=wanted))
    resend_shutdown(turn)


def resend_shutdown(turn: Turn) -> None:
    """Upon reconnection too: "if it has sent a previous shutdown: MUST retransmit"."""
    ours = turn.channel.core.our_shutdown
    if ours is not None:
        turn.send(Shutdown(channel_id=turn.channel.id, scriptpubkey=ours))


def negotiate(turn: Turn) -> None:
    """Start the negotiation once the channel is empty on both sides."""
    core, live = turn.channel.core, turn.live
    if core.our_shutdown is None or core.their_shutdown is None or live.negotiation is not None:
        return
    if not commitments.quiet(turn.channel):
        return
    if simple(turn):
        poor = core.theirs_msat // 1000 < 10 * _least_fee(turn)
        if live.close is not None or poor:  # who wants to close pays, if it can
            _send_closing_complete(turn)
    elif turn.channel.setup.we_opened:
        ideal, most = _our_fees(turn)
        turn.live = live.but(
            negotiation=ClosingNegotiation(our_fee_sat=ideal, our_range=(_least_fee(turn), most))
        )
        _send_closing_signed(turn, ideal)


# ---- closing_signed -----------------------------------------------------------------------------


def _scripts(channel: Channel) -> tuple[bytes, bytes]:
    core = channel.core
    assert core.our_shutdown is not None and core.their_shutdown is not None
    return core.our_shutdown, core.their_shutdown


def _fee_at(turn: Turn, feerate: int) -> int:
    return feerate * transactions.closing_weight(_scripts(turn.channel)) // 1000


def _least_fee(turn: Turn) -> int:
    return _fee_at(turn, MIN_CLOSING_FEERATE_PER_KW)


def _our_fees(turn: Turn) -> tuple[int, int]:
    """-> (the fee that we like, the most that we accept to pay), satoshi."""
    close = turn.live.close
    rate = close.feerate_per_kw if close else commitments.newest_feerate(turn.channel.core)
    ideal = max(_least_fee(turn), _fee_at(turn, rate))
    ceiling = turn.channel.core.ours_msat // 1000
    return min(ideal, ceiling), min(ideal + ideal // 10, ceiling)


def closing_tx(channel: Channel, fee_sat: int, leave_out: bytes | None = None) -> Transaction:
    """BOLT 3: the opener pays; an output below our own dust limit is left out, or one by wish."""
    ours_script, theirs_script = _scripts(channel)
    ours, theirs = channel.core.ours_msat // 1000, channel.core.theirs_msat // 1000
    if channel.setup.we_opened:
        ours -= fee_sat
    else:
        theirs -= fee_sat
    # BOLT 3: "MUST subtract the fee given by fee_satoshis from the output to the funder"
    require(ours >= 0 and theirs >= 0, "the closing fee is more than the opener owns")
    outputs = [
        TxOut(amount, form)
        for amount, form in ((ours, ours_script), (theirs, theirs_script))
        if form != leave_out
        and amount >= max(channel.setup.ours.dust_limit_sat, script.dust_limit_sat(form))
    ]
    return transactions.closing_transaction(channel.setup.funding, outputs)


def _digest(channel: Channel, tx: Transaction) -> bytes:
    setup = channel.setup
    code = scripts.funding(setup.ours.basepoints.funding, setup.theirs.basepoints.funding)
    return sighash(tx, 0, code, setup.capacity_sat)


def _signed(channel: Channel, tx: Transaction, ours: bytes, theirs: bytes) -> bytes:
    setup = channel.setup
    points = (setup.ours.basepoints.funding, setup.theirs.basepoints.funding)
    return serialize(tx.with_witness(0, transactions.funding_witness(points, (ours, theirs))))


def _send_closing_signed(turn: Turn, fee_sat: int) -> None:
    channel, negotiation = turn.channel, turn.live.negotiation
    assert negotiation is not None
    digest = _digest(channel, closing_tx(channel, fee_sat))
    turn.live = turn.live.but(negotiation=negotiation.but(our_fee_sat=fee_sat))
    turn.send(
        ClosingSigned(
            channel_id=channel.id,
            fee_satoshis=fee_sat,
            signature=secp.sign(turn.secrets.funding, digest),
            fee_range=negotiation.our_range,
        )
    )


def on_closing_signed(turn: Turn, message: ClosingSigned) -> None:
    """A fee is offered (legacy negotiation). Raises `PeerFault`."""
    channel = turn.channel
    core = channel.core
    # "Once shutdown is complete, the channel is empty of HTLCs ..., closing fee negotiation begins"
    ready = core.our_shutdown is not None and core.their_shutdown is not None
    require(ready and commitments.quiet(channel), "closing_signed before the channel was empty")
    tx = _variant(channel, message)
    digest = _digest(channel, tx)
    negotiation = turn.live.negotiation or _accepters_view(turn)
    turn.live = turn.live.but(negotiation=negotiation)
    agreed = _agree(negotiation, message)
    if agreed == message.fee_satoshis:
        ours = secp.sign(turn.secrets.funding, digest)
        # the point of no return of the channel: kept before our signature leaves
        closing = _signed(channel, tx, ours, message.signature)
        turn.set(channel.with_core(closing_tx=closing))
    if agreed != negotiation.our_fee_sat:
        _send_closing_signed(turn, agreed)


def _variant(channel: Channel, message: ClosingSigned) -> Transaction:
    """Which transaction did they sign? "MAY eliminate its own output"; small ones of ours too."""
    ours_script, theirs_script = _scripts(channel)
    small = channel.core.ours_msat // 1000 < channel.setup.theirs.dust_limit_sat
    for leave_out in (None, theirs_script, *((ours_script,) if small else ())):
        tx = closing_tx(channel, message.fee_satoshis, leave_out)
        point = channel.setup.theirs.basepoints.funding
        if tx.outputs and secp.verify(point, _digest(channel, tx), message.signature):
            return tx
    # "if the signature is not valid for either variant of closing transaction ..., MUST send a
    # warning and close the connection, or send an error and fail the channel"
    raise PeerFault("closing_signed with an invalid signature", fatal=False)


def _accepters_view(turn: Turn) -> ClosingNegotiation:
    """We do not pay: any fee that relays is fine."""
    most = turn.channel.core.theirs_msat // 1000
    # "The funder chooses a fee it thinks is fair ...; the other node then replies": it is the first
    if turn.channel.setup.we_opened:
        raise PeerFault("closing_signed from the accepter before ours", fatal=False)
    return ClosingNegotiation(our_range=(min(_least_fee(turn), most), most))


def _agree(negotiation: ClosingNegotiation, message: ClosingSigned) -> int:
    """The fee that we answer with; theirs when it is acceptable (BOLT 2, fee_range)."""
    assert negotiation.our_range is not None
    least, most = negotiation.our_range
    if message.fee_satoshis == negotiation.our_fee_sat or least <= message.fee_satoshis <= most:
        return message.fee_satoshis
    if message.fee_range is not None:
        low, high = max(least, message.fee_range[0]), min(most, message.fee_range[1])
        # "if there is no overlap between that and its own fee_range: SHOULD send a warning"
        if low > high:
            raise PeerFault("no closing fee lies in both our ranges", fatal=False)
        return min(max(message.fee_satoshis, low), high)
    previous = negotiation.our_fee_sat
    if previous is None:
        return min(max(message.fee_satoshis, least), most)
    # strictly between the two, as the old negotiation asks, and never more than we accept to pay
    between = (previous + message.fee_satoshis) // 2
    # "MUST propose a value 'strictly between' the received fee_satoshis and its previously-sent
    # fee_satoshis"
    if between == previous or not least <= between <= most:
        raise PeerFault("no closing fee that both accept", fatal=False)
    return between


# ---- closing_complete and closing_sig (option_simple_close) -------------------------------------


def _simple_tx(
    channel: Channel, message: ClosingComplete | ClosingSig, *, we_pay: bool, field: str
) -> Transaction:
    """The closer's transaction with the outputs that a TLV field names."""
    ours, theirs = channel.core.ours_msat // 1000, channel.core.theirs_msat // 1000
    closer, closee = (ours, theirs) if we_pay else (theirs, ours)
    outputs = []
    if field != "closee_output_only":
        # "OP_RETURN ... MUST set the closer's output amount to zero so that all funds go to fees"
        burnt = message.closer_scriptpubkey[:1] == b"\x6a"
        amount = 0 if burnt else closer - message.fee_satoshis
        outputs.append(TxOut(amount, message.closer_scriptpubkey))
    if field != "closer_output_only":
        outputs.append(TxOut(closee, message.closee_scriptpubkey))
    return transactions.closing_transaction(
        channel.setup.funding, outputs, locktime=message.locktime, sequence=RBF_SEQUENCE
    )


def _send_closing_complete(turn: Turn) -> None:
    channel = turn.channel
    ours_script, theirs_script = _scripts(channel)
    ours, theirs = channel.core.ours_msat // 1000, channel.core.theirs_msat // 1000
    fee = _our_fees(turn)[0]
    if fee < _least_fee(turn):
        turn.live = turn.live.but(negotiation=ClosingNegotiation())
        return  # we cannot pay for a transaction that relays: the peer closes
    message = ClosingComplete(
        channel_id=channel.id,
        closer_scriptpubkey=ours_script,
        closee_scriptpubkey=theirs_script,
        fee_satoshis=fee,
        locktime=0,
    )
    our_output = ours - fee >= script.dust_limit_sat(ours_script)
    their_output = theirs >= script.dust_limit_sat(theirs_script)
    fields = {
        (True, True): ("closer_output_only", "closer_and_closee_outputs")
        if channel.core.ours_msat >= channel.core.theirs_msat
        else ("closer_and_closee_outputs",),
        (True, False): ("closer_output_only",),
        (False, True): ("closee_output_only",),
    }.get((our_output, their_output), ())
    if not fields:
        turn.live = turn.live.but(negotiation=ClosingNegotiation())
        return  # nothing that we could claim: the peer closes
    signatures = {
        field: secp.sign(
            turn.secrets.funding,
            _digest(channel, _simple_tx(channel, message, we_pay=True, field=field)),
        )
        for field in fields
    }
    message = message.but(**signatures)
    turn.live = turn.live.but(negotiation=ClosingNegotiation(complete=message))
    turn.send(message)


def on_closing_complete(turn: Turn, message: ClosingComplete) -> None:
    """ "MUST sign and broadcast the corresponding closing transaction", then closing_sig."""
    channel = turn.channel
    # "Once shutdown is complete, the channel is empty of HTLCs"
    ready = channel.core.our_shutdown is not None and channel.core.their_shutdown is not None
    require(ready and commitments.quiet(channel), "closing_complete before the channel was empty")
    # "If closee_scriptpubkey does not match the last script it sent: SHOULD ignore
    # closing_complete, SHOULD send a warning, SHOULD close the connection"
    ours_script, _ = _scripts(channel)
    if message.closee_scriptpubkey != ours_script:
        raise PeerFault("closing_complete with another script than ours", fatal=False)
    # "If closer_scriptpubkey is invalid (as detailed in the shutdown requirements)"
    any_segwit = both(OUR_INIT, turn.live.features, "option_shutdown_anysegwit")
    form = message.closer_scriptpubkey
    if not script.is_standard_shutdown(form, any_segwit=any_segwit, returns=True):
        raise PeerFault("closing_complete with a script that is not allowed", fatal=False)
    # "If fee_satoshis is greater than the closer's outstanding balance"
    require(
        message.fee_satoshis <= channel.core.theirs_msat // 1000,
        "closing_complete with a fee above the closer's balance",
    )
    # "Select a signature for validation"
    if channel.core.ours_msat // 1000 < script.dust_limit_sat(ours_script):
        field = "closer_output_only"
    elif message.closer_and_closee_outputs is not None:
        field = "closer_and_closee_outputs"
    else:
        field = "closee_output_only"
    signature = getattr(message, field)
    # "If the selected signature field does not exist"
    require(signature is not None, "closing_complete without the signature that we need")
    tx = _simple_tx(channel, message, we_pay=False, field=field)
    digest = _digest(channel, tx)
    # "If the signature field is not valid for the corresponding closing transaction"
    good = secp.verify(channel.setup.theirs.basepoints.funding, digest, signature)
    require(good, "closing_complete with an invalid signature")
    ours = secp.sign(turn.secrets.funding, digest)
    closing = _signed(channel, tx, ours, signature)
    turn.set(channel.with_core(closing_tx=closing, their_shutdown=form))
    turn.send(
        ClosingSig(
            channel_id=channel.id,
            closer_scriptpubkey=message.closer_scriptpubkey,
            closee_scriptpubkey=message.closee_scriptpubkey,
            fee_satoshis=message.fee_satoshis,
            locktime=message.locktime,
        ).but(**{field: ours})
    )


def on_closing_sig(turn: Turn, message: ClosingSig) -> None:
    """The answer to our closing_complete: the channel can be closed. Raises `PeerFault`."""
    negotiation, channel = turn.live.negotiation, turn.channel
    sent = negotiation.complete if negotiation else None
    # an answer to nothing
    require(sent is not None, "closing_sig that nobody asked for")
    assert sent is not None
    # "If closer_scriptpubkey, closee_scriptpubkey, fee_satoshis or locktime don't match what was
    # sent in closing_complete"; "If tlvs does not contain exactly one signature"
    same = all(
        getattr(message, name) == getattr(sent, name)
        for name in ("closer_scriptpubkey", "closee_scriptpubkey", "fee_satoshis", "locktime")
    )
    fields = message.records()
    require(same and len(fields) == 1, "closing_sig does not fit our closing_complete")
    ours, theirs = getattr(sent, fields[0]), getattr(message, fields[0])
    # "If tlvs does not contain one of the TLV fields sent in closing_complete"
    require(ours is not None, "closing_sig for outputs that we did not offer")
    tx = _simple_tx(channel, message, we_pay=True, field=fields[0])
    # "If the signature field is not valid for the corresponding closing transaction"
    good = secp.verify(channel.setup.theirs.basepoints.funding, _digest(channel, tx), theirs)
    require(good, "closing_sig with an invalid signature")
    turn.set(channel.with_core(closing_tx=_signed(channel, tx, ours, theirs)))
