"""The opening side: one channel, or several in one funding transaction, negotiated side by side.

Every peer has accepted before coins are chosen, and every peer has signed
before anything is durable: then all the channels become so in one write. Who drops out before the
transaction is built is left out, if enough remain.
"""

from __future__ import annotations

from protocol import features
from protocol.bitcoin.transaction import Outpoint, display, parse
from protocol.chain.messages import TIP
from protocol.channel import formats
from protocol.errors import Refusal
from protocol.features import Features
from protocol.funding import establishment, negotiations, rules
from protocol.funding.messages import IsConnected, PeerState
from protocol.funding.negotiations import Funder, upfront
from protocol.funding.rows import (
    GROUPS,
    NEGOTIATIONS,
    OPENINGS,
    FailedOpening,
    Group,
    Negotiation,
    Opening,
    Wanted,
)
from protocol.machine import Ask, Moment, Step
from protocol.wallet.messages import (
    CoinsRefused,
    CoinsReserved,
    NewScript,
    ReleaseCoins,
    ReserveCoins,
)
from protocol.wire.opening import AcceptChannel, FundingCreated, FundingSigned

NO_COINS, NOT_SENT, STILL_READING, NOT_THERE = 301, 303, 304, -1

# ---- the question ----


def ask(step: Step, ask: Ask, at: Moment) -> None:
    """A repeated question (its asker or we restarted) joins what is under way."""
    for group in GROUPS.below(step).values():
        if group.ask.id == ask.id:
            look_for_peers(step, group)
            return
    records = [row for row in OPENINGS.below(step).values() if row.ask == ask.id]
    if records:
        answer(step, records)
        return
    if TIP.get(step) is None:
        text = "still reading the chain; try again"
        step.refuse(ask.id, STILL_READING, text)
        return
    wanted = tuple(_wanted(item) for item in ask.params["destinations"])
    group = Group(
        purpose=at.entropy.hex(),
        ask=ask,
        wanted=wanted,
        members=(None,) * len(wanted),
        least=ask.params.get("least", len(wanted)),
    )
    GROUPS.put(step, group, group.purpose)
    look_for_peers(step, group)


def look_for_peers(step: Step, group: Group) -> None:
    """Those that are not negotiating yet, and have not failed."""
    failed = {failure.place for failure in group.failed}
    for place, item in enumerate(group.wanted):
        if group.members[place] is None and place not in failed:
            step.tell("peers", IsConnected(peer=item.peer, purpose=group.purpose, place=place))


def there(us: Funder, step: Step, item: PeerState, at: Moment) -> None:
    """The peer is connected: open_channel goes out."""
    group = GROUPS.get(step, item.purpose)
    failed = [] if group is None else [failure.place for failure in group.failed]
    if group is None or group.members[item.place] is not None or item.place in failed:
        return
    if item.absent:
        _failed(us, step, group, item.place, NOT_THERE, item.absent)
        return
    try:
        asked = rules.wanted(group.wanted[item.place], item.features)
    except Refusal as refusal:
        _failed(us, step, group, item.place, refusal.code, str(refusal))
        return
    _open(us, step, group, item, asked, at)


def _open(
    us: Funder,
    step: Step,
    group: Group,
    item: PeerState,
    asked: tuple[Wanted, Features],
    at: Moment,
) -> None:
    wanted, kind = asked
    index = negotiations.next_index(step, durable=True)
    secrets = us.secrets(index)
    party = establishment.our_party(
        us.policy, secrets, wanted.amount_sat, reserve_sat=wanted.reserve_sat
    )
    message = establishment.open_channel(
        network=us.network,
        temporary_id=at.entropy,
        amount_sat=wanted.amount_sat,
        push_msat=wanted.push_msat,
        feerate_per_kw=group.ask.params.get("commitment_feerate") or TIP.need(step).feerate_per_kw,
        kind=kind,
        announce=wanted.announce,
        party=party,
        first_point=secrets.commitment_point(0),
        upfront=upfront(item.features, wanted.close_to),
    )
    negotiation = Negotiation(
        temporary_id=at.entropy,
        began=at.unix_seconds,
        peer=item.peer,
        features=item.features,
        we_opened=True,
        key_index=index,
        opened=message,
        address=item.address,
        purpose=group.purpose,
        place=item.place,
        wanted=wanted,
    )
    negotiations.keep(step, negotiation)
    amount = f"{wanted.amount_sat} sat"
    step.log(f"opening={index} peer={item.peer.hex()}: a channel of {amount} is asked for")
    members = _with(group.members, item.place, index)
    GROUPS.put(step, group.but(members=members), group.purpose)
    negotiations.send(step, negotiation, message)


