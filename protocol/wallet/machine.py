"""On-chain coins: addresses, funding transactions, reservations.

Owns: which indices were revealed, our transactions, what is reserved for an opening.
Hears: `NewScript`, `ReserveCoins`, `ReleaseCoins`, `Reservations`, `SentCoins`; blocks from chain.
Tells: nothing durable; says `ScriptIs`, `CoinsReserved`, `CoinsRefused`.
Its port is the library that holds keys and selects coins; it is rebuilt from the rows.
"""

from __future__ import annotations

from typing import Any

from protocol.bitcoin.transaction import display, parse
from protocol.chain.items import LostBlock, NewBlock, NextBlock, Tip
from protocol.machine import Answer, Ask, Moment, Step
from protocol.wallet.items import (
    FOR_GOOD,
    Adopt,
    Build,
    Built,
    CoinsRefused,
    CoinsReserved,
    Examine,
    Examined,
    ListOutputs,
    NewScript,
    Outputs,
    OwnScript,
    Position,
    ReleaseCoins,
    Reservation,
    Reservations,
    ReserveCoins,
    Reveal,
    Revealed,
    ScriptIs,
    SentCoins,
    WalletBlock,
    WalletTx,
)

NOWHERE = Position(height=-1, hash=b"", external=-1, internal=-1)


