"""What `payments` keeps."""

from __future__ import annotations

from typing import Any, Literal

from protocol.gossip.announce import Policy
from protocol.invoice import RouteHop
from protocol.machine import Ask
from protocol.router.messages import Limit, Route
from protocol.segment import Segment
from protocol.values import Value

# ---- invoices, and what is received -------------------------------------------------------------


InvoiceStatus = Literal["unpaid", "paid", "cancelled"]
SentStatus = Literal["pending", "complete", "failed"]  # of a payment of ours, and of its parts
# failed: downstream; local_failed: here
ForwardStatus = Literal["offered", "settled", "failed", "local_failed"]


class InvoiceRow(Value, frozen=True, kw_only=True, tag="invoice_row"):
    """An invoice, ours to be paid; also one that a keysend payment made up.

    `ask` is the question that made it: asked again after a restart, it gets the same answer.
    `preimage` is None while only the holder of a hold invoice knows it; `held`: the user decides
    when it is claimed. `claim` is the payment id of the set that was claimed, from the intent on.
    """

    label: str
    bolt11: str
    payment_hash: bytes
    preimage: bytes | None
    payment_secret: bytes
    amount_msat: int | None
    description: str
    created_at: int
    expires_at: int
    min_final_cltv: int
    created_index: int
    ask: str = ""
    status: InvoiceStatus = "unpaid"
    held: bool = False
    claim: bytes = b""
    pay_index: int | None = None
    paid_at: int | None = None
    received_msat: int | None = None


class Label(Value, frozen=True, kw_only=True, tag="label"):
    """The label of an invoice."""

    label: str


class Counters(Value, frozen=True, kw_only=True, tag="counters"):
    """Last used numbers; none is ever given twice. `first_paid`: of a snapshot
    that was made anew, the first pay_index that it gave. `fees_msat`: earned by relaying."""

    created: int = 0
    paid: int = 0
    sent: int = 0
    forwarded: int = 0
    events: int = 0
    first_paid: int = 1
    fees_msat: int = 0


class ReceivedPart(Value, frozen=True, kw_only=True, tag="received_part"):
    """One HTLC of theirs; `forward_msat` is what its onion said, `amount_msat` what it carries."""

    channel_id: bytes
    htlc_id: int
    amount_msat: int
    cltv_expiry: int
    shared_secret: bytes
    forward_msat: int = 0


class PartSet(Value, frozen=True, kw_only=True, tag="part_set"):
    """Parts that do not yet make up the whole; or, `whole`, that wait
    for the user's word."""

    parts: tuple[ReceivedPart, ...]
    total_msat: int
    since: float
    whole: bool = False


class ClaimRow(Value, frozen=True, kw_only=True, tag="claim_row"):
    """The preimage may leave; `waiting` channels do not have it yet."""

    payment_id: bytes
    preimage: bytes
    parts: tuple[tuple[bytes, int], ...]
    amount_msat: int
    label: str
    waiting: tuple[bytes, ...]


class EarlyHtlc(Value, frozen=True, kw_only=True, tag="early_htlc"):
    """An HTLC that arrived before the height was known (`HtlcArrived`)."""

    amount_msat: int
    payment_hash: bytes
    cltv_expiry: int
    onion: bytes
    dusty: bool = False


class Standing(Value, frozen=True, kw_only=True, tag="standing"):
    """An HTLC of ours, or the wish for one, that was there before the loss (`HtlcStands`)."""

    origin: str
    channel_id: bytes
    amount_msat: int
    cltv_expiry: int


class Begun(Value, frozen=True, kw_only=True, tag="begun"):
    """This snapshot has asked the monitors what stands, and these have answered;
    `whole`: all have. Until then nothing that arrives is judged, and nothing is sent."""

    at: int
    said: tuple[str, ...] = ()
    used: bool = False
    whole: bool = False


class Event(Value, frozen=True, kw_only=True, tag="event"):
    """Something that users wait for, written with its cause."""

    index: int
    at: int
    kind: str
    about: dict[str, Any]


