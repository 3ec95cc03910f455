"""Openings: one machine for each, both roles, from the first message until it needs no more.

Until our side has something to lose an opening lives in memory only ("~nego/..."): an interrupted
negotiation leaves nothing behind. From then on it is row "opening/<channel id>":

    guarding      the monitor is asked to take the channel; nothing has left the node
    confirming    the monitor has it. POINT OF NO RETURN: the transaction (or our signature) leaves
    locked        deep enough; the channel exchanges channel_ready
    usable        both sides are ready; a private channel needs no more, and its row goes
"""

from __future__ import annotations

from typing import Any

from protocol import features, opening
from protocol.bitcoin.transaction import Outpoint, display, parse
from protocol.chain import Broadcast, Tip, TxConfirmed, TxReorged, Unwatch, WatchTx
from protocol.channel.items import FundingLocked
from protocol.channel.state import Channel, Party, short_channel_id
from protocol.crypto.keys import ChannelSecrets
from protocol.errors import PeerFault, Refusal
from protocol.features import Features
from protocol.machine import Answer, Ask, Moment, Step
from protocol.monitor import ChannelEnded, ChannelUsable, ForgetUnfunded, Guard, Guarding
from protocol.opening import Policy
from protocol.values import Value
from protocol.wallet import (
    CoinsRefused,
    CoinsReserved,
    NewScript,
    ReleaseCoins,
    Reservations,
    ReserveCoins,
    ScriptIs,
    SentCoins,
)
from protocol.wire import registry, setup
from protocol.wire.opening import AcceptChannel, FundingCreated, FundingSigned, OpenChannel

MAX_NEGOTIATIONS_PER_PEER, MAX_NEGOTIATIONS = 4, 200
FORGET_BLOCKS = 2016


class FromPeer(Value, frozen=True, kw_only=True):
    """Peers says: an opening message (type and body) of a connected peer."""

    peer: bytes
    features: Features
    message: bytes


class ToPeer(Value, frozen=True, kw_only=True):
    """To peers: send this; `negotiation` (temporary id) is what is then under way, if any."""

    peer: bytes
    message: bytes
    negotiation: bytes | None = None


class PeerLost(Value, frozen=True, kw_only=True):
    """Peers says: the connection is gone, and with it every negotiation."""

    peer: bytes


class Open(Value, frozen=True, kw_only=True):
    """Peers says: the API's `ask` to open can start, the peer is connected."""

    peer: bytes
    features: Features
    ask: Ask


class Negotiation(Value, frozen=True, kw_only=True):
    """Row "~nego/<temporary id>": an opening that may be forgotten at any time."""

    temporary_id: bytes
    peer: bytes
    features: Features
    we_opened: bool
    key_index: int
    ask: Ask | None = None
    amount_sat: int = 0
    opened: OpenChannel | None = None
    accepted: AcceptChannel | None = None
    own_script: bytes | None = None
    raw: bytes | None = None
    channel: Channel | None = None


class Opening(Value, frozen=True, kw_only=True):
    """Row "opening/<channel id>"."""

    channel_id: bytes
    purpose: str
    peer: bytes
    we_opened: bool
    state: str
    minimum_depth: int
    amount_sat: int
    script: bytes
    funding_txid: bytes
    funding_index: int
    private: bool
    since: int
    signature: bytes = b""
    raw: bytes = b""
    ask: str = ""


class KeyIndex(Value, frozen=True, kw_only=True):
    """Row "keys": the next index of channel secrets; an index is never used twice."""

    next: int


