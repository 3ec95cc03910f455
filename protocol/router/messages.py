"""What the router hears and tells: questions, routes, and what payments have learned."""

from __future__ import annotations

from protocol.invoice import RouteHop
from protocol.values import Value


class Hop(Value, frozen=True, kw_only=True, tag="hop"):
    """Over this channel `amount_msat` is sent, with `delay` blocks left; `node_id` receives it."""

    scid: bytes
    direction: int
    node_id: bytes
    amount_msat: int
    delay: int


class Limit(Value, frozen=True, kw_only=True, tag="limit"):
    """Over this channel, this way, so much and no more may be sent."""

    scid: bytes
    direction: int
    amount_msat: int


class Capacity(Value, frozen=True, kw_only=True):
    """What one of our channels can take now. `scid`: our name for it. `ready` is False while the
    peer is away: it may be back soon."""

    channel_id: bytes
    scid: bytes
    peer: bytes
    spendable_msat: int
    minimum_msat: int
    ready: bool


class FindRoutes(Value, frozen=True, kw_only=True):
    """From payments, by way of peers (which fill in `capacities`), to the router.

    `payment` and `number` name the question. `amount_msat` in at most `most_parts` parts, for at
    most `most_fee_msat`. `final_cltv`: blocks at the payee; `most_delay`: at our end. `limits`:
    what this payment has learned, and `flying`: what its other parts occupy. `without`: nodes.
    `hints`: paths of private channels that lead to the payee.
    """

    payment: bytes
    number: int
    target: bytes
    amount_msat: int
    most_fee_msat: int
    final_cltv: int
    most_delay: int
    most_parts: int
    limits: tuple[Limit, ...] = ()
    flying: tuple[Limit, ...] = ()
    without: tuple[bytes, ...] = ()
    hints: tuple[tuple[RouteHop, ...], ...] = ()
    capacities: tuple[Capacity, ...] = ()


class Route(Value, frozen=True, kw_only=True, tag="route"):
    """One part: it leaves over our channel `channel_id`; the first hop is that channel."""

    channel_id: bytes
    hops: tuple[Hop, ...]
    probability: float = 1.0

    @property
    def sent_msat(self) -> int:
        """What leaves us."""
        return self.hops[0].amount_msat

    @property
    def amount_msat(self) -> int:
        """What arrives."""
        return self.hops[-1].amount_msat


class RoutesFound(Value, frozen=True, kw_only=True):
    """The answer: routes that make up the amount, or none, with `reason` and `code`. `hopeless`:
    asking again would not help."""

    payment: bytes
    number: int
    routes: tuple[Route, ...] = ()
    reason: str = ""
    code: int = 205
    hopeless: bool = False


class Learned(Value, frozen=True, kw_only=True):
    """From payments: how far a part came that failed. `passed` channels carried their amount, and
    have it back; `failed` did not.

    Best effort: it teaches the router, and nothing else depends on it.
    """

    passed: tuple[Limit, ...] = ()
    failed: tuple[Limit, ...] = ()