# ---- what is sent -------------------------------------------------------------------------------


class Payment(Value, frozen=True, kw_only=True, tag="payment"):
    """A payment of ours. It is written before the first HTLC is offered.

    `living`: numbers of the parts that are under way. `limits` and `without`: what its failures
    have shown about channels and nodes. `direct`: channels with the payee that were tried in this
    round, after `rounds` whole ones; `never`: those that cannot carry it. `doomed`: no more is
    tried, and it fails when nothing is under way. `sendpay`: its parts are ordered by `sendpay`.
    `deadline`: no new part after it. `sent_msat`: with fees, of the parts that did not fail.
    """

    payment_hash: bytes
    destination: bytes
    amount_msat: int
    payment_secret: bytes | None
    total_msat: int
    final_cltv: int
    metadata: bytes | None
    bolt11: str
    label: str | None
    description: str | None
    created_at: int
    created_index: int
    deadline: float
    most_fee_msat: int = 0
    most_delay: int = 2016
    most_parts: int = 1
    hints: tuple[tuple[RouteHop, ...], ...] = ()
    sendpay: bool = False
    status: SentStatus = "pending"
    keysend_preimage: bytes | None = None
    groupid: int = 1
    last_part: int = 0
    living: tuple[int, ...] = ()
    failed_parts: int = 0
    done_parts: int = 0
    limits: tuple[Limit, ...] = ()
    without: tuple[bytes, ...] = ()
    direct: tuple[bytes, ...] = ()
    never: tuple[bytes, ...] = ()
    rounds: int = 0
    retry_at: float | None = None
    doomed: bool = False
    sent_msat: int = 0
    preimage: bytes | None = None
    completed_at: int | None = None
    code: int | None = None
    reason: str = ""


class SentPart(Value, frozen=True, kw_only=True, tag="sent_part"):
    """One HTLC of ours, or its wish.

    `session_key` (32 bytes) is its onion's. `failed_at`: the hop that failed it, counted from 0,
    which is us; `failed_with`: its failure message.
    """

    payment_hash: bytes
    groupid: int
    partid: int
    route: Route
    session_key: bytes
    created_at: int
    created_index: int
    since: float
    status: SentStatus = "pending"
    withdrawn: bool = False
    completed_at: int | None = None
    code: int | None = None
    reason: str = ""
    failed_at: int | None = None
    failed_with: bytes = b""

    @property
    def origin(self) -> str:
        """Its name for the monitors: payment hash, group and number."""
        return f"{self.payment_hash.hex()}/{self.groupid}/{self.partid}"

    @property
    def place(self) -> tuple[bytes, int, int]:
        """Its key."""
        return self.payment_hash, self.groupid, self.partid


class ChannelRow(Value, frozen=True, kw_only=True, tag="channel_row"):
    """A channel over which HTLCs may go. `hidden`: it is not to be
    named by its place (option_scid_alias)."""

    peer: bytes
    scid: bytes
    hidden: bool = False


class UnderWay(Value, frozen=True, kw_only=True, tag="under_way"):
    """Of a payment, or of an HTLC that is relayed: the clock looks at it, and so does a start,
    which need not look through all that ever was."""


class Keysend(Value, frozen=True, kw_only=True, tag="keysend"):
    """Which payment a keysend question started."""

    payment_hash: bytes


# ---- what is relayed ----------------------------------------------------------------------------


class TermsRow(Value, frozen=True, kw_only=True, tag="terms_row"):
    """What is asked for relaying over it (`OwnTerms`); until `until` what we asked before will do
    too, for not everybody can have heard."""

    scid: bytes
    called: bytes
    peer: bytes
    public: bool
    ours: Policy
    theirs: Policy | None
    before: Policy | None = None
    until: float = 0.0


