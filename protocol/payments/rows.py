"""What `payments` keeps. Keys are given with each record."""

from __future__ import annotations

from protocol.monitor.items import HtlcArrived
from protocol.values import Value


class InvoiceRow(Value, frozen=True, kw_only=True):
    """Row "invoice/<label>", and its label under "hash/<payment hash>".

    `ask` is the question that made it: asked again after a restart, it gets the same answer.
    """

    label: str
    bolt11: str
    payment_hash: bytes
    preimage: bytes
    payment_secret: bytes
    amount_msat: int | None
    description: str
    created_at: int
    expires_at: int
    min_final_cltv: int
    created_index: int
    ask: str = ""
    status: str = "unpaid"
    pay_index: int | None = None
    paid_at: int | None = None
    received_msat: int | None = None


class Label(Value, frozen=True, kw_only=True):
    """Row "hash/<payment hash>", and "paid/<pay index, 16 digits>"."""

    label: str


class Counters(Value, frozen=True, kw_only=True):
    """Row "counters": last used numbers; none is ever given twice."""

    created: int = 0
    paid: int = 0
    sent: int = 0


class Part(Value, frozen=True, kw_only=True):
    """One HTLC of a set; `forward_msat` is what its onion said, `amount_msat` what it carries."""

    channel_id: bytes
    htlc_id: int
    amount_msat: int
    cltv_expiry: int
    shared_secret: bytes
    forward_msat: int = 0


class PartSet(Value, frozen=True, kw_only=True):
    """Row "set/<payment hash>": parts that do not yet make up the whole."""

    parts: tuple[Part, ...]
    total_msat: int
    since: float


class ClaimRow(Value, frozen=True, kw_only=True):
    """Row "claim/<payment id>": the preimage may leave; `waiting` monitors do not have it yet."""

    payment_id: bytes
    payment_hash: bytes
    preimage: bytes
    parts: tuple[tuple[bytes, int], ...]
    amount_msat: int
    label: str
    waiting: tuple[bytes, ...]


class Payment(Value, frozen=True, kw_only=True):
    """Row "payment/<payment hash>". It is written before the first HTLC is offered.

    `origin` is the HTLC that is under way, "" if none; `session_key` is its onion's.
    `tried`: channels that refused in this round, after `rounds` whole ones.
    `never`: channels that cannot carry it at all. `deadline`: no new attempt after it.
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
    status: str = "pending"
    keysend_preimage: bytes | None = None
    attempt: int = 0
    origin: str = ""
    channel_id: bytes = b""
    session_key: bytes = b""
    tried: tuple[bytes, ...] = ()
    rounds: int = 0
    never: tuple[bytes, ...] = ()
    retry_at: float | None = None
    withdrawn: bool = False
    preimage: bytes | None = None
    completed_at: int | None = None
    code: int | None = None
    reason: str = ""


class ChannelRow(Value, frozen=True, kw_only=True):
    """Row "channel/<channel id>": a channel over which a payment may go."""

    peer: bytes
    scid: bytes


class Keysend(Value, frozen=True, kw_only=True):
    """Row "keysend/<ask>": which payment a keysend question started."""

    payment_hash: bytes


class Early(Value, frozen=True, kw_only=True):
    """Row "early/<channel>/<htlc>": an HTLC that arrived before the height was known."""

    item: HtlcArrived
