"""What a channel is: the terms it was opened with, and where it stands.

`ours` and `theirs` hold what each side *said* in open_channel or accept_channel: the dust limit of
its own commitment, and what it demands of the other (reserve, delay, HTLC limits).
"""

from __future__ import annotations

from protocol import features
from protocol.bitcoin.transaction import Outpoint
from protocol.channel import formats
from protocol.channel.formats import Format, FormatName
from protocol.channel.proof import Half
from protocol.crypto import shachain
from protocol.crypto.keys import Basepoints
from protocol.features import Features
from protocol.values import Value


class Party(Value, frozen=True, kw_only=True, tag="party"):
    """One side's terms; `shutdown_script` is the upfront one, None if it named none."""

    dust_limit_sat: int
    max_htlc_value_in_flight_msat: int
    channel_reserve_sat: int
    htlc_minimum_msat: int
    to_self_delay: int
    max_accepted_htlcs: int
    basepoints: Basepoints
    shutdown_script: bytes | None = None


class Funding(Value, frozen=True, kw_only=True, tag="funding"):
    """An output that holds the channel's money. `txid` in the byte order of the hash function."""

    txid: bytes
    index: int
    capacity_sat: int


class Setup(Value, frozen=True, kw_only=True, tag="setup"):
    """What never changes. `key_index` finds our secrets again from the seed.

    `fundings`: one; a channel that is spliced has several for a while, the newest last.
    `minimum_depth` of 0: usable before the funding transaction is mined (option_zeroconf).
    `scid_alias`: never named by its place on the chain. `close_to`: the shutdown script that we
    committed to at the opening.
    """

    channel_id: bytes
    peer: bytes
    fundings: tuple[Funding, ...]
    we_opened: bool
    format_name: FormatName
    private: bool
    key_index: int
    minimum_depth: int
    ours: Party
    theirs: Party
    scid_alias: bool = False
    close_to: bytes | None = None

    @property
    def format(self) -> Format:
        return formats.BY_NAME[self.format_name]

    @property
    def kind(self) -> Features:
        """The channel_type."""
        hidden = {features.BIT["option_scid_alias"]} if self.scid_alias else frozenset()
        unconfirmed = {features.BIT["option_zeroconf"]} if not self.minimum_depth else frozenset()
        return self.format.kind | hidden | unconfirmed

    @property
    def funding_txid(self) -> bytes:
        """Of the newest funding; 32 bytes in the order of the hash function."""
        return self.fundings[-1].txid

    @property
    def funding_index(self) -> int:
        return self.fundings[-1].index

    @property
    def capacity_sat(self) -> int:
        return self.fundings[-1].capacity_sat

    @property
    def funding(self) -> Outpoint:
        """The output that holds the money."""
        return Outpoint(self.funding_txid, self.funding_index)


class Htlc(Value, frozen=True, kw_only=True, tag="htlc"):
    """One HTLC; `ours` says that we offered it. `origin` names the payment part that we sent.

    `preimage`, `failure` (the encrypted reason) or `malformed` (SHA256 of the onion, code) is how
    it ends. `onion` (1366 bytes) is dropped when it is no longer needed. `dusty`: theirs, and one
    small HTLC too many.
    """

    ours: bool
    id: int
    amount_msat: int
    payment_hash: bytes
    cltv_expiry: int
    onion: bytes
    stage: int
    origin: str = ""
    preimage: bytes | None = None
    failure: bytes | None = None
    malformed: tuple[bytes, int] | None = None
    dusty: bool = False

    @property
    def side(self) -> str:
        return "ours" if self.ours else "theirs"

    @property
    def key(self) -> str:
        """ "ours/3": it is unique in its channel."""
        return f"{self.side}/{self.id}"


def placed(key: str) -> tuple[str, int]:
    """Side and id of an HTLC, from its `Htlc.key`."""
    side, _, number = key.partition("/")
    return side, int(number)


class Fee(Value, frozen=True, kw_only=True, tag="fee"):
    """A feerate that the opener proposed, and how far it has come."""

    feerate_per_kw: int
    stage: int


class Signed(Value, frozen=True, kw_only=True, tag="signed"):
    """The peer's signatures (64 bytes each) on our newest commitment over one funding output."""

    signature: bytes
    htlc_signatures: tuple[bytes, ...] = ()


class Core(Value, frozen=True, kw_only=True, tag="core"):
    """All that changes, but HTLCs and their secrets.

    Commitment numbers count up from 0, and are the same over all fundings. `our_number`: the newest
    commitment that they signed for us, and `signed` how, over each funding; the ones below are
    revoked. `their_number`: the newest that we signed for them; `their_revoked`: how many of theirs
    are revoked. We wait for a revoke_and_ack while `their_number` > `their_revoked`. `scid`: where
    the channel is, or our alias while that is not known; `buried`: the same, once it is deep enough
    to be announced. `their_alias`: what the peer calls the channel. `least_msat`, `most_msat`: the
    range of `ours_msat`; the monitor keeps it.
    """

    update_id: int
    ours_msat: int
    theirs_msat: int
    fees: tuple[Fee, ...]
    our_number: int
    signed: tuple[Signed, ...]
    their_number: int
    their_revoked: int
    their_point: bytes
    their_next_point: bytes | None
    commit_sent_last: bool = False
    our_next_htlc: int = 0
    their_next_htlc: int = 0
    scid: bytes | None = None
    buried: bytes | None = None
    their_alias: bytes | None = None
    their_half: Half | None = None
    ready_sent: bool = False
    ready_received: bool = False
    our_shutdown: bytes | None = None
    their_shutdown: bytes | None = None
    closing_tx: bytes | None = None
    failed: str | None = None
    fell_behind: bool = False
    least_msat: int | None = None
    most_msat: int | None = None

    @property
    def awaiting_revoke(self) -> bool:
        """Our last commitment_signed is not answered by a revoke_and_ack yet."""
        return self.their_number > self.their_revoked

    @property
    def usable(self) -> bool:
        """Both channel_ready have gone over the wire, and nobody wants to close."""
        return (
            self.ready_sent
            and self.ready_received
            and self.our_shutdown is None
            and self.their_shutdown is None
            and self.failed is None
        )


def check_successor(old: Core, new: Core) -> None:
    """Check before writing: what no update may ever undo."""
    assert new.our_number in (old.our_number, old.our_number + 1)
    assert new.their_number in (old.their_number, old.their_number + 1)
    assert new.their_revoked in (old.their_revoked, old.their_revoked + 1)
    assert new.their_revoked <= new.their_number <= new.their_revoked + 1
    assert not (old.fell_behind and not new.fell_behind)
    assert old.closing_tx is None or new.closing_tx is not None


class Channel(Value, frozen=True, kw_only=True):
    """A whole channel. `htlcs` by `Htlc.key`; never changed in place."""

    setup: Setup
    core: Core
    htlcs: dict[str, Htlc]
    secrets: shachain.Store = shachain.EMPTY

    @property
    def id(self) -> bytes:
        return self.setup.channel_id

    def with_core(self, **changes: object) -> Channel:
        return self.but(core=self.core.but(**changes))

    def with_htlc(self, htlc: Htlc) -> Channel:
        return self.but(htlcs=self.htlcs | {htlc.key: htlc})


def channel_id(funding: Outpoint) -> bytes:
    """BOLT 2: the funding txid, its last two bytes XORed with the output's index."""
    tail = int.from_bytes(funding.txid[-2:], "big") ^ funding.vout
    return funding.txid[:-2] + tail.to_bytes(2, "big")