class Machine:
    """The wallet actor's decisions."""

    name = "wallet"

    def resume(self, step: Step, name: str | None, at: Moment) -> None:
        if name in (None, "chain"):
            if name is None:
                self._adopt(step)
            self._ask_next(step)

    def wake(self, step: Step, at: Moment) -> None:
        pass

    def drain(self, step: Step, at: Moment) -> None:
        self._adopt_news(step)

    def _adopt_news(self, step: Step) -> None:
        """Once for a batch, or before the library is asked for something."""
        if step.get("~stale"):
            step.drop("~stale")
            self._adopt(step)

    def step(self, step: Step, sender: str, item: object, at: Moment) -> None:
        match item:
            case NewScript():
                self._new_script(step, sender, item)
            case Revealed():
                self._revealed(step, item)
            case ReserveCoins():
                self._reserve(step, item)
            case Built():
                self._built(step, item)
            case ReleaseCoins():
                self._release(step, item.purpose)
            case Reservations():
                kinds = ("reservation/", "script/", "~asked/")
                for key in [key for kind in kinds for key in step.scan(kind)]:
                    purpose = key.partition("/")[2]
                    if purpose not in item.alive and not purpose.startswith(FOR_GOOD):
                        self._release(step, purpose)
            case SentCoins():
                self._sent(step, item.purpose)
            case Tip():
                step.put("~tip", item)
                self._ask_next(step)
                self._reserve_what_waits(step)
            case NewBlock():
                step.do(Examine(height=item.height, raw=item.raw))
            case Examined():
                self._examined(step, item)
            case LostBlock():
                self._lost(step, item.height)
            case Outputs():
                self._outputs(step, item)
            case Ask():
                self._ask(step, item)
            case _:
                raise AssertionError(type(item).__name__)

    # ---- scripts and coins ----

    def _new_script(self, step: Step, sender: str, item: NewScript) -> None:
        known = step.get(f"script/{item.purpose}")
        if known is not None:
            step.say(sender, ScriptIs(purpose=item.purpose, script=known.script))
        elif step.get(f"~for/{item.purpose}") is None:
            step.put(f"~for/{item.purpose}", sender)  # who asks again when we restart
            step.do(Reveal(purpose=item.purpose))

    def _revealed(self, step: Step, item: Revealed) -> None:
        self._indices(step, item.external, item.internal)
        if item.ask:
            step.say("api", Answer(id=item.ask, result={item.purpose: item.address}))
            return
        step.put(f"script/{item.purpose}", OwnScript(script=item.script))
        asker = step.get(f"~for/{item.purpose}")
        step.say(asker, ScriptIs(purpose=item.purpose, script=item.script))
        step.drop(f"~for/{item.purpose}")

    def _indices(self, step: Step, external: int, internal: int) -> None:
        position = step.get("position") or NOWHERE
        step.put("position", position.but(external=external, internal=internal))

    def _behind(self, step: Step) -> bool:
        """There are blocks that we have not read: coins may be missing or spent in them."""
        tip, position = step.get("~tip"), step.get("position") or NOWHERE
        return tip is None or position.height < tip.height

    def _reserve_what_waits(self, step: Step) -> None:
        if not self._behind(step):
            for key, item in step.scan("~asked/").items():
                step.drop(key)
                self._reserve(step, item)

    def _reserve(self, step: Step, item: ReserveCoins) -> None:
        if self._behind(step):
            step.put(f"~asked/{item.purpose}", item)
            return
        known = step.get(f"reservation/{item.purpose}")
        if known is not None:
            step.say("funding", CoinsReserved(purpose=item.purpose, raw=known.raw))
        else:
            self._adopt_news(step)
            step.put(f"~building/{item.purpose}", item)
            step.do(Build(request=item))

    def _built(self, step: Step, item: Built) -> None:
        self._indices(step, item.external, item.internal)
        known = step.get(f"reservation/{item.purpose}")
        if known is not None:  # asked twice in one batch: the first is the one that counts
            step.put("~stale", True)
            step.say("funding", CoinsReserved(purpose=item.purpose, raw=known.raw))
            return
        request = step.get(f"~building/{item.purpose}")
        step.drop(f"~building/{item.purpose}")
        step.put("~stale", True)
        if item.raw is not None and request is not None and self._overlaps(step, item.raw):
            # the library was made anew between its choice and our row, and chose a coin twice
            self._reserve(step, request)
            return
        if item.raw is None:
            step.say("funding", CoinsRefused(purpose=item.purpose, reason=item.reason))
            return
        step.put(f"reservation/{item.purpose}", Reservation(raw=item.raw))
        step.say("funding", CoinsReserved(purpose=item.purpose, raw=item.raw))

    @staticmethod
    def _overlaps(step: Step, raw: bytes) -> bool:
        """Whether a coin of this transaction is reserved for another one."""
        reserved = {
            spent.outpoint
            for row in step.scan("reservation/").values()
            for spent in parse(row.raw).inputs
        }
        return any(spent.outpoint in reserved for spent in parse(raw).inputs)

    def _release(self, step: Step, purpose: str) -> None:
        step.drop(f"script/{purpose}")
        step.drop(f"~asked/{purpose}")
        if step.get(f"reservation/{purpose}") is not None:
            step.drop(f"reservation/{purpose}")
            step.put("~stale", True)

    def _sent(self, step: Step, purpose: str) -> None:
        reservation = step.get(f"reservation/{purpose}")
        if reservation is None:
            return
        step.drop(f"reservation/{purpose}")
        key = f"wtx/{parse(reservation.raw).txid.hex()}"
        if step.get(key) is None:
            step.put(key, WalletTx(raw=reservation.raw))
        step.put("~stale", True)

    # ---- blocks ----

    def _ask_next(self, step: Step) -> None:
        position = step.get("position") or NOWHERE
        step.say("chain", NextBlock(height=position.height, hash=position.hash))

    def _examined(self, step: Step, item: Examined) -> None:
        position = step.get("position") or NOWHERE
        if position.height >= 0 and item.height != position.height + 1:
            return  # said twice
        step.put("position", position.but(height=item.height, hash=item.hash))
        # the library wants the newest block, and those with transactions of ours
        block = f"block/{position.height}"
        height = position.height
        if not any(tx.height == height for tx in step.scan("wtx/").values()):
            step.drop(block)
        step.put(f"block/{item.height}", WalletBlock(height=item.height, hash=item.hash))
        for raw in item.ours:
            tx = WalletTx(raw=raw, height=item.height, block=item.hash, time=item.time)
            step.put(f"wtx/{parse(raw).txid.hex()}", tx)
        if item.ours or not self._behind(step):
            step.put("~stale", True)
        self._ask_next(step)
        self._reserve_what_waits(step)

    def _lost(self, step: Step, height: int) -> None:
        """A reorganisation: one block back, and ask again."""
        position = step.get("position")
        if position is None or position.height != height:
            return
        step.drop(f"block/{height}")
        for key, tx in step.scan("wtx/").items():
            if tx.height == height:
                step.put(key, tx.but(height=None, block=b"", time=0))
        kept = [block for block in step.scan("block/").values() if block.height < height]
        below = max(kept, key=lambda block: block.height, default=None)
        back = below or WalletBlock(height=-1, hash=b"")
        step.put("position", position.but(height=back.height, hash=back.hash))
        step.put("~stale", True)
        self._ask_next(step)

    def _adopt(self, step: Step) -> None:
        position = step.get("position") or NOWHERE
        step.do(
            Adopt(
                transactions=tuple(step.scan("wtx/").values()),
                blocks=tuple(step.scan("block/").values()),
                reserved=tuple(item.raw for item in step.scan("reservation/").values()),
                external=position.external,
                internal=position.internal,
            )
        )

    # ---- questions ----

    def _ask(self, step: Step, ask: Ask) -> None:
        if ask.method == "newaddr":
            step.do(Reveal(purpose=ask.params.get("kind", "bech32"), ask=ask.id))
        else:
            step.do(ListOutputs(ask=ask.id))

    def _outputs(self, step: Step, item: Outputs) -> None:
        heights = {display(parse(tx.raw).txid): tx.height for tx in step.scan("wtx/").values()}
        rows = []
        for output in item.outputs:
            height = heights.get(output["txid"])
            status = {"status": "unconfirmed"}
            rows.append(output | (status if height is None else _confirmed(height)))
        step.say("api", Answer(id=item.ask, result=rows))


def _confirmed(height: int) -> dict[str, Any]:
    return {"status": "confirmed", "blockheight": height}
