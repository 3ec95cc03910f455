"""BOLT 2, Channel Establishment: the negotiation of one channel, in memory only, both roles."""

from __future__ import annotations

from typing import Any

from protocol import features, opening
from protocol.bitcoin.transaction import Outpoint, display, parse
from protocol.channel.state import Channel, Party
from protocol.crypto.keys import ChannelSecrets
from protocol.errors import PeerFault, Refusal
from protocol.funding.items import FromPeer, KeyIndex, Negotiation, Open, Opening, ToPeer
from protocol.machine import Answer, Ask, Moment, Step
from protocol.monitor.items import Guard
from protocol.opening import Policy
from protocol.wallet import (
    CoinsRefused,
    CoinsReserved,
    NewScript,
    ReleaseCoins,
    ReserveCoins,
    ScriptIs,
)
from protocol.wire import registry, setup
from protocol.wire.opening import AcceptChannel, FundingCreated, FundingSigned, OpenChannel

MAX_NEGOTIATIONS_PER_PEER, MAX_NEGOTIATIONS = 4, 200


class Negotiator:
    """Rows "~nego/...", until `_guard` makes an opening durable."""

    def __init__(self, network: str, channel_secret: bytes, policy: Policy) -> None:
        self.network = network
        self.policy = policy
        self._master = channel_secret

    def secrets(self, index: int) -> ChannelSecrets:
        return ChannelSecrets(self._master, index)

    def open(self, step: Step, item: Open, at: Moment) -> None:
        """A repeated question (its asker or we restarted) joins what is under way."""
        ask = item.ask
        if self.under_way(step, ask):
            return
        try:
            opening.check_amount(ask.params["amount_sat"], features.OUR_INIT, item.features)
            if ask.params["push_msat"] > ask.params["amount_sat"] * 1000:
                raise Refusal("push_msat: more than the channel's amount", code=-32602)
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
            amount_sat=ask.params["amount_sat"],
            address=item.address,
        )
        self._keep(step, negotiation)
        step.say("wallet", NewScript(purpose=negotiation.temporary_id.hex()))

    def under_way(self, step: Step, ask: Ask) -> bool:
        """A question that was asked before finds its opening, and its answer."""
        for known in step.scan("~nego/").values():
            if known.ask is not None and known.ask.id == ask.id:
                return True
        for done in step.scan("opening/").values():
            if done.ask == ask.id:
                self.answer_asker(step, done)
                return True
        return False

    def _next_index(self, step: Step) -> int:
        index: int = (step.get("keys") or KeyIndex(next=1)).next
        step.put("keys", KeyIndex(next=index + 1))
        return index

    def _keep(self, step: Step, negotiation: Negotiation) -> None:
        step.put(f"~nego/{negotiation.temporary_id.hex()}", negotiation)

    def ask_wallet(self, step: Step, item: Negotiation) -> None:
        """What the wallet owes us; it gives the same answer twice."""
        if item.own_script is None:
            step.say("wallet", NewScript(purpose=item.temporary_id.hex()))
        elif item.we_opened and item.accepted is not None and item.raw is None:
            self._reserve(step, item)

    def script(self, step: Step, item: ScriptIs) -> None:
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
            feerate_per_kw=step.get("~tip").feerate_per_kw,
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
        # "MUST set channel_reserve_satoshis greater than or equal to" the opener's dust limit
        least = item.opened.dust_limit_satoshis if item.opened and not item.we_opened else 0
        secrets = self.secrets(item.key_index)
        ours = opening.our_party(self.policy, secrets, amount, item.own_script, least)
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

    def coins(self, step: Step, item: CoinsReserved) -> None:
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

    def refused(self, step: Step, item: CoinsRefused) -> None:
        negotiation = step.get(f"~nego/{item.purpose}")
        if negotiation is not None:
            self._tell_peer(step, negotiation, "the opener has not enough coins")
            self.abandon(step, negotiation, item.reason, code=301)

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
            anchors=channel.setup.anchors,
            since=since,
            **more,
        )
        step.put(f"opening/{channel.id.hex()}", record)
        step.drop(f"~nego/{item.temporary_id.hex()}")
        step.tell("monitors", Guard(channel=channel, since=since, address=item.address))

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
            address=item.address,
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
                self.policy,
                secrets,
                opened.funding_satoshis,
                negotiation.own_script,
                opened.dust_limit_satoshis,
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

    def from_peer(self, step: Step, item: FromPeer, at: Moment) -> None:
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
                self.abandon(step, negotiation, f"the peer broke a rule: {fault}")

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
                self.abandon(step, negotiation, f"the peer refused: {text!r}")

    def abandon(self, step: Step, item: Negotiation, why: str, code: int = -1) -> None:
        """Leaves nothing behind: coins are free again, the asker is told."""
        step.drop(f"~nego/{item.temporary_id.hex()}")
        step.say("wallet", ReleaseCoins(purpose=item.temporary_id.hex()))
        if item.ask is not None:
            step.say("api", Answer(id=item.ask.id, code=code, text=why))

    def _tell_peer(self, step: Step, item: Negotiation, text: str) -> None:
        error = setup.Error(channel_id=item.temporary_id, data=text.encode())
        step.say("peers", ToPeer(peer=item.peer, message=error.encode()))

    def answer_asker(self, step: Step, record: Opening) -> None:
        if not record.ask or record.state == "guarding":
            return
        result = {
            "tx": record.raw.hex(),
            "txid": display(record.funding_txid),
            "outnum": record.funding_index,
            "channel_id": record.channel_id.hex(),
            "channel_type": features.shown_type(anchors=record.anchors),
            "mindepth": record.minimum_depth,
        }
        step.say("api", Answer(id=record.ask, result=result))
