"""The durable truth of each channel, and the watch over its funding output.

Owns: the channels (terms, balances, HTLCs, secrets), wishes that wait to be carried out,
preimages. Hears: numbered updates and preimages from the channel; wishes from payments, funding
and the API; spends from chain. Delivers: payments (HTLCs that arrived, ended or were refused),
funding, chain. Tells: the channel what is durable, what is wished, and all it needs to be born.
"""

from __future__ import annotations

from typing import assert_never

from protocol import machine as contract
from protocol.bitcoin.transaction import display, parse
from protocol.chain.messages import (
    TIP,
    Broadcast,
    GiveUp,
    Spent,
    Tip,
    TxConfirmed,
    TxReorged,
    Unwatch,
)
from protocol.channel import messages, mined
from protocol.channel.messages import ChannelEnded
from protocol.channel.state import Core, Setup, check_successor
from protocol.machine import Ask, Moment, Step
from protocol.monitor import announced, claims, closers, htlcs, onchain, resting, snapshot
from protocol.monitor.messages import (
    Addresses,
    Claim,
    ForgetUnfunded,
    Guard,
    Guarding,
    PeerAddress,
    Reborn,
    Release,
    ReportState,
    StateReported,
)
from protocol.monitor.rows import (
    ADDRESSES,
    ADDS,
    CLOSINGS,
    CORES,
    KEEPS,
    SETUPS,
    WATCHES,
    KnownAddress,
    Watch,
)
from protocol.monitor.rpc import closed_row, is_gone, listpeerchannels
from protocol.scid import is_alias
from protocol.wallet.messages import ScriptIs

HtlcWish = (
    messages.LearnedPreimage | messages.AddHtlc | messages.CancelAdd | messages.ResolveHtlc
    | Claim | Release
)  # fmt: skip
Heard = (
    HtlcWish | messages.Update | ReportState | Guard | ForgetUnfunded | messages.FundingConfirmed
    | messages.FundingBuried | Spent | TxConfirmed | TxReorged | ScriptIs | Tip | PeerAddress
    | Reborn | Ask
)  # fmt: skip


