"""Alice and Bob on one channel, machines only: one message moves at a time, writes are instant."""

from __future__ import annotations

from collections import deque

from protocol.bitcoin.transaction import Outpoint
from protocol.channel import commitments, living, machine, operation, reestablish, stages, state
from protocol.channel.living import Live, Turn
from protocol.channel.messages import (
    AddHtlc,
    Born,
    CloseRequest,
    Durable,
    FundingConfirmed,
    LearnedPreimage,
    ResolveHtlc,
    ToChannel,
    Update,
)
from protocol.channel.state import Channel, Core, Fee, Funding, Party, Setup, Signed
from protocol.crypto.hashes import sha256
from protocol.crypto.keys import ChannelSecrets, NodeKey
from protocol.errors import PeerFault
from protocol.features import OUR_INIT
from protocol.wire import registry
from protocol.wire.message import Message

CAPACITY_SAT = 1_000_000
FEERATE = 1000
HEIGHT = 100
CHAIN = bytes(32)


def _party(secrets: ChannelSecrets, **changes: object) -> Party:
    return Party(
        dust_limit_sat=354,
        max_htlc_value_in_flight_msat=CAPACITY_SAT * 1000,
        channel_reserve_sat=10_000,
        htlc_minimum_msat=1,
        to_self_delay=144,
        max_accepted_htlcs=483,
        basepoints=secrets.basepoints,
    ).but(**changes)


class End:
    """One side: a live channel, and what its monitor would have on disk."""

    def __init__(self, channel: Channel, secrets: ChannelSecrets, node: NodeKey) -> None:
        self.secrets, self.node = secrets, node
        self.height: int | None = HEIGHT
        self.disk = channel
        self.adds: dict[str, AddHtlc] = {}
        self.resolutions: dict[int, ResolveHtlc] = {}
        self.preimages: dict[int, bytes] = {}
        self.refused: dict[str, str] = {}
        self.live: Live = living.born(Born(channel=channel))
        self.outbox: deque[bytes] = deque()
        self.write_allowed = True
        self.pending: list[Update] = []

    def turn(self, *steps: object) -> None:
        """Some events (callables on a Turn), then a drain, then the monitor's answers."""
        turn = Turn(self.live, self.secrets, self.node, self.height)
        for step in steps:
            try:
                step(turn)  # type: ignore[operator]
            except PeerFault as fault:
                if not fault.fatal:
                    raise
                turn.fail(str(fault))
        machine.drain(turn)
        self._finish(turn)

    def _finish(self, turn: Turn) -> None:
        self.live = turn.live
        self.outbox.extend(message.encode() for message in turn.to_peer)
        for item in turn.to_monitor:
            if isinstance(item, LearnedPreimage):
                self.preimages[item.htlc_id] = item.preimage
            else:
                self.pending.append(item)
        if self.write_allowed:
            self.write()

    def write(self) -> None:
        """The monitor's disk takes what it was given."""
        while self.pending:
            update = self.pending.pop(0)
            assert update.update_id == self.disk.core.update_id + 1
            self.disk = living.apply(self.disk, update)
            for origin, reason, _ in update.refused:
                self.adds.pop(origin, None)
                self.refused[origin] = reason
            for htlc in update.htlcs:
                self.adds.pop(htlc.origin, None)
            durable = Durable(channel_id=self.disk.id, update_id=update.update_id)
            turn = Turn(self.live, self.secrets, self.node, self.height)
            machine.hear_monitor(turn, durable)
            self.live = turn.live
            self.outbox.extend(message.encode() for message in turn.to_peer)

    def hear(self, data: bytes) -> None:
        message = registry.decode(data)
        assert message is not None
        self.turn(lambda turn: machine.hear_peer(turn, message))

    def tell(self, item: ToChannel) -> None:
        self.turn(lambda turn: machine.hear_monitor(turn, item))

    def crash(self) -> None:
        """The channel is born again from what is on disk."""
        self.pending.clear()
        self.live = living.born(
            Born(
                channel=self.disk,
                adds=tuple(self.adds.values()),
                resolutions=tuple(self.resolutions.values()),
            )
        )

    @property
    def channel(self) -> Channel:
        return self.live.channel


