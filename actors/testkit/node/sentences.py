"""Sentences about Lightning nodes: open, pay, close; each waits until it is true."""

from __future__ import annotations

from typing import Any

from actors.testkit.node.node import Node
from actors.testkit.node.world import World
from actors.testkit.sentences import Refused, answered, ask, ask_once, until
from protocol.invoice import decode
from protocol.scid import scid_text

__all__ = ["Refused", "answered", "ask", "ask_once", "until"]


def connect(one: Node, two: Node) -> None:
    """Tried again when the other side breaks off, as a person would."""
    for _ in range(20):
        try:
            ask(one, "peers", "connect", id=two.id.hex(), host=two.name, port=9735)
            return
        except Refused:
            one.world.advance()
    raise AssertionError("the peers never connected")


def connected(one: Node, two: Node) -> bool:
    """Whether both say so."""
    row = one.row("peers", f"~peer/{two.id.hex()}")
    return row is not None and row.ready


def to_open(peer: Node, amount_sat: int, **params: Any) -> dict[str, Any]:
    """Parameters of `fundchannel`, as the API asks funding."""
    return {"destinations": [{"id": peer.id.hex(), "amount_sat": amount_sat, **params}]}


def start_opening(one: Node, two: Node, amount_sat: int, **params: Any) -> str:
    """`fundchannel`, tried again as a person would when an interruption ended it; channel id."""
    params = {"announce": False, "push_msat": 0} | params
    for attempt in range(20):
        number = f"fundchannel/{two.name}/{amount_sat}/{attempt}"
        refused = number in one.answers and one.answers[number].code is not None
        if refused:
            continue
        if number not in one.asked and number not in one.answers and not connected(one, two):
            connect(one, two)
        try:
            result = ask_once(
                one,
                "funding",
                number,
                "fundchannel",
                **to_open(two, amount_sat, **params),
            )
        except Refused:
            continue
        return str(result["channel_id"])
    raise AssertionError("the channel was never opened")


class ChannelView:
    """One channel as its node's monitor has it."""

    def __init__(self, node: Node, cid: str) -> None:
        self.id = cid
        self.core = node.row("monitors", f"core/{cid}")
        self.setup = node.row("monitors", f"setup/{cid}")
        watch = node.row("monitors", f"watch/{cid}")
        self.ended, self.alarm = watch.ended, watch.alarm


def channels(node: Node) -> list[ChannelView]:
    """As its monitors have them."""
    return [ChannelView(node, key.removeprefix("watch/")) for key in node.rows("monitors", "watch")]


def live(node: Node, cid: str) -> Any:
    """The channel as peers has it."""
    return node.row("peers", f"~live/{cid}")


def usable(node: Node, cid: str) -> bool:
    """Whether payments may go over it now."""
    view = live(node, cid)
    return view is not None and view.channel.core.usable and view.established


def open_channel(one: Node, two: Node, amount_sat: int, **params: Any) -> str:
    """Opened, confirmed, and usable at both ends."""
    world = one.world
    cid = start_opening(one, two, amount_sat, **params)
    confirm(world, one)
    until(world, lambda: usable(one, cid) and usable(two, cid), "the channel is usable")
    until(world, lambda: node_knows(one, cid) and node_knows(two, cid), "payments know of it")
    return cid


def node_knows(node: Node, cid: str) -> bool:
    """Whether payments has heard of the channel."""
    return node.row("payments", f"channel/{cid}") is not None


def confirm(world: World, node: Node, blocks: int = 3) -> None:
    """Wait until the mempool has it, then mine."""
    until(world, lambda: world.chain.mempool, "the transaction was broadcast")
    for _ in range(blocks):
        world.mine()


def invoice(node: Node, amount_msat: int, label: str) -> dict[str, Any]:
    """Made, or the one with that label."""
    try:
        made: dict[str, Any] = ask(
            node, "payments", "invoice", label=label, amount_msat=amount_msat, description=label
        )
    except Refused:
        made = ask(node, "payments", "listinvoices", label=label)[0]
    return made


def send_part(
    one: Node, two: Node, made: dict[str, Any], amount_msat: int, number: int, group: int = 1
) -> None:
    """`sendpay` of one part over a channel between the two; said again it is the same part."""
    known = one.row("payments", f"part/{made['payment_hash']}/{group}/{number}")
    if known is not None:
        return
    terms = decode(made["bolt11"])
    (scid, *_) = [
        scid_text(row.scid)
        for row in one.rows("payments", "channel").values()
        if row.peer == two.id
    ]
    hop = {"amount_msat": amount_msat, "id": two.id.hex(), "delay": 30, "channel": scid}
    ask(
        one,
        "payments",
        "sendpay",
        route=[hop],
        payment_hash=made["payment_hash"],
        amount_msat=terms.amount_msat,
        payment_secret=terms.payment_secret.hex(),
        partid=number,
        groupid=group,
        bolt11=made["bolt11"],
    )


def pay(one: Node, two: Node, amount_msat: int, label: str) -> dict[str, Any]:
    """An invoice, and its payment; asked again, it is the same payment."""
    made = invoice(two, amount_msat, label)
    result: dict[str, Any] = ask(one, "payments", "pay", bolt11=made["bolt11"])
    return result


def close(one: Node, cid: str) -> None:
    """Closed together, and the closing transaction mined."""
    world = one.world
    script = one.purse.script(100)
    ask(one, "monitors", "close", channel_id=cid, script=script.hex(), feerate_per_kw=1000)
    until(world, lambda: world.chain.mempool, "the closing transaction was broadcast")
    world.mine()


def balance_sat(node: Node) -> int:
    """What the wallet owns."""
    return sum(out.amount_sat for out in node.purse.coins().values())
