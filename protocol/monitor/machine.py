"""The durable truth of each channel, and the watch over its funding output.

Owns: the channels (terms, balances, HTLCs, secrets), wishes that wait to be carried out,
preimages. Hears: numbered updates and preimages from the channel; wishes from payments, funding
and the API; spends from chain. Tells: payments (HTLCs that arrived, ended or were refused),
funding, chain. Says: the channel what is durable, what is wished, and all it needs to be born.
"""

from __future__ import annotations

from protocol.bitcoin.transaction import display, parse
from protocol.chain.items import Broadcast, Spent, Tip, Unwatch, WatchSpend
from protocol.channel import items, stages
from protocol.channel.state import Channel, Core, Htlc, Setup, check_successor, is_alias
from protocol.crypto import shachain
from protocol.gossip.items import OwnChannels
from protocol.machine import Answer, Ask, Moment, Step
from protocol.monitor import announced, closers
from protocol.monitor.items import (
    Addresses,
    ChannelEnded,
    ChannelUsable,
    Claim,
    ClaimKept,
    ForgetUnfunded,
    Guard,
    Guarding,
    HtlcArrived,
    HtlcEnded,
    HtlcRefused,
    PeerAddress,
    Preimage,
    Reborn,
    Secret,
    Watch,
)
from protocol.monitor.view import closed_row, listpeerchannels