# ---- all together ----


def _members(step: Step, group: Group) -> list[Negotiation]:
    return [NEGOTIATIONS.need(step, index) for index in group.members if index is not None]


def advance(us: Funder, step: Step, group: Group) -> None:
    """The next step of all, when every member has done the last one."""
    members = _members(step, group)
    if len(members) + len(group.failed) < len(group.wanted):
        return
    if any(item.accepted is None for item in members):
        return
    if group.own_script is None:
        step.tell("wallet", NewScript(purpose=group.purpose))
    elif group.raw is None:
        GROUPS.put(step, group.but(asked=True), group.purpose)
        _reserve(us, step, group, members)
    elif all(item.signed for item in members):
        _guard(us, step, group, members)


def on_accept(us: Funder, step: Step, item: Negotiation, message: AcceptChannel) -> None:
    """accept_channel. Raises `PeerFault`."""
    rules.check_accept(message, item.opened, negotiations.party(us, item), item.features)
    negotiations.keep(step, item.but(accepted=message))
    advance(us, step, GROUPS.need(step, item.purpose))


def script(us: Funder, step: Step, group: Group, script: bytes) -> None:
    """The wallet has said where our side is paid to in the end."""
    if group.own_script is None:
        group = group.but(own_script=script)
        GROUPS.put(step, group, group.purpose)
        advance(us, step, group)


def _reserve(us: Funder, step: Step, group: Group, members: list[Negotiation]) -> None:
    params = group.ask.params
    step.tell(
        "wallet",
        ReserveCoins(
            purpose=group.purpose,
            outputs=tuple(
                (negotiations.funding_script(us, item), item.opened.funding_satoshis)
                for item in members
            ),
            feerate_per_kw=params.get("feerate_per_kw") or TIP.need(step).feerate_per_kw,
            utxos=tuple(params.get("utxos", ())),
            minconf=params.get("minconf", 1),
        ),
    )


def coins(us: Funder, step: Step, item: CoinsReserved) -> None:
    """The transaction is there, and nobody has it: funding_created to every peer."""
    group = GROUPS.get(step, item.purpose)
    if group is None:
        step.tell("wallet", ReleaseCoins(purpose=item.purpose))
        return
    if group.raw is not None:
        return
    tx = parse(item.raw)
    paid = [(out.script, out.amount_sat) for out in tx.outputs]
    for member in _members(step, group):
        wanted = (negotiations.funding_script(us, member), member.opened.funding_satoshis)
        paid_once = paid.count(wanted)
        assert paid_once == 1, "the wallet built another transaction than was asked for"
    GROUPS.put(step, group.but(raw=item.raw), group.purpose)
    for member in _members(step, group):
        script = negotiations.funding_script(us, member)
        index = establishment.find_output(tx, script, member.opened.funding_satoshis)
        assert index is not None
        channel = negotiations.first(us, member, Outpoint(tx.txid, index), group.own_script or b"")
        if channel.id in negotiations.channel_ids(step, but=member.key_index):
            _abandon(step, group, "another channel has this channel's id", -1, "try again")
            return
        signature = establishment.sign_first(channel, us.secrets(member.key_index))
        created = FundingCreated(
            temporary_channel_id=member.temporary_id,
            funding_txid=tx.txid,
            funding_output_index=index,
            signature=signature,
        )
        negotiations.keep(step, member.but(channel=channel))
        negotiations.send(step, member, created)


def refused(step: Step, item: CoinsRefused) -> None:
    """The wallet has not enough."""
    group = GROUPS.get(step, item.purpose)
    if group is not None:
        why = "the opener has not enough coins"
        _abandon(step, group, item.reason, NO_COINS, why)


def on_signed(us: Funder, step: Step, item: Negotiation, message: FundingSigned) -> None:
    """funding_signed: when all have signed, all become durable. Raises `PeerFault`."""
    assert item.channel is not None
    secrets = us.secrets(item.key_index)
    channel = establishment.check_first(item.channel, secrets, message.signature)
    negotiations.keep(step, item.but(channel=channel, signed=True))
    advance(us, step, GROUPS.need(step, item.purpose))


