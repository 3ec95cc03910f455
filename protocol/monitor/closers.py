"""Who asked to close a channel, kept until there is a transaction."""

from __future__ import annotations

from protocol.bitcoin.transaction import display, parse
from protocol.channel import messages
from protocol.machine import Ask, Step
from protocol.monitor.rows import CLOSERS, CORES, SETUPS, WATCHES, KeptClose


def close(step: Step, ask: Ask) -> None:
    """params: channel_id (hex), script (hex), feerate_per_kw."""
    cid = bytes.fromhex(ask.params["channel_id"])
    core, watch = CORES.get(step, cid), WATCHES.get(step, cid)
    if core is None or watch is None or watch.ended is not None:
        text = "there is no such open channel"
        step.refuse(ask.id, -32602, text)
        return
    if core.failed is not None:
        text = f"the channel failed ({core.failed}): it cannot be closed together"
        step.refuse(ask.id, -1, text)
        return
    promised, wanted = SETUPS.need(step, cid).close_to, bytes.fromhex(ask.params["script"])
    if promised is not None and ask.params.get("chosen") and wanted != promised:
        text = "destination: the channel was opened with another close_to"
        step.refuse(ask.id, -1, text)
        return
    if watch.close is None and core.our_shutdown is None:
        wish = messages.CloseRequest(
            channel_id=cid,
            script=promised or wanted,
            feerate_per_kw=ask.params["feerate_per_kw"],
        )
        WATCHES.put(step, watch.but(close=wish.into(KeptClose)), cid)
        step.log(f"channel={cid.hex()} is to be closed together: the operator asks for it")
        step.tell("peers", wish)
    CLOSERS.put(step, ask, cid, ask.id)
    if core.closing_tx is not None:
        answer(step, cid, core.closing_tx)


def abandoned(step: Step, ask_id: str) -> None:
    """Nobody waits for this answer any more."""
    for cid, waiting in CLOSERS.below(step):
        if waiting == ask_id:
            CLOSERS.drop(step, cid, ask_id)


def answer(step: Step, cid: bytes, raw: bytes, how: str = "mutual") -> None:
    """Everybody who asked to close learns which transaction does it."""
    txid = display(parse(raw).txid)
    result = {"tx": raw.hex(), "txid": txid, "txs": [raw.hex()], "txids": [txid]}
    for key, ask in CLOSERS.below(step, cid).items():
        CLOSERS.drop(step, *key)
        step.answer(ask.id, result | {"type": how})


def refuse(step: Step, cid: bytes, text: str) -> None:
    """It will not come to a closing together."""
    for key, ask in CLOSERS.below(step, cid).items():
        CLOSERS.drop(step, *key)
        step.refuse(ask.id, -1, text)
