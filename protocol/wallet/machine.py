"""On-chain coins: addresses, funding transactions, reservations.

Owns: which indices were revealed, our transactions, what is reserved for an opening.
Hears: `NewScript`, `ReserveCoins`, `ReleaseCoins`, `Reservations`, `SentCoins`; blocks from chain.
Delivers: nothing durable; tells `ScriptIs`, `CoinsReserved`, `CoinsRefused`.
Its port is the library that holds keys and selects coins; it is rebuilt from the rows.
"""

from __future__ import annotations

from typing import Any, assert_never

from protocol import machine as contract
from protocol.bitcoin.transaction import display, parse
from protocol.chain.messages import TIP, LostBlock, NewBlock, NextBlock, Tip
from protocol.machine import Ask, Moment, Step
from protocol.segment import Segment
from protocol.wallet.messages import (
    FOR_GOOD,
    CoinsRefused,
    CoinsReserved,
    NewScript,
    ReleaseCoins,
    Reservations,
    ReserveCoins,
    ScriptIs,
    SentCoins,
)
from protocol.wallet.port import (
    Adopt,
    Build,
    Built,
    Examine,
    Examined,
    ListOutputs,
    Outputs,
    Reveal,
    Revealed,
)
from protocol.wallet.rows import (
    BLOCKS,
    KEEPS,
    POSITION,
    RESERVATIONS,
    SCRIPTS,
    STALE,
    TXS,
    OwnScript,
    Position,
    Reservation,
    WalletBlock,
    WalletTx,
)

NOWHERE = Position(height=-1, hash=b"", external=-1, internal=-1)

# by purpose: who waits for a script and asks again when we restart, and requests that wait until
# the chain is read, or for the library
SCRIPT_WANTED = Segment("~script_wanted", str)
WAITING = Segment("~waiting", ReserveCoins)
BUILDING = Segment("~building", ReserveCoins)

Heard = (
    NewScript | ReserveCoins | ReleaseCoins | Reservations | SentCoins | Tip | NewBlock
    | LostBlock | Ask
)  # fmt: skip
Report = Revealed | Built | Examined | Outputs