def _guard(us: Funder, step: Step, group: Group, members: list[Negotiation]) -> None:
    """One write: all of these channels, or none."""
    for item in members:
        assert item.channel is not None and group.raw is not None
        record = negotiations.record(us, step, item, item.channel, group.purpose).but(
            raw=group.raw,
            ask=group.ask.id,
            several=group.ask.method == "multifundchannel",
            failed=group.failed,
        )
        negotiations.guard(step, item, item.channel, record)
    GROUPS.drop(step, group.purpose)


# ---- what goes wrong ----


def failed(us: Funder, step: Step, item: Negotiation, text: str, code: int = -1) -> None:
    """One negotiation is over; the others go on if they may."""
    negotiations.drop(step, item)
    group = GROUPS.get(step, item.purpose)
    if group is not None:
        group = group.but(members=_with(group.members, item.place, None))
        _failed(us, step, group, item.place, code, text)


def _failed(us: Funder, step: Step, group: Group, place: int, code: int, text: str) -> None:
    _log_failed(step, group.wanted[place].peer, text, code)
    failure = FailedOpening(place=place, peer=group.wanted[place].peer, code=code, text=text)
    group = group.but(failed=(*group.failed, failure))
    GROUPS.put(step, group, group.purpose)
    # a transaction that pays to all of them is made already: it must not be used for fewer
    if group.asked or len(group.wanted) - len(group.failed) < max(1, group.least):
        _abandon(step, group, text, code, "the opening was given up")
    else:
        advance(us, step, group)


def _abandon(step: Step, group: Group, text: str, code: int, to_peers: str) -> None:
    """Leaves nothing behind: coins are free again, the asker is told."""
    for item in _members(step, group):
        _log_failed(step, item.peer, text, code)
        negotiations.tell_peer(step, item, to_peers)
        negotiations.drop(step, item)
    GROUPS.drop(step, group.purpose)
    step.tell("wallet", ReleaseCoins(purpose=group.purpose))
    step.refuse(group.ask.id, code, text)


def ask_wallet(us: Funder, step: Step) -> None:
    """The wallet has restarted; it gives the same answer twice."""
    for group in GROUPS.below(step).values():
        if group.raw is None:
            advance(us, step, group)


def _log_failed(step: Step, peer: bytes, text: str, code: int) -> None:
    step.log(f"an opening with peer={peer.hex()} came to nothing: {text!r} (code {code})")


def _wanted(item: dict[str, object]) -> Wanted:
    kind = item.get("kind")
    close_to = item.get("close_to")
    return Wanted(
        peer=bytes.fromhex(str(item["id"])),
        amount_sat=int(str(item["amount_sat"])),
        push_msat=int(str(item.get("push_msat", 0))),
        announce=bool(item.get("announce", True)),
        close_to=bytes.fromhex(str(close_to)) if close_to else None,
        mindepth=item.get("mindepth"),  # type: ignore[arg-type]
        reserve_sat=item.get("reserve_sat"),  # type: ignore[arg-type]
        kind=frozenset(kind) if kind is not None else None,  # type: ignore[call-overload]
        up_to=bool(item.get("up_to", False)),
    )


def _with(members: tuple[int | None, ...], place: int, index: int | None) -> tuple[int | None, ...]:
    return (*members[:place], index, *members[place + 1 :])


def answer(step: Step, records: list[Opening]) -> None:
    """To who asked, when the chain has taken the transaction, or has said that it does not."""
    first = records[0]
    if first.ask and first.refused:
        text = f"the chain refuses the funding transaction now: {first.refused}"
        text += "; it will be sent again, so the channel stays"
        step.refuse(first.ask, NOT_SENT, text)
    if not first.ask or not first.sent:
        return
    rows = [
        {
            "id": record.peer.hex(),
            "outnum": record.funding_index,
            "channel_id": record.channel_id.hex(),
            "channel_type": features.shown_type(shown_kind(record)),
            "mindepth": record.minimum_depth,
            **({"close_to": record.close_to.hex()} if record.close_to else {}),
        }
        for record in records
    ]
    result: dict[str, object] = {"tx": first.raw.hex(), "txid": display(first.funding_txid)}
    if first.several:
        failed = [
            {
                "id": failure.peer.hex(),
                "method": "fundchannel_start",
                "error": {"code": failure.code, "message": failure.text},
            }
            for failure in first.failed
        ]
        step.answer(first.ask, result | {"channel_ids": rows, "failed": failed})
    else:
        del rows[0]["id"]
        step.answer(first.ask, result | rows[0])


def shown_kind(record: Opening) -> Features:
    """The channel_type, for the answer."""
    base = formats.BY_NAME[record.format_name].kind
    return base | ({rules.ZEROCONF} if record.zeroconf else frozenset())