class Machine(contract.Machine):
    """The monitors' decisions; one process holds many channels, each under its own keys.

    `count` monitors share the channels; this is the one called `name`. The secret of all channels
    is for what is taken from a mined commitment.
    """

    hears = Heard
    keeps = KEEPS

    def __init__(self, name: str, count: int, channel_secret: bytes) -> None:
        self.name = name
        self.count = count
        self._master = channel_secret

    def resume(self, step: Step, name: str | None, at: Moment) -> None:
        match name:
            case "gossiper":
                announced.say_all(step, self.count)
            case "chain":
                onchain.watch_again(step)
            case "payments":
                claims.found(step)
            case "wallet":
                self._look_at_all(step)
            case "peers":
                for (cid,), watch in WATCHES.below(step).items():
                    resting.born(step, cid, watch)
                places = ADDRESSES.below(step).items()
                known = tuple(place.into(PeerAddress, node_id=node) for (node,), place in places)
                step.tell("peers", Addresses(known=known, of=self.count))

    def step(self, step: Step, sender: str, item: Heard, at: Moment) -> None:
        match item:
            case messages.Update():
                self._update(step, item)
            case (
                messages.LearnedPreimage() | messages.AddHtlc() | messages.CancelAdd()
                | messages.ResolveHtlc() | Claim() | Release()
            ):  # fmt: skip
                _htlc(step, item)
                onchain.look(step, item.channel_id, self._master)
                if isinstance(item, messages.LearnedPreimage):
                    resting.heard(step, item.channel_id, item)
            case ReportState():
                snapshot.tell_all(step)
                claims.found(step)
                htlcs.standing(step)
                step.deliver("payments", StateReported(of=self.count, used=snapshot.used(step)))
            case Guard():
                self._guard(step, item)
            case messages.FundingConfirmed():
                self._confirmed(step, item)
            case messages.FundingBuried():
                self._buried(step, item)
            case Spent():
                self._spent(step, item)
            case TxConfirmed() | TxReorged():
                for cid in onchain.deep(step, item):
                    onchain.look(step, cid, self._master)
            case ScriptIs():
                onchain.look(step, onchain.script_is(step, item), self._master)
            case PeerAddress():
                place = item.into(KnownAddress)
                if ADDRESSES.get(step, item.node_id) != place:
                    ADDRESSES.put(step, place, item.node_id)
            case Reborn():
                cid = item.channel_id
                watch = WATCHES.get(step, cid)
                if watch is not None:
                    resting.born(step, cid, watch)
            case ForgetUnfunded():
                self._forget(step, item)
            case Tip():
                TIP.put(step, item)
                self._look_at_all(step)
            case Ask():
                self._ask(step, item)
            case _:
                assert_never(item)

    def abandoned(self, step: Step, question: str, at: Moment) -> None:
        closers.abandoned(step, question)

    def aside(self, step: Step, sender: str, item: Heard, at: Moment) -> None:
        resting.aside(step, item)

    # ---- the channel's truth ----

    def _update(self, step: Step, update: messages.Update) -> None:
        cid = update.channel_id
        core = CORES.get(step, cid)
        durable = messages.Durable(channel_id=update.channel_id, update_id=update.update_id)
        watch = WATCHES.get(step, cid)
        if core is None or not resting.may_follow(watch, update):
            return  # forgotten; or it rests, and this follows from what was put aside
        if update.update_id <= core.update_id:
            step.tell("peers", durable)
            return
        # "ids never repeat and never skip": a gap is a defect, and nothing may be built on it
        assert update.update_id == core.update_id + 1, "a gap in the channel's updates"
        check_successor(core, update.core)
        snapshot.write(step, cid, update)
        resting.heard(step, cid, update)
        step.tell("peers", durable)
        if CLOSINGS.get(step, cid) is not None:
            onchain.look(step, cid, self._master)  # what was in flight when it was closed
            return
        if update.core.closing_tx not in (None, core.closing_tx):
            assert update.core.closing_tx is not None
            closing = Broadcast(purpose=f"{cid.hex()}/close", raw=update.core.closing_tx)
            step.deliver("chain", closing)
            step.log(f"channel={cid.hex()} closing transaction {display(parse(closing.raw).txid)}")
            closers.answer(step, cid, update.core.closing_tx)
        self._usable(step, cid, core, update.core)
        if announced.said_of(update.core) != announced.said_of(core):
            announced.say(step, cid)
        if update.core.failed is not None and core.failed is None:
            self._failed(step, cid, update.core)

    def _usable(self, step: Step, cid: bytes, before: Core, core: Core) -> None:
        watch = WATCHES.need(step, cid)
        if core.usable and not watch.usable_told:
            WATCHES.put(step, watch.but(usable_told=True), cid)
            step.deliver("funding", snapshot.usable(step, cid))
            step.deliver("payments", snapshot.usable(step, cid))
        elif core.usable and core.scid != before.scid:
            step.deliver("payments", snapshot.usable(step, cid))

    def _failed(self, step: Step, cid: bytes, core: Core) -> None:
        setup = SETUPS.need(step, cid)
        unplaced = core.scid is None or is_alias(core.scid)
        if unplaced and core.our_number == 0:
            # never funded as far as we know, and the peer has given it up: funding decides
            step.deliver("funding", _ended(setup, "failed"))
        resting.alarm(step, cid, f"the channel failed: {core.failed}")
        closers.refuse(step, cid, "the channel failed, so it cannot be closed together")

    # ---- the beginning ----

    def _guard(self, step: Step, item: Guard) -> None:
        channel = item.channel
        cid = channel.id
        known = SETUPS.get(step, cid)
        if known is not None and known != channel.setup:
            # the id of another channel, open or closed: nothing of that one may change
            step.deliver("funding", _ended(channel.setup, "duplicate"))
            return
        if WATCHES.get(step, cid) is None:
            SETUPS.put(step, channel.setup, cid)
            CORES.put(step, channel.core, cid)
            WATCHES.put(step, Watch(since=item.since), cid)
            if item.address is not None:
                host, port = item.address
                ADDRESSES.put(step, KnownAddress(host=host, port=port), channel.setup.peer)
            step.deliver("chain", onchain.funding_watch(channel.setup, item.since))
        step.tell("peers", messages.Born(channel=channel))
        address = ADDRESSES.get(step, channel.setup.peer)
        if address is not None:
            # peers may have started before this channel was known, and not have dialled for it
            step.tell("peers", address.into(PeerAddress, node_id=channel.setup.peer))
        step.deliver("funding", Guarding(key_index=channel.setup.key_index))

    def _confirmed(self, step: Step, item: messages.FundingConfirmed) -> None:
        cid, watch = item.channel_id, self._opened_by(step, item)
        if watch is not None:
            WATCHES.put(step, watch.but(confirmed=item.scid), cid)
            step.tell("peers", item)

    def _buried(self, step: Step, item: messages.FundingBuried) -> None:
        cid, watch = item.channel_id, self._opened_by(step, item)
        if watch is not None:
            WATCHES.put(step, watch.but(buried=item.scid), cid)
            step.tell("peers", item)

    @staticmethod
    def _opened_by(
        step: Step, item: messages.FundingConfirmed | messages.FundingBuried | ForgetUnfunded
    ) -> Watch | None:
        """The channel that funding means: another opening may have wanted the same id."""
        setup = SETUPS.get(step, item.channel_id)
        if setup is None or setup.key_index != item.key_index:
            return None
        return WATCHES.get(step, item.channel_id)

    # ---- the end ----

    def _look_at_all(self, step: Step) -> None:
        for (cid,) in CLOSINGS.below(step):
            onchain.look(step, cid, self._master)

    def _spent(self, step: Step, item: Spent) -> None:
        cid, what = onchain.told(item.reason)
        setup = SETUPS.get(step, cid)
        if setup is None:
            return
        if what != onchain.FUNDING:
            if onchain.output_spent(step, cid, item):
                onchain.look(step, cid, self._master)
        elif not resting.is_late(WATCHES.need(step, cid), item):
            self._ended(step, cid, setup, item)
        resting.heard(step, cid, item)

    def _ended(self, step: Step, cid: bytes, setup: Setup, spent: Spent) -> None:
        core, watch = CORES.need(step, cid), WATCHES.need(step, cid)
        tx = parse(spent.raw)
        # a shutdown script may be any: that of a commitment's output makes no closing together
        channel = snapshot.channel(step, cid)
        assert channel is not None
        agreed = {core.our_shutdown, core.their_shutdown} >= {out.script for out in tx.outputs}
        mutual = agreed and mined.number(channel, tx) is None
        how: messages.End = "mutual" if mutual else "unilateral"
        watch = watch.but(
            ended=how,
            ended_height=spent.height,
            spent_by=display(tx.txid),
        )
        WATCHES.put(step, watch, cid)
        if core.their_half is not None:  # there is nothing to announce any more
            CORES.put(step, core.but(their_half=None), cid)
        by = f"by {watch.spent_by} at height {spent.height}"
        step.log(f"channel={cid.hex()} peer={setup.peer.hex()} ended: {how}, {by}")
        # the peer's broadcast may be the first that we hear of the closing transaction
        closers.answer(step, cid, spent.raw, how)
        self._part(step, cid, setup, how)
        if core.closing_tx is not None and parse(core.closing_tx).txid != tx.txid:
            step.deliver("chain", GiveUp(purpose=f"{cid.hex()}/close"))
        if mutual:
            onchain.forget(step, cid)
        else:
            onchain.spent(step, channel, spent, self._master)
            onchain.look(step, cid, self._master)

    def _part(self, step: Step, cid: bytes, setup: Setup, reason: messages.End) -> None:
        """Nothing more is done off-chain: everybody is told, open wishes are refused."""
        step.tell("peers", messages.Ended(channel_id=setup.channel_id))
        ended = _ended(setup, reason)
        step.deliver("funding", ended)
        step.deliver("payments", ended)
        step.tell("gossiper", ended)
        for offer in ADDS.below(step, cid).values():
            htlcs.refuse(step, cid, offer.origin, "the channel is closed")

    def _forget(self, step: Step, item: ForgetUnfunded) -> None:
        """Funding says that this channel never got its money."""
        cid = item.channel_id
        watch = self._opened_by(step, item)
        if watch is None or watch.ended is not None:
            return
        self._part(step, cid, SETUPS.need(step, cid), "unfunded")
        closers.refuse(step, cid, "the channel was never funded")
        step.deliver("chain", Unwatch(reason=onchain.reason(cid, onchain.FUNDING)))
        # an opening that came to nothing leaves nothing: else free openings would fill the disk
        SETUPS.drop(step, cid)
        CORES.drop(step, cid)
        WATCHES.drop(step, cid)

    # ---- questions ----

    def _ask(self, step: Step, ask: Ask) -> None:
        match ask.method:
            case "close":
                closers.close(step, ask)
            case "listpeerchannels" | "listclosedchannels":
                self._list(step, ask)
            case _:
                step.unknown(ask)

    def _list(self, step: Step, ask: Ask) -> None:
        tip, rows = TIP.get(step), []
        shape = closed_row if ask.method == "listclosedchannels" else listpeerchannels
        for (cid,), watch in WATCHES.below(step).items():
            gone = is_gone(watch, tip.height if tip is not None else None)
            if watch.ended == "unfunded" or gone != (shape is closed_row):
                continue
            channel = snapshot.channel(step, cid)
            assert channel is not None
            rows.append(shape(channel, watch))
        step.answer(ask.id, rows)


def _ended(setup: Setup, reason: messages.End) -> ChannelEnded:
    return ChannelEnded(channel_id=setup.channel_id, key_index=setup.key_index, reason=reason)


def _htlc(step: Step, item: HtlcWish) -> None:
    """What payments and the channel say of HTLCs."""
    match item:
        case messages.LearnedPreimage():
            htlcs.learned(step, item)
        case messages.AddHtlc():
            htlcs.add(step, item)
        case messages.CancelAdd():
            htlcs.withdraw(step, item)
        case messages.ResolveHtlc() if item.preimage is not None:
            claims.settled_upstream(step, item)
        case messages.ResolveHtlc():
            htlcs.resolve(step, item)
        case Claim():
            claims.claim(step, item)
        case Release():
            claims.release(step, item)
        case _:
            assert_never(item)