class Pair:
    """alice opened; `push_msat` is Bob's at the start."""

    def __init__(
        self,
        *,
        anchors: bool = True,
        push_msat: int = 400_000_000,
        private: bool = True,
        **changes: object,
    ) -> None:
        nodes = [NodeKey(bytes([n]) * 32, CHAIN) for n in (8, 9)]
        secrets = [ChannelSecrets(bytes([n]) * 32, n) for n in (1, 2)]
        parties = [_party(secret, **changes) for secret in secrets]
        funding = Outpoint(sha256(b"funding"), 1)
        ends = []
        for we in (0, 1):
            setup = Setup(
                channel_id=state.channel_id(funding),
                peer=nodes[1 - we].id,
                fundings=(
                    Funding(txid=funding.txid, index=funding.vout, capacity_sat=CAPACITY_SAT),
                ),
                we_opened=we == 0,
                format_name="anchors" if anchors else "static_remotekey",
                private=private,
                key_index=we + 1,
                minimum_depth=1,
                ours=parties[we],
                theirs=parties[1 - we],
            )
            mine = CAPACITY_SAT * 1000 - push_msat if we == 0 else push_msat
            core = Core(
                update_id=0,
                ours_msat=mine,
                theirs_msat=CAPACITY_SAT * 1000 - mine,
                fees=(Fee(feerate_per_kw=FEERATE, stage=stages.COMMITTED),),
                our_number=0,
                signed=(),
                their_number=0,
                their_revoked=0,
                their_point=secrets[1 - we].commitment_point(0),
                their_next_point=None,
            )
            ends.append(End(Channel(setup=setup, core=core, htlcs={}), secrets[we], nodes[we]))
        self.alice, self.bob = ends
        self._sign_first_commitments()

    def _sign_first_commitments(self) -> None:
        for end, other in ((self.alice, self.bob), (self.bob, self.alice)):
            signature, _ = commitments.sign_theirs(
                other.channel, other.channel.core.their_point, other.secrets
            )
            commitments.check_ours(end.channel, end.secrets, signature, ())
            end.disk = end.disk.with_core(signed=(Signed(signature=signature),))
            end.crash()

    def connect(self) -> None:
        for end in (self.alice, self.bob):
            end.live = end.live.but(features=OUR_INIT)
            end.turn(reestablish.on_connected)
        self.run()

    def cut(self) -> None:
        """The connection breaks: what is on its way is lost."""
        for end in (self.alice, self.bob):
            end.outbox.clear()
            turn = Turn(end.live, end.secrets, end.node, end.height)
            living.disconnected(turn)
            end.live = turn.live

    def ready(self) -> None:
        """Connected, and the funding is deep enough."""
        self.connect()
        for end in (self.alice, self.bob):
            end.tell(
                FundingConfirmed(channel_id=end.channel.id, key_index=1, scid=bytes(7) + b"\x01")
            )
        self.run()

    def step(self) -> bool:
        """Deliver one message; False when nothing is on its way."""
        for end, other in ((self.alice, self.bob), (self.bob, self.alice)):
            if end.outbox:
                other.hear(end.outbox.popleft())
                return True
        return False

    def run(self) -> None:
        while self.step():
            pass

    def offer(self, end: End, amount_msat: int, preimage: bytes = bytes(32), n: int = 0) -> str:
        origin = f"{'a' if end is self.alice else 'b'}{n}"
        offer = AddHtlc(
            channel_id=end.channel.id,
            origin=origin,
            amount_msat=amount_msat,
            payment_hash=sha256(preimage),
            cltv_expiry=500,
            last_height=HEIGHT,
            onion=bytes(1366),
        )
        end.adds[origin] = offer
        end.tell(offer)
        return origin

    def settle(self, end: End, htlc_id: int, **how: object) -> None:
        settle = ResolveHtlc(channel_id=end.channel.id, htlc_id=htlc_id).but(**how)
        end.resolutions[htlc_id] = settle
        end.tell(settle)

    def close(self, end: End, script: bytes) -> None:
        end.tell(CloseRequest(channel_id=end.channel.id, script=script, feerate_per_kw=FEERATE))

    def balances(self) -> tuple[int, int]:
        return self.alice.channel.core.ours_msat, self.bob.channel.core.ours_msat


def decoded(data: bytes) -> Message:
    message = registry.decode(data)
    assert message is not None
    return message


__all__ = ["End", "Pair", "decoded", "operation"]