class Machine:
    """The funding actor's decisions."""

    name = "funding"

    def __init__(self, network: str, channel_secret: bytes, policy: Policy) -> None:
        self.network = network
        self.policy = policy
        self._master = channel_secret

    def secrets(self, index: int) -> ChannelSecrets:
        return ChannelSecrets(self._master, index)

    def resume(self, step: Step, name: str | None, at: Moment) -> None:
        negotiations = step.scan("~nego/").values()
        if name in (None, "wallet"):
            alive = [item.purpose for item in step.scan("opening/").values()]
            alive += [item.temporary_id.hex() for item in negotiations]
            step.say("wallet", Reservations(alive=tuple(alive)))
        if name == "wallet":
            for item in negotiations:
                self._ask_wallet(step, item)
        if name == "peers":
            for item in negotiations:
                self._abandon(step, item, "the connection to the peer was lost")

    def wake(self, step: Step, at: Moment) -> None:
        pass

    def drain(self, step: Step, at: Moment) -> None:
        pass

    def step(self, step: Step, sender: str, item: object, at: Moment) -> None:
        match item:
            case Open():
                self._open(step, item, at)
            case FromPeer():
                self._from_peer(step, item, at)
            case PeerLost():
                for negotiation in step.scan("~nego/").values():
                    if negotiation.peer == item.peer:
                        self._abandon(step, negotiation, "the connection to the peer was lost")
            case ScriptIs():
                self._script(step, item)
            case CoinsReserved():
                self._coins(step, item)
            case CoinsRefused():
                self._refused(step, item)
            case Guarding():
                self._guarding(step, item)
            case TxConfirmed():
                self._confirmed(step, item)
            case TxReorged():
                self._reorged(step, item)
            case ChannelUsable():
                self._usable(step, item)
            case ChannelEnded():
                self._ended(step, item)
            case Tip():
                self._tip(step, item)
            case Ask():
                self._ask(step, item)
            case _:
                raise AssertionError(type(item).__name__)

    # ---- the opener ----

    def _open(self, step: Step, item: Open, at: Moment) -> None:
        """A repeated question (its asker or we restarted) joins what is under way."""
        ask = item.ask
        if self._under_way(step, ask):
            return
        try:
            if ask.params["amount_sat"] is not None:
                amount = ask.params["amount_sat"]
                opening.check_amount(amount, features.OUR_INIT, item.features)
        except Refusal as refusal:
            step.say("api", Answer(id=ask.id, code=refusal.code, text=str(refusal)))
            return
        if step.get("~tip") is None:
            step.say("api", Answer(id=ask.id, code=304, text="still reading the chain; try again"))
            return
        negotiation = Negotiation(
            temporary_id=at.entropy,
            peer=item.peer,
            features=item.features,
            we_opened=True,
            key_index=self._next_index(step),
            ask=ask,
            amount_sat=ask.params["amount_sat"] or 0,
        )
        self._keep(step, negotiation)
        step.say("wallet", NewScript(purpose=negotiation.temporary_id.hex()))

    def _under_way(self, step: Step, ask: Ask) -> bool:
        """A question that was asked before finds its opening, and its answer."""
        for known in step.scan("~nego/").values():
            if known.ask is not None and known.ask.id == ask.id:
                return True
        for done in step.scan("opening/").values():
            if done.ask == ask.id:
                self._answer(step, done)
                return True
        return False

    def _next_index(self, step: Step) -> int:
        index: int = (step.get("keys") or KeyIndex(next=1)).next
        step.put("keys", KeyIndex(next=index + 1))
        return index

    def _keep(self, step: Step, negotiation: Negotiation) -> None:
        step.put(f"~nego/{negotiation.temporary_id.hex()}", negotiation)

    def _ask_wallet(self, step: Step, item: Negotiation) -> None:
        """What the wallet owes us; it gives the same answer twice."""
        if item.own_script is None:
            step.say("wallet", NewScript(purpose=item.temporary_id.hex()))
        elif item.we_opened and item.accepted is not None and item.raw is None:
            self._reserve(step, item)

    def _script(self, step: Step, item: ScriptIs) -> None:
        negotiation = step.get(f"~nego/{item.purpose}")
        if negotiation is None or negotiation.own_script is not None:
            return
        negotiation = negotiation.but(own_script=item.script)
        secrets = self.secrets(negotiation.key_index)
        if not negotiation.we_opened:
            self._accept(step, negotiation, secrets)
            return
        params = negotiation.ask.params
        party = opening.our_party(
            self.policy, secrets, negotiation.amount_sat, negotiation.own_script
        )
        message = opening.open_channel(
            network=self.network,
            temporary_id=negotiation.temporary_id,
            amount_sat=negotiation.amount_sat,
            push_msat=params.get("push_msat", 0),
            feerate_per_kw=params.get("commitment_feerate_per_kw")
            or step.get("~tip").feerate_per_kw,
            kind=opening.channel_type(features.OUR_INIT, negotiation.features),
            announce=params.get("announce", True),
            party=party,
            first_point=secrets.commitment_point(0),
        )
        self._keep(step, negotiation.but(opened=message))
        self._send(step, negotiation, message.encode())

    def _send(self, step: Step, negotiation: Negotiation, message: bytes) -> None:
        step.say(
            "peers",
            ToPeer(peer=negotiation.peer, message=message, negotiation=negotiation.temporary_id),
        )

    def _on_accept(self, step: Step, negotiation: Negotiation, message: AcceptChannel) -> None:
        if not negotiation.we_opened or negotiation.opened is None or negotiation.accepted:
            raise PeerFault("accept_channel that nobody asked for")
        secrets = self.secrets(negotiation.key_index)
        party = opening.our_party(
            self.policy, secrets, negotiation.amount_sat, negotiation.own_script
        )
        opening.check_accept(message, negotiation.opened, party, negotiation.features)
        negotiation = negotiation.but(accepted=message)
        self._keep(step, negotiation)
        self._reserve(step, negotiation)

    def _parties(self, item: Negotiation) -> tuple[Party, Party]:
        amount = item.opened.funding_satoshis if item.opened else 0
        ours = opening.our_party(self.policy, self.secrets(item.key_index), amount, item.own_script)
        said = item.accepted if item.we_opened else item.opened
        assert said is not None
        return ours, opening.their_party(said)

    def _reserve(self, step: Step, negotiation: Negotiation) -> None:
        ours, theirs = self._parties(negotiation)
        assert negotiation.ask is not None
        step.say(
            "wallet",
            ReserveCoins(
                purpose=negotiation.temporary_id.hex(),
                script=opening.funding_script(ours, theirs),
                amount_sat=negotiation.amount_sat,
                feerate_per_kw=negotiation.ask.params.get("feerate_per_kw")
                or step.get("~tip").feerate_per_kw,
            ),
        )

    def _coins(self, step: Step, item: CoinsReserved) -> None:
        negotiation = step.get(f"~nego/{item.purpose}")
        if negotiation is None:
            step.say("wallet", ReleaseCoins(purpose=item.purpose))
            return
        if negotiation.raw is not None:
            return
        tx = parse(item.raw)
        ours, theirs = self._parties(negotiation)
        index = opening.find_output(
            tx, opening.funding_script(ours, theirs), negotiation.amount_sat
        )
        assert index is not None, "the wallet built another transaction than it was asked for"
        channel = self._first(negotiation, Outpoint(tx.txid, index))
        signature = opening.sign_first(channel, self.secrets(negotiation.key_index))
        created = FundingCreated(
            temporary_channel_id=negotiation.temporary_id,
            funding_txid=tx.txid,
            funding_output_index=index,
            signature=signature,
        )
        self._keep(step, negotiation.but(raw=item.raw, channel=channel))
        self._send(step, negotiation, created.encode())

    def _first(self, item: Negotiation, funding: Outpoint) -> Channel:
        assert item.opened is not None and item.accepted is not None
        return opening.first_channel(
            opened=item.opened,
            accepted=item.accepted,
            funding=funding,
            we_opened=item.we_opened,
            peer=item.peer,
            key_index=item.key_index,
            ours=self._parties(item)[0],
        )

    def _refused(self, step: Step, item: CoinsRefused) -> None:
        negotiation = step.get(f"~nego/{item.purpose}")
        if negotiation is not None:
            self._tell_peer(step, negotiation, "the opener has not enough coins")
            self._abandon(step, negotiation, item.reason, code=301)

    def _on_signed(self, step: Step, negotiation: Negotiation, message: FundingSigned) -> None:
        assert negotiation.channel is not None and negotiation.raw is not None
        secrets = self.secrets(negotiation.key_index)
        channel = opening.check_first(negotiation.channel, secrets, message.signature)
        assert negotiation.ask is not None
        self._guard(step, negotiation, channel, raw=negotiation.raw, ask=negotiation.ask.id)

    def _guard(self, step: Step, item: Negotiation, channel: Channel, **more: Any) -> None:
        """From here on the opening is durable; nothing has been broadcast or signed for them."""
        ours, theirs = self._parties(item)
        since = step.get("~tip").height if step.get("~tip") else 0
        record = Opening(
            channel_id=channel.id,
            purpose=item.temporary_id.hex(),
            peer=item.peer,
            we_opened=item.we_opened,
            state="guarding",
            minimum_depth=channel.setup.minimum_depth,
            amount_sat=channel.setup.capacity_sat,
            script=opening.funding_script(ours, theirs),
            funding_txid=channel.setup.funding_txid,
            funding_index=channel.setup.funding_index,
            private=channel.setup.private,
            since=since,
            **more,
        )
        step.put(f"opening/{channel.id.hex()}", record)
        step.drop(f"~nego/{item.temporary_id.hex()}")
        step.tell("monitors", Guard(channel=channel, since=since))

    # ---- the accepter ----

    def _on_open(self, step: Step, item: FromPeer, message: OpenChannel) -> None:
        key = f"~nego/{message.temporary_channel_id.hex()}"
        if step.get(key) is not None:
            raise PeerFault("open_channel with a temporary_channel_id in use")
        if step.get("~tip") is None:
            raise PeerFault("still reading the chain; try again")
        all_of_them = step.scan("~nego/").values()
        of_peer = [known for known in all_of_them if known.peer == item.peer]
        pending = [
            known
            for known in step.scan("opening/").values()
            if known.peer == item.peer and not known.we_opened and known.state == "confirming"
        ]
        if len(of_peer) + len(pending) >= MAX_NEGOTIATIONS_PER_PEER:
            raise PeerFault("too many openings of yours are pending")
        if len(all_of_them) >= MAX_NEGOTIATIONS:
            raise PeerFault("too many openings are pending; try again later")
        opening.check_open(message, self.network, features.OUR_INIT, item.features)
        negotiation = Negotiation(
            temporary_id=message.temporary_channel_id,
            peer=item.peer,
            features=item.features,
            we_opened=False,
            key_index=self._next_index(step),
            amount_sat=message.funding_satoshis,
            opened=message,
        )
        self._keep(step, negotiation)
        step.say("wallet", NewScript(purpose=negotiation.temporary_id.hex()))

    def _accept(self, step: Step, negotiation: Negotiation, secrets: ChannelSecrets) -> None:
        opened = negotiation.opened
        assert opened is not None
        message = opening.accept_channel(
            temporary_id=negotiation.temporary_id,
            depth=self.policy.minimum_depth,
            kind=features.decode(opened.channel_type or b""),
            party=opening.our_party(
                self.policy, secrets, opened.funding_satoshis, negotiation.own_script
            ),
            first_point=secrets.commitment_point(0),
        )
        self._keep(step, negotiation.but(accepted=message))
        self._send(step, negotiation, message.encode())

    def _on_created(self, step: Step, negotiation: Negotiation, message: FundingCreated) -> None:
        if negotiation.we_opened or negotiation.accepted is None:
            raise PeerFault("funding_created that nobody asked for")
        secrets = self.secrets(negotiation.key_index)
        funding = Outpoint(message.funding_txid, message.funding_output_index)
        channel = self._first(negotiation, funding)
        if step.get(f"opening/{channel.id.hex()}") is not None:
            raise PeerFault("funding_created for an output that is in use")
        channel = opening.check_first(channel, secrets, message.signature)
        self._guard(step, negotiation, channel, signature=opening.sign_first(channel, secrets))

    # ---- both ----

    def _from_peer(self, step: Step, item: FromPeer, at: Moment) -> None:
        try:
            self._dispatch(step, item)
        except PeerFault as fault:
            temporary = item.message[2:34]
            if item.message[:2] == OpenChannel.TYPE.to_bytes(2, "big"):
                temporary = item.message[34:66]
            error = setup.Error(channel_id=temporary, data=str(fault).encode())
            step.say("peers", ToPeer(peer=item.peer, message=error.encode()))
            negotiation = step.get(f"~nego/{temporary.hex()}")
            if negotiation is not None and negotiation.peer == item.peer:
                self._abandon(step, negotiation, f"the peer broke a rule: {fault}")

    def _dispatch(self, step: Step, item: FromPeer) -> None:
        message = registry.decode(item.message)
        if isinstance(message, OpenChannel):
            self._on_open(step, item, message)
            return
        if isinstance(message, FundingSigned):
            for negotiation in step.scan("~nego/").values():
                channel = negotiation.channel
                if channel and channel.id == message.channel_id and negotiation.peer == item.peer:
                    self._on_signed(step, negotiation, message)
                    return
            raise PeerFault("funding_signed for an unknown channel")
        key: bytes = getattr(message, "temporary_channel_id", None) or item.message[2:34]
        negotiation = step.get(f"~nego/{key.hex()}")
        if negotiation is None or negotiation.peer != item.peer:
            if not isinstance(message, setup.Error):
                raise PeerFault("a message for an opening that we do not know")
            return
        match message:
            case AcceptChannel():
                self._on_accept(step, negotiation, message)
            case FundingCreated():
                self._on_created(step, negotiation, message)
            case setup.Error():
                text = message.data.decode("ascii", "replace")[:200]
                self._abandon(step, negotiation, f"the peer refused: {text!r}")

    def _abandon(self, step: Step, item: Negotiation, why: str, code: int = -1) -> None:
        """Leaves nothing behind: coins are free again, the asker is told."""
        step.drop(f"~nego/{item.temporary_id.hex()}")
        if item.we_opened:
            step.say("wallet", ReleaseCoins(purpose=item.temporary_id.hex()))
        if item.ask is not None:
            step.say("api", Answer(id=item.ask.id, code=code, text=why))

    def _tell_peer(self, step: Step, item: Negotiation, text: str) -> None:
        error = setup.Error(channel_id=item.temporary_id, data=text.encode())
        step.say("peers", ToPeer(peer=item.peer, message=error.encode()))

    def _guarding(self, step: Step, item: Guarding) -> None:
        key = f"opening/{item.channel_id.hex()}"
        record = step.get(key)
        if record is None or record.state != "guarding":
            return
        # the point of no return: only now does anything leave that could bind us
        record = record.but(state="confirming")
        step.put(key, record)
        watch = WatchTx(txid=record.funding_txid, depth=record.minimum_depth, since=record.since)
        step.tell("chain", watch)
        if record.we_opened:
            step.tell("wallet", SentCoins(purpose=record.purpose))
            step.tell("chain", Broadcast(raw=record.raw))
            self._answer(step, record)
        else:
            signed = FundingSigned(channel_id=record.channel_id, signature=record.signature)
            step.say("peers", ToPeer(peer=record.peer, message=signed.encode()))

    def _answer(self, step: Step, record: Opening) -> None:
        if not record.ask or record.state == "guarding":
            return
        result = {
            "tx": record.raw.hex(),
            "txid": display(record.funding_txid),
            "outnum": record.funding_index,
            "channel_id": record.channel_id.hex(),
            "mindepth": record.minimum_depth,
        }
        step.say("api", Answer(id=record.ask, result=result))

    def _by_txid(self, step: Step, txid: bytes) -> list[Opening]:
        records = step.scan("opening/").values()
        return [record for record in records if record.funding_txid == txid]

    def _confirmed(self, step: Step, item: TxConfirmed) -> None:
        for record in self._by_txid(step, item.txid):
            outputs = parse(item.raw).outputs
            index = record.funding_index
            good = index < len(outputs) and (
                outputs[index].script == record.script
                and outputs[index].amount_sat == record.amount_sat
            )
            if not good:
                # "funding output missing, short or to another script": never usable
                self._drop(step, record)
                continue
            scid = short_channel_id(item.height, item.position, index)
            if record.state == "confirming":
                step.put(f"opening/{record.channel_id.hex()}", record.but(state="locked"))
            step.tell("monitors", FundingLocked(channel_id=record.channel_id, scid=scid))

    def _reorged(self, step: Step, item: TxReorged) -> None:
        for record in self._by_txid(step, item.txid):
            if record.state == "locked":
                step.put(f"opening/{record.channel_id.hex()}", record.but(state="confirming"))
            if record.we_opened:
                step.tell("chain", Broadcast(raw=record.raw))

    def _usable(self, step: Step, item: ChannelUsable) -> None:
        key = f"opening/{item.channel_id.hex()}"
        record = step.get(key)
        if record is None:
            return
        if record.private:
            step.drop(key)
            step.tell("chain", Unwatch(txid=record.funding_txid))
        else:
            step.put(key, record.but(state="usable", raw=b""))

    def _ended(self, step: Step, item: ChannelEnded) -> None:
        record = step.get(f"opening/{item.channel_id.hex()}")
        if record is None:
            return
        if item.reason == "failed" and record.state in ("guarding", "confirming"):
            self._drop(step, record)
        elif item.reason != "failed":
            step.drop(f"opening/{item.channel_id.hex()}")
            step.tell("chain", Unwatch(txid=record.funding_txid))

    def _drop(self, step: Step, record: Opening) -> None:
        """The channel never came to be."""
        step.drop(f"opening/{record.channel_id.hex()}")
        step.tell("chain", Unwatch(txid=record.funding_txid))
        step.tell("monitors", ForgetUnfunded(channel_id=record.channel_id))

    def _tip(self, step: Step, tip: Tip) -> None:
        step.put("~tip", tip)
        for record in step.scan("opening/").values():
            late = tip.height - record.since > FORGET_BLOCKS
            if late and not record.we_opened and record.state == "confirming":
                self._drop(step, record)

    def _ask(self, step: Step, ask: Ask) -> None:
        if ask.method == "fundchannel":
            if not self._under_way(step, ask):
                step.say("peers", ask)  # is the peer there? it answers with `Open`
            return
        rows = [
            {
                "channel_id": record.channel_id.hex(),
                "peer_id": record.peer.hex(),
                "state": record.state,
                "funding_txid": display(record.funding_txid),
                "amount_msat": record.amount_sat * 1000,
            }
            for record in step.scan("opening/").values()
        ]
        step.say("api", Answer(id=ask.id, result=rows))