class Machine(contract.Machine):
    """The wallet actor's decisions."""

    name = "wallet"
    hears = Heard
    reports = Report
    keeps = KEEPS

    def resume(self, step: Step, name: str | None, at: Moment) -> None:
        if name in (None, "chain"):
            if name is None:
                self._adopt(step)
            self._ask_next(step)

    def drain(self, step: Step, at: Moment) -> None:
        self._adopt_news(step)

    def _adopt_news(self, step: Step) -> None:
        """Once for a batch, or before the library is asked for something."""
        if STALE.get(step):
            STALE.drop(step)
            self._adopt(step)

    def step(self, step: Step, sender: str, item: Heard | Report, at: Moment) -> None:
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
                for purpose in self._purposes(step):
                    if purpose not in item.alive and not purpose.startswith(FOR_GOOD):
                        self._release(step, purpose)
            case SentCoins():
                self._sent(step, item.purpose)
            case Tip():
                TIP.put(step, item)
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
                assert_never(item)

    # ---- scripts and coins ----

    def _purposes(self, step: Step) -> list[str]:
        """For which something is kept, or waits."""
        kinds = (RESERVATIONS.below(step), SCRIPTS.below(step), WAITING.below(step))
        return [purpose for rows in kinds for (purpose,) in rows]

    def _new_script(self, step: Step, sender: str, item: NewScript) -> None:
        known = SCRIPTS.get(step, item.purpose)
        if known is not None:
            step.tell(sender, ScriptIs(purpose=item.purpose, script=known.script))
        elif SCRIPT_WANTED.get(step, item.purpose) is None:
            SCRIPT_WANTED.put(step, sender, item.purpose)
            step.do(Reveal(purpose=item.purpose))

    def _revealed(self, step: Step, item: Revealed) -> None:
        self._indices(step, item.external, item.internal)
        if item.ask:
            step.answer(item.ask, {item.purpose: item.address})
            return
        SCRIPTS.put(step, OwnScript(script=item.script), item.purpose)
        asker = SCRIPT_WANTED.need(step, item.purpose)
        step.tell(asker, ScriptIs(purpose=item.purpose, script=item.script))
        SCRIPT_WANTED.drop(step, item.purpose)

    def _indices(self, step: Step, external: int, internal: int) -> None:
        position = POSITION.get(step) or NOWHERE
        POSITION.put(step, position.but(external=external, internal=internal))

    def _behind(self, step: Step) -> bool:
        """There are blocks that we have not read: coins may be missing or spent in them."""
        tip, position = TIP.get(step), POSITION.get(step) or NOWHERE
        return tip is None or position.height < tip.height

    def _reserve_what_waits(self, step: Step) -> None:
        if not self._behind(step):
            for key, item in WAITING.below(step).items():
                WAITING.drop(step, *key)
                self._reserve(step, item)

    def _reserve(self, step: Step, item: ReserveCoins) -> None:
        if self._behind(step):
            WAITING.put(step, item, item.purpose)
            return
        known = RESERVATIONS.get(step, item.purpose)
        if known is not None:
            step.tell("funding", CoinsReserved(purpose=item.purpose, raw=known.raw))
        else:
            self._adopt_news(step)
            BUILDING.put(step, item, item.purpose)
            step.do(Build(request=item))

    def _built(self, step: Step, item: Built) -> None:
        self._indices(step, item.external, item.internal)
        known = RESERVATIONS.get(step, item.purpose)
        if known is not None:  # asked twice in one batch: the first is the one that counts
            STALE.put(step, True)
            step.tell("funding", CoinsReserved(purpose=item.purpose, raw=known.raw))
            return
        request = BUILDING.get(step, item.purpose)
        BUILDING.drop(step, item.purpose)
        STALE.put(step, True)
        if item.raw is not None and request is not None and self._overlaps(step, item.raw):
            # the library was made anew between its choice and our row, and chose a coin twice
            self._reserve(step, request)
            return
        if item.raw is None:
            step.tell("funding", CoinsRefused(purpose=item.purpose, reason=item.reason))
            return
        RESERVATIONS.put(step, Reservation(raw=item.raw), item.purpose)
        step.tell("funding", CoinsReserved(purpose=item.purpose, raw=item.raw))

    @staticmethod
    def _overlaps(step: Step, raw: bytes) -> bool:
        """Whether a coin of this transaction is reserved for another one."""
        reserved = {
            spent.outpoint
            for row in RESERVATIONS.below(step).values()
            for spent in parse(row.raw).inputs
        }
        return any(spent.outpoint in reserved for spent in parse(raw).inputs)

    def _release(self, step: Step, purpose: str) -> None:
        SCRIPTS.drop(step, purpose)
        WAITING.drop(step, purpose)
        if RESERVATIONS.get(step, purpose) is not None:
            RESERVATIONS.drop(step, purpose)
            STALE.put(step, True)

    def _sent(self, step: Step, purpose: str) -> None:
        reservation = RESERVATIONS.get(step, purpose)
        if reservation is None:
            return
        RESERVATIONS.drop(step, purpose)
        txid = parse(reservation.raw).txid
        if TXS.get(step, txid) is None:
            TXS.put(step, WalletTx(raw=reservation.raw), txid)
        STALE.put(step, True)

    # ---- blocks ----

    def _ask_next(self, step: Step) -> None:
        position = POSITION.get(step) or NOWHERE
        step.tell("chain", NextBlock(height=position.height, hash=position.hash))

    def _examined(self, step: Step, item: Examined) -> None:
        position = POSITION.get(step) or NOWHERE
        if position.height >= 0 and item.height != position.height + 1:
            return  # said twice
        POSITION.put(step, position.but(height=item.height, hash=item.hash))
        # the library wants the newest block, and those with transactions of ours
        height = position.height
        if not any(tx.height == height for tx in TXS.below(step).values()):
            BLOCKS.drop(step, height)
        BLOCKS.put(step, WalletBlock(height=item.height, hash=item.hash), item.height)
        for raw in item.ours:
            tx = WalletTx(raw=raw, height=item.height, block=item.hash, time=item.time)
            TXS.put(step, tx, parse(raw).txid)
        if item.ours or not self._behind(step):
            STALE.put(step, True)
        self._ask_next(step)
        self._reserve_what_waits(step)

    def _lost(self, step: Step, height: int) -> None:
        """A reorganisation: one block back, and ask again."""
        position = POSITION.get(step)
        if position is None or position.height != height:
            return
        BLOCKS.drop(step, height)
        for key, tx in TXS.below(step).items():
            if tx.height == height:
                TXS.put(step, tx.but(height=None, block=b"", time=0), *key)
        kept = [block for block in BLOCKS.below(step).values() if block.height < height]
        below = max(kept, key=lambda block: block.height, default=None)
        back = below or WalletBlock(height=-1, hash=b"")
        POSITION.put(step, position.but(height=back.height, hash=back.hash))
        STALE.put(step, True)
        self._ask_next(step)

    def _adopt(self, step: Step) -> None:
        position = POSITION.get(step) or NOWHERE
        step.do(
            Adopt(
                transactions=tuple(TXS.below(step).values()),
                blocks=tuple(BLOCKS.below(step).values()),
                reserved=tuple(item.raw for item in RESERVATIONS.below(step).values()),
                external=position.external,
                internal=position.internal,
            )
        )

    # ---- questions ----

    def _ask(self, step: Step, ask: Ask) -> None:
        match ask.method:
            case "newaddr":
                step.do(Reveal(purpose=ask.params.get("kind", "bech32"), ask=ask.id))
            case "listfunds":
                step.do(ListOutputs(ask=ask.id))
            case _:
                step.unknown(ask)

    def _outputs(self, step: Step, item: Outputs) -> None:
        heights = {display(parse(tx.raw).txid): tx.height for tx in TXS.below(step).values()}
        rows = []
        for output in item.outputs:
            height = heights.get(output["txid"])
            status = {"status": "unconfirmed"}
            rows.append(output | (status if height is None else _confirmed(height)))
        step.answer(item.ask, rows)


def _confirmed(height: int) -> dict[str, Any]:
    return {"status": "confirmed", "blockheight": height}