class Forward(Value, frozen=True, kw_only=True, tag="forward"):
    """An HTLC that came in and goes on: written before it is offered on.

    `status`: offered, settled, failed (downstream), local_failed (here). `channel_id`: where it was
    offered last, for the `tries`th time; `tried`: channels with that peer that refused it.
    `onion` (1366 bytes) is dropped at the end.
    """

    part: ReceivedPart
    payment_hash: bytes
    index: int
    wanted: bytes
    peer: bytes
    out_msat: int
    out_expiry: int
    onion: bytes
    received_at: float
    status: ForwardStatus = "offered"
    channel_id: bytes = b""
    tries: int = 0
    tried: tuple[bytes, ...] = ()
    withdrawn: bool = False
    resolved_at: float | None = None
    failcode: int | None = None
    failreason: str = ""

    @property
    def name(self) -> str:
        """Of the incoming HTLC: channel id and number."""
        return f"{self.part.channel_id.hex()}/{self.part.htlc_id}"

    @property
    def place(self) -> tuple[bytes, int]:
        """Its key: that of the incoming HTLC."""
        return self.part.channel_id, self.part.htlc_id

    @property
    def fee_msat(self) -> int:
        """What we earn by it."""
        return self.part.amount_msat - self.out_msat


class OwedPreimage(Value, frozen=True, kw_only=True, tag="owed_preimage"):
    """Of an HTLC that came in: its preimage is on the way to its
    monitor. The HTLC named here, downstream, is held until it is there."""

    channel_id: bytes
    htlc_id: int


# ---- where they stand ----------------------------------------------------------------------------

INVOICES = Segment("invoice", InvoiceRow, cold=True)  # by label
# the label of an invoice: by its payment hash, its pay_index, the id of the set that paid it
LABELS = Segment("hash", Label, by=(bytes,), cold=True)
PAID = Segment("paid", Label, by=(int,), cold=True)
CLAIMED = Segment("claimed", Label, by=(bytes,), cold=True)
COUNTERS = Segment("counters", Counters, by=())
SETS = Segment("set", PartSet, by=(bytes,))  # by payment hash
CLAIMS = Segment("claim", ClaimRow, by=(bytes,))  # by payment id
PAYMENTS = Segment("payment", Payment, by=(bytes,), cold=True)  # by payment hash
PENDING = Segment("pending", UnderWay, by=(bytes,))  # each payment that is
PARTS = Segment("part", SentPart, by=(bytes, int, int), cold=True)  # by hash, group and part
# by the HTLC that came in: channel id and number
FORWARDS = Segment("forward", Forward, by=(bytes, int), cold=True)
OPEN = Segment("open", UnderWay, by=(bytes, int))  # each that is offered
OWED = Segment("owed", OwedPreimage, by=(bytes, int))
STANDING = Segment("standing", Standing, by=(bytes, int))  # what stands of one relayed before
EARLY = Segment("early", EarlyHtlc, by=(bytes, int))  # not judged before all that stands is known
CHANNELS = Segment("channel", ChannelRow, by=(bytes,))  # by channel id
TERMS = Segment("terms", TermsRow, by=(bytes,))  # by channel id
BEGUN = Segment("begun", Begun, by=())
EVENTS = Segment("event", Event, by=(int,), cold=True)  # by index
KEYSENDS = Segment("keysend", Keysend)  # by the question's id

KEEPS = (
    INVOICES, LABELS, PAID, CLAIMED, COUNTERS, SETS, CLAIMS, PAYMENTS, PENDING, PARTS, FORWARDS,
    OPEN, OWED, STANDING, EARLY, CHANNELS, TERMS, BEGUN, EVENTS, KEYSENDS,
)  # fmt: skip

# in memory only
FINDING = Segment("~finding", int, by=(bytes,))  # by payment hash: the number of its route question
QUESTIONS = Segment("~questions", int, by=())  # numbers given
QUEUED = Segment("~queued", Ask)  # by the question's id: waits until all that stands is known
INDEX = Segment("~channels", tuple[tuple[bytes, ChannelRow], ...], by=())  # of `CHANNELS`