class Machine:
    """The monitors' decisions; one process holds many channels, each under its own keys."""

    name = "monitors"

    def resume(self, step: Step, name: str | None, at: Moment) -> None:
        if name == "gossiper":
            alive = [key for key, watch in step.scan("watch/").items() if watch.ended is None]
            channels = [self.channel(step, key.removeprefix("watch/")) for key in alive]
            own = [announced.facts(channel) for channel in channels if channel is not None]
            step.say("gossiper", OwnChannels(all=tuple(item for item in own if item is not None)))
        if name != "peers":
            return
        for key, watch in step.scan("watch/").items():
            if watch.ended is None:
                step.say("peers", self._born(step, key.removeprefix("watch/"), watch))
        step.say("peers", Addresses(known=tuple(step.scan("address/").values())))

    def wake(self, step: Step, at: Moment) -> None:
        pass

    def drain(self, step: Step, at: Moment) -> None:
        pass

    def step(self, step: Step, sender: str, item: object, at: Moment) -> None:
        match item:
            case items.Update():
                self._update(step, item)
            case items.LearnedPreimage():
                self._learned(step, item)
            case items.Offer():
                step.put(f"offer/{item.channel_id.hex()}/{item.origin}", item)
                step.say("peers", item)
                self._refuse_if_ended(step, item)
            case items.Withdraw():
                key = f"offer/{item.channel_id.hex()}/{item.origin}"
                offer = step.get(key)
                if offer is not None:
                    step.put(key, offer.but(withdrawn=True))
                    step.say("peers", offer.but(withdrawn=True))
            case items.Settle():
                self._settle(step, item)
            case Claim():
                self._claim(step, item)
            case Guard():
                self._guard(step, item)
            case items.FundingLocked():
                self._locked(step, item)
            case items.FundingBuried():
                self._buried(step, item)
            case Spent():
                self._spent(step, item)
            case PeerAddress():
                if step.get(f"address/{item.node_id.hex()}") != item:
                    step.put(f"address/{item.node_id.hex()}", item)
            case Reborn():
                cid = item.channel_id.hex()
                watch = step.get(f"watch/{cid}")
                if watch is not None and watch.ended is None:
                    step.say("peers", self._born(step, cid, watch))
            case ForgetUnfunded():
                self._forget(step, item)
            case Tip():
                pass  # for those who enforce: nothing yet
            case Ask():
                self._ask(step, item)
            case _:
                raise AssertionError(type(item).__name__)

    # ---- the channel's truth ----

    def channel(self, step: Step, cid: str) -> Channel | None:
        """The whole channel from its rows."""
        setup, core = step.get(f"setup/{cid}"), step.get(f"core/{cid}")
        if setup is None or core is None:
            return None
        assert isinstance(setup, Setup) and isinstance(core, Core)
        secrets = list(shachain.EMPTY)
        for key, secret in step.scan(f"secret/{cid}/").items():
            secrets[int(key.rpartition("/")[2])] = (secret.index, secret.value)
        htlcs = {htlc.key: htlc for htlc in step.scan(f"htlc/{cid}/").values()}
        return Channel(setup=setup, core=core, htlcs=htlcs, secrets=tuple(secrets))

    def _born(self, step: Step, cid: str, watch: Watch) -> items.Born:
        channel = self.channel(step, cid)
        assert channel is not None
        locked = None
        if watch.locked is not None:
            locked = items.FundingLocked(channel_id=channel.id, scid=watch.locked)
        buried = None
        if watch.buried is not None:
            buried = items.FundingBuried(channel_id=channel.id, scid=watch.buried)
        return items.Born(
            channel=channel,
            offers=tuple(step.scan(f"offer/{cid}/").values()),
            settles=tuple(step.scan(f"settle/{cid}/").values()),
            close=watch.close,
            locked=locked,
            buried=buried,
        )

    def _update(self, step: Step, update: items.Update) -> None:
        cid = update.channel_id.hex()
        core = step.get(f"core/{cid}")
        durable = items.Durable(channel_id=update.channel_id, update_id=update.update_id)
        if core is None:
            return  # forgotten: there is nobody to answer to
        if update.update_id <= core.update_id:
            step.say("peers", durable)
            return
        # "ids never repeat and never skip": a gap is a defect, and nothing may be built on it
        assert update.update_id == core.update_id + 1, "a gap in the channel's updates"
        check_successor(core, update.core)
        self._write(step, cid, update)
        step.say("peers", durable)
        if update.core.closing_tx not in (None, core.closing_tx):
            assert update.core.closing_tx is not None
            step.tell("chain", Broadcast(raw=update.core.closing_tx))
            closers.answer(step, cid, update.core.closing_tx)
        self._usable(step, cid, update.core)
        if announced.said_of(update.core) != announced.said_of(core):
            self._announce(step, cid)
        if update.core.failed is not None and core.failed is None:
            self._failed(step, cid, update.core)

    def _write(self, step: Step, cid: str, update: items.Update) -> None:
        step.put(f"core/{cid}", update.core)
        for htlc in update.htlcs:
            self._htlc(step, cid, htlc)
        for key in update.gone:
            self._gone(step, cid, key)
        if update.secret is not None:
            bucket, index, value = update.secret
            step.put(f"secret/{cid}/{bucket}", Secret(index=index, value=value))
        for origin, reason, final in update.refused:
            self._refused(step, cid, origin, reason, final=final)

    def _htlc(self, step: Step, cid: str, htlc: Htlc) -> None:
        old = step.get(f"htlc/{cid}/{htlc.key}")
        step.put(f"htlc/{cid}/{htlc.key}", htlc)
        if htlc.ours and step.get(f"offer/{cid}/{htlc.origin}") is not None:
            step.drop(f"offer/{cid}/{htlc.origin}")
        was = old.stage if old is not None else stages.PROPOSED
        if not htlc.ours and was < stages.COMMITTED <= htlc.stage:
            step.tell(
                "payments",
                HtlcArrived(
                    channel_id=bytes.fromhex(cid),
                    htlc_id=htlc.id,
                    amount_msat=htlc.amount_msat,
                    payment_hash=htlc.payment_hash,
                    cltv_expiry=htlc.cltv_expiry,
                    onion=htlc.onion,
                ),
            )

    def _gone(self, step: Step, cid: str, key: str) -> None:
        """Irrevocably removed: tell how it ended, unless the preimage has been told already."""
        htlc = step.get(f"htlc/{cid}/{key}")
        step.drop(f"htlc/{cid}/{key}")
        if htlc is None:
            return
        if not htlc.ours:
            step.drop(f"settle/{cid}/{htlc.id}")
            return
        if step.get(f"preimage/{cid}/{htlc.id}") is not None:
            step.drop(f"preimage/{cid}/{htlc.id}")
        elif htlc.stage > stages.COMMITTED:
            step.tell(
                "payments",
                HtlcEnded(
                    origin=htlc.origin,
                    preimage=htlc.preimage,
                    failure=htlc.failure,
                    malformed=htlc.malformed,
                ),
            )

    def _learned(self, step: Step, item: items.LearnedPreimage) -> None:
        cid = item.channel_id.hex()
        htlc = step.get(f"htlc/{cid}/ours/{item.htlc_id}")
        key = f"preimage/{cid}/{item.htlc_id}"
        if htlc is None or step.get(key) is not None:
            return
        step.put(key, Preimage(value=item.preimage))
        step.tell("payments", HtlcEnded(origin=htlc.origin, preimage=item.preimage))

    def _refused(
        self, step: Step, cid: str, origin: str, reason: str, *, final: bool = True
    ) -> None:
        if step.get(f"offer/{cid}/{origin}") is not None:
            step.drop(f"offer/{cid}/{origin}")
            step.tell("payments", HtlcRefused(origin=origin, reason=reason, final=final))

    def _refuse_if_ended(self, step: Step, offer: items.Offer) -> None:
        watch = step.get(f"watch/{offer.channel_id.hex()}")
        if watch is None or watch.ended is not None:
            self._refused(step, offer.channel_id.hex(), offer.origin, "the channel is closed")

    def _usable(self, step: Step, cid: str, core: Core) -> None:
        watch = step.get(f"watch/{cid}")
        if core.usable and not watch.usable_told:
            step.put(f"watch/{cid}", watch.but(usable_told=True))
            setup = step.get(f"setup/{cid}")
            news = ChannelUsable(
                channel_id=setup.channel_id, peer=setup.peer, scid=core.scid or bytes(8)
            )
            step.tell("funding", news)
            step.tell("payments", news)

    def _failed(self, step: Step, cid: str, core: Core) -> None:
        setup = step.get(f"setup/{cid}")
        unplaced = core.scid is None or is_alias(core.scid)
        if unplaced and not setup.we_opened and core.our_number == 0:
            # never funded as far as we know, and the opener has given it up: funding decides
            step.tell("funding", ChannelEnded(channel_id=setup.channel_id, reason="failed"))
        self._alarm(step, cid, f"the channel failed: {core.failed}")
        closers.refuse(step, cid, "the channel failed, so it cannot be closed together")
        step.log(f"channel={cid} failed: {core.failed!r}")

    def _alarm(self, step: Step, cid: str, text: str) -> None:
        watch = step.get(f"watch/{cid}")
        step.put(f"watch/{cid}", watch.but(alarm=text))

    def _announce(self, step: Step, cid: str) -> None:
        channel = self.channel(step, cid)
        facts = announced.facts(channel) if channel is not None else None
        if facts is not None:
            step.say("gossiper", facts)

    # ---- wishes ----

    def _settle(self, step: Step, item: items.Settle) -> None:
        cid = item.channel_id.hex()
        known = step.get(f"settle/{cid}/{item.htlc_id}")
        alive = step.get(f"htlc/{cid}/theirs/{item.htlc_id}") is not None
        if alive and known is None:
            step.put(f"settle/{cid}/{item.htlc_id}", item)
            step.say("peers", item)

    def _claim(self, step: Step, item: Claim) -> None:
        """A fact: written at most once for each channel and part, never queued."""
        channels = tuple(dict.fromkeys(channel for channel, _ in item.parts))
        for channel_id in channels:
            for part, htlc_id in item.parts:
                if part == channel_id:
                    settle = items.Settle(channel_id=part, htlc_id=htlc_id, preimage=item.preimage)
                    self._settle(step, settle)
            if len(channels) > 1:
                # on one channel the settled HTLCs say it all; on several, each must know the rest
                step.put(f"claim/{channel_id.hex()}/{item.payment_id.hex()}", item)
            kept = ClaimKept(payment_id=item.payment_id, channel_id=channel_id)
            step.tell("payments", kept)

    def _guard(self, step: Step, item: Guard) -> None:
        channel = item.channel
        cid = channel.id.hex()
        known = step.get(f"setup/{cid}")
        if known is not None and known != channel.setup:
            # the id of another channel, open or closed: nothing of that one may change
            ended = ChannelEnded(channel_id=channel.id, reason="duplicate")
            step.tell("funding", ended)
            return
        if step.get(f"watch/{cid}") is None:
            step.put(f"setup/{cid}", channel.setup)
            step.put(f"core/{cid}", channel.core)
            step.put(f"watch/{cid}", Watch())
            if item.address is not None:
                host, port = item.address
                node = channel.setup.peer
                place = PeerAddress(node_id=node, host=host, port=port)
                step.put(f"address/{node.hex()}", place)
            funding = channel.setup.funding
            spend = WatchSpend(txid=funding.txid, vout=funding.vout, since=item.since)
            step.tell("chain", spend)
        step.say("peers", items.Born(channel=channel))
        address = step.get(f"address/{channel.setup.peer.hex()}")
        if address is not None:
            # peers may have started before this channel was known, and not have dialled for it
            step.say("peers", Addresses(known=(address,)))
        step.tell("funding", Guarding(channel_id=channel.id))

    def _locked(self, step: Step, item: items.FundingLocked) -> None:
        cid = item.channel_id.hex()
        watch = step.get(f"watch/{cid}")
        if watch is not None:
            step.put(f"watch/{cid}", watch.but(locked=item.scid))
            step.say("peers", item)

    def _buried(self, step: Step, item: items.FundingBuried) -> None:
        cid = item.channel_id.hex()
        watch = step.get(f"watch/{cid}")
        if watch is not None:
            step.put(f"watch/{cid}", watch.but(buried=item.scid))
            step.say("peers", item)

    # ---- the end ----

    def _spent(self, step: Step, item: Spent) -> None:
        for key, setup in step.scan("setup/").items():
            if (setup.funding_txid, setup.funding_index) == (item.txid, item.vout):
                self._ended(step, key.removeprefix("setup/"), setup, item)

    def _ended(self, step: Step, cid: str, setup: Setup, spent: Spent) -> None:
        core, watch = step.get(f"core/{cid}"), step.get(f"watch/{cid}")
        tx = parse(spent.raw)
        mutual = {core.our_shutdown, core.their_shutdown} >= {out.script for out in tx.outputs}
        watch = watch.but(ended="mutual" if mutual else "unilateral", spent_by=display(tx.txid))
        if not mutual:
            watch = watch.but(alarm="somebody closed the channel alone: look at its outputs")
        step.put(f"watch/{cid}", watch)
        if core.their_half is not None:  # there is nothing to announce any more
            step.put(f"core/{cid}", core.but(their_half=None))
        step.log(f"channel={cid} ended: {watch.ended}, by {watch.spent_by}")
        # the peer's broadcast may be the first that we hear of the closing transaction
        closers.answer(step, cid, spent.raw, watch.ended or "")
        self._part(step, cid, setup, watch.ended or "")

    def _part(self, step: Step, cid: str, setup: Setup, reason: str) -> None:
        """Nothing more is done off-chain: everybody is told, open wishes are refused."""
        step.say("peers", items.Ended(channel_id=setup.channel_id))
        ended = ChannelEnded(channel_id=setup.channel_id, reason=reason)
        step.tell("funding", ended)
        step.tell("payments", ended)
        step.say("gossiper", ended)
        for offer in step.scan(f"offer/{cid}/").values():
            self._refused(step, cid, offer.origin, "the channel is closed")

    def _forget(self, step: Step, item: ForgetUnfunded) -> None:
        """Funding says that this channel never got its money."""
        cid = item.channel_id.hex()
        setup, watch = step.get(f"setup/{cid}"), step.get(f"watch/{cid}")
        if setup is None or watch is None or watch.ended is not None:
            return
        self._part(step, cid, setup, "unfunded")
        closers.refuse(step, cid, "the channel was never funded")
        step.tell("chain", Unwatch(txid=setup.funding_txid, vout=setup.funding_index))
        # an opening that came to nothing leaves nothing: else free openings would fill the disk
        for key in (f"setup/{cid}", f"core/{cid}", f"watch/{cid}"):
            step.drop(key)

    # ---- questions ----

    def _ask(self, step: Step, ask: Ask) -> None:
        if ask.method == "close":
            closers.close(step, ask)
            return
        rows = []
        for key, watch in step.scan("watch/").items():
            channel = self.channel(step, key.removeprefix("watch/"))
            assert channel is not None
            if ask.method == "listclosedchannels":
                rows += [closed_row(channel, watch)] if watch.ended else []
            elif watch.ended != "unfunded":
                rows.append(listpeerchannels(channel, watch))
        step.say("api", Answer(id=ask.id, result=rows))
