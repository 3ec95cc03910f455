"""Who asked to close a channel: rows "~closer/<channel>/<ask>", until there is a transaction."""

from __future__ import annotations

from protocol.bitcoin.transaction import display, parse
from protocol.channel import items
from protocol.machine import Answer, Ask, Step


def close(step: Step, ask: Ask) -> None:
    """params: channel_id (hex), script (hex), feerate_per_kw."""
    cid = ask.params["channel_id"]
    core, watch = step.get(f"core/{cid}"), step.get(f"watch/{cid}")
    if watch is None or watch.ended is not None:
        text = "there is no such open channel"
        step.say("api", Answer(id=ask.id, code=-32602, text=text))
        return
    if core.failed is not None:
        text = f"the channel failed ({core.failed}): it cannot be closed together"
        step.say("api", Answer(id=ask.id, code=-1, text=text))
        return
    promised, wanted = step.get(f"setup/{cid}").close_to, bytes.fromhex(ask.params["script"])
    if promised is not None and ask.params.get("chosen") and wanted != promised:
        text = "destination: the channel was opened with another close_to"
        step.say("api", Answer(id=ask.id, code=-1, text=text))
        return
    if watch.close is None and core.our_shutdown is None:
        wish = items.CloseRequest(
            channel_id=bytes.fromhex(cid),
            script=promised or wanted,
            feerate_per_kw=ask.params["feerate_per_kw"],
        )
        step.put(f"watch/{cid}", watch.but(close=wish))
        step.log(f"channel={cid} is to be closed together: the operator asks for it")
        step.say("peers", wish)
    step.put(f"~closer/{cid}/{ask.id}", ask)
    if core.closing_tx is not None:
        answer(step, cid, core.closing_tx)


def answer(step: Step, cid: str, raw: bytes, how: str = "mutual") -> None:
    """Everybody who asked to close learns which transaction does it."""
    txid = display(parse(raw).txid)
    result = {"tx": raw.hex(), "txid": txid, "txs": [raw.hex()], "txids": [txid]}
    for key, ask in step.scan(f"~closer/{cid}/").items():
        step.drop(key)
        step.say("api", Answer(id=ask.id, result=result | {"type": how}))


def refuse(step: Step, cid: str, text: str) -> None:
    """It will not come to a closing together."""
    for key, ask in step.scan(f"~closer/{cid}/").items():
        step.drop(key)
        step.say("api", Answer(id=ask.id, code=-1, text=text))
