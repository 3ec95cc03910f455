"""The chain as the node sees it: blocks, confirmations, spends, rebroadcast.

Owns: the tip, what is watched, transactions that are to be mined; watches and transactions belong
to whoever asked, under a reason or purpose of theirs.
Hears: `WatchTx`, `WatchSpend`, `Unwatch`, `WouldTake`, `Broadcast`, `GiveUp`, `NextBlock`; blocks
from its port. Delivers: `TxConfirmed`, `TxReorged`, `Spent`, `Sent`. Tells: `Tip`, `Verdict`,
`NewBlock`, `LostBlock`.
"""

from __future__ import annotations

from typing import Any, assert_never

from protocol import machine as contract
from protocol.bitcoin.transaction import Block, Outpoint, display, parse_block, serialize
from protocol.chain import sending
from protocol.chain.messages import (
    TIP,
    Broadcast,
    GiveUp,
    LookUp,
    LostBlock,
    NewBlock,
    NextBlock,
    OutputsFound,
    Spent,
    Tip,
    TxConfirmed,
    TxReorged,
    Unwatch,
    WatchSpend,
    WatchTx,
    WouldTake,
)
from protocol.chain.port import (
    Away,
    Fetch,
    Fetched,
    Generated,
    Poll,
    Polled,
    Scan,
    Scanned,
    Submitted,
    Tried,
)
from protocol.chain.rows import (
    AWAY,
    CHAIN,
    KEEPS,
    MINED,
    SENDS,
    SPENDS,
    TXS,
    Chain,
    SpendWatch,
    TxWatch,
)
from protocol.machine import Ask, Moment, Step

POLL_SECONDS = 0.1
REBROADCAST_DEPTH = 6
HISTORY = 300


FOLLOWERS = ("wallet", "funding", "gossiper", "monitors", "peers", "payments")

Heard = WatchTx | WatchSpend | Unwatch | WouldTake | Broadcast | GiveUp | LookUp | NextBlock | Ask
Report = Polled | Scanned | Fetched | Tried | Submitted | OutputsFound | Generated | Away


class Machine(contract.Machine):
    """The chain actor's decisions."""

    name = "chain"
    hears = Heard
    reports = Report
    keeps = KEEPS

    def resume(self, step: Step, name: str | None, at: Moment) -> None:
        if name is None:
            self._poll(step)
            sending.rebroadcast(step)
            self._scan_again(step)
            step.wake(at.unix_seconds + POLL_SECONDS)
        elif name in FOLLOWERS and (tip := TIP.get(step)) is not None:
            step.tell(name, tip)

    def wake(self, step: Step, at: Moment) -> None:
        self._poll(step)
        step.wake(at.unix_seconds + POLL_SECONDS)

    def _poll(self, step: Step) -> None:
        chain = CHAIN.get(step)
        if chain is None:
            step.do(Poll(height=-1, hashes=()))
        else:
            step.do(Poll(height=chain.height, hashes=tuple(reversed(chain.hashes))))

    def step(self, step: Step, sender: str, item: Heard | Report, at: Moment) -> None:
        match item:
            case Polled():
                self._polled(step, item)
            case Scanned():
                self._scanned(step, item)
            case Fetched():
                step.tell(item.follower, NewBlock(height=item.height, raw=item.raw))
            case WatchTx():
                self._watch_tx(step, sender, item)
            case WatchSpend():
                self._watch_spend(step, sender, item)
            case Unwatch():
                self._unwatch(step, sender, item)
            case WouldTake():
                sending.would_take(step, sender, item)
            case Tried():
                sending.tried(step, item)
            case Broadcast():
                sending.broadcast(step, sender, item)
            case Submitted():
                sending.submitted(step, item)
            case GiveUp():
                SENDS.drop(step, sender, item.purpose)
            case LookUp():
                step.do(item)
            case OutputsFound():
                step.tell("gossiper", item)
            case NextBlock():
                self._next_block(step, sender, item)
            case Generated():
                self._mined(step, item)
            case Away():
                sending.away(step, item)
                if not item.reason:
                    self._scan_again(step)
            case Ask():
                self._ask(step, item)
            case _:
                assert_never(item)

    # ---- blocks ----

    def _polled(self, step: Step, news: Polled) -> None:
        chain = CHAIN.get(step)
        before = chain.height if chain else None
        if news.asked != (-1 if before is None else before):
            return
        if chain is not None and news.keep < chain.height:
            chain = self._disconnect(step, chain, news.keep)
        height = news.keep
        for raw in news.blocks:
            block = parse_block(raw)
            height += 1
            hashes = ((chain.hashes if chain else ()) + (block.hash,))[-HISTORY:]
            chain = Chain(height=height, hashes=hashes)
            self._look(step, height, block)
        if chain is None:
            return
        tip = Tip(height=chain.height, hash=chain.hashes[-1], feerate_per_kw=news.feerate_per_kw)
        if news.blocks or before != chain.height:
            CHAIN.put(step, chain)
            if before is None:
                self._scan_again(step)
            self._report_depths(step)
            sending.rebroadcast(step)
        if TIP.get(step) != tip:
            TIP.put(step, tip)
            for name in FOLLOWERS:
                step.tell(name, tip)
            self._answer_miners(step, tip.height)

    def _disconnect(self, step: Step, chain: Chain, keep: int) -> Chain:
        """A reorganisation: everything above `keep` is undone, and its owners are told."""
        for key, watch in TXS.below(step).items():
            if watch.height is not None and watch.height > keep:
                TXS.put(step, watch.but(height=None, told=False), *key)
                step.deliver(watch.owner, TxReorged(reason=watch.reason, txid=watch.txid))
        for key, spend in SPENDS.below(step).items():
            if spend.height is not None and spend.height > keep:
                SPENDS.put(step, spend.but(height=None), *key)
        for key, pending in SENDS.below(step).items():
            if pending.height is not None and pending.height > keep:
                SENDS.put(step, pending.but(height=None), *key)
        left = len(chain.hashes) - (chain.height - keep)
        assert left > 0, "a reorganisation deeper than our history"
        return Chain(height=keep, hashes=chain.hashes[:left])

    def _look(self, step: Step, height: int, block: Block) -> None:
        """What of this block is watched?"""
        by_txid = {tx.txid: (at, tx) for at, tx in enumerate(block.transactions)}
        for key, watch in TXS.below(step).items():
            if watch.txid in by_txid and watch.height is None:
                position = by_txid[watch.txid][0]
                raw = serialize(by_txid[watch.txid][1])
                TXS.put(step, watch.but(height=height, position=position, raw=raw), *key)
        for key, pending in SENDS.below(step).items():
            if pending.txid in by_txid:
                SENDS.put(step, sending.taken(step, pending).but(height=height), *key)
        watched = SPENDS.below(step)
        if not watched:
            return
        spenders = {item.outpoint: tx for tx in block.transactions for item in tx.inputs}
        for key, spend in watched.items():
            tx = spenders.get(Outpoint(spend.txid, spend.vout))
            if tx is not None and spend.height is None:
                SPENDS.put(step, spend.but(height=height), *key)
                spent = Spent(
                    reason=spend.reason,
                    txid=spend.txid,
                    vout=spend.vout,
                    raw=serialize(tx),
                    height=height,
                )
                step.deliver(spend.owner, spent)

    def _report_depths(self, step: Step) -> None:
        newest = CHAIN.need(step).height
        for key, watch in TXS.below(step).items():
            if watch.height is None or watch.told:
                continue
            if newest - watch.height + 1 >= watch.depth:
                TXS.put(step, watch.but(told=True), *key)
                confirmed = TxConfirmed(
                    reason=watch.reason,
                    txid=watch.txid,
                    depth=watch.depth,
                    height=watch.height,
                    position=watch.position,
                    raw=watch.raw,
                )
                step.deliver(watch.owner, confirmed)
        for key, pending in SENDS.below(step).items():
            if pending.height is not None and newest - pending.height + 1 >= REBROADCAST_DEPTH:
                SENDS.drop(step, *key)

    # ---- watches ----

    def _watch_tx(self, step: Step, owner: str, item: WatchTx) -> None:
        known = TXS.get(step, owner, item.reason)
        if known is None or known.txid != item.txid:
            fresh = TxWatch(
                owner=owner,
                reason=item.reason,
                txid=item.txid,
                depth=item.depth,
                since=self._scan(step, "tx", owner, item),
            )
            TXS.put(step, fresh, owner, item.reason)
        elif known.depth != item.depth:
            TXS.put(step, known.but(depth=item.depth, told=False), owner, item.reason)
            self._report_depths(step)

    def _watch_spend(self, step: Step, owner: str, item: WatchSpend) -> None:
        known = SPENDS.get(step, owner, item.reason)
        if known is None or (known.txid, known.vout) != (item.txid, item.vout):
            fresh = SpendWatch(
                owner=owner,
                reason=item.reason,
                txid=item.txid,
                vout=item.vout,
                since=self._scan(step, "spend", owner, item),
            )
            SPENDS.put(step, fresh, owner, item.reason)

    def _unwatch(self, step: Step, owner: str, item: Unwatch) -> None:
        TXS.drop(step, owner, item.reason)
        SPENDS.drop(step, owner, item.reason)

    def _scan(
        self, step: Step, kind: str, owner: str, item: WatchTx | WatchSpend | TxWatch | SpendWatch
    ) -> int | None:
        """Blocks that we have seen already may hold what is watched from now on; -> `since` of the
        watch, until they are read."""
        chain = CHAIN.get(step)
        if chain is None or item.since is None:
            return item.since  # at the first block that we read
        if item.since > chain.height:
            return None
        step.do(
            Scan(kind=kind, owner=owner, reason=item.reason, since=item.since, until=chain.height)
        )
        return item.since

    def _scan_again(self, step: Step) -> None:
        """A crash may have swallowed a scan."""
        for key, watch in TXS.below(step).items():
            since = self._scan(step, "tx", watch.owner, watch)
            if since != watch.since:
                TXS.put(step, watch.but(since=since), *key)
        for key, spend in SPENDS.below(step).items():
            since = self._scan(step, "spend", spend.owner, spend)
            if since != spend.since:
                SPENDS.put(step, spend.but(since=since), *key)

    def _scanned(self, step: Step, item: Scanned) -> None:
        key = item.owner, item.reason
        watch = (TXS if item.kind == "tx" else SPENDS).get(step, *key)
        if watch is None:
            return
        self._look(step, item.height, parse_block(item.raw))
        if item.last and item.kind == "tx":
            TXS.put(step, TXS.need(step, *key).but(since=None), *key)
        elif item.last:
            SPENDS.put(step, SPENDS.need(step, *key).but(since=None), *key)
        self._report_depths(step)

    def _next_block(self, step: Step, follower: str, item: NextBlock) -> None:
        chain = CHAIN.get(step)
        if chain is None:
            return
        if item.height < 0:
            step.do(Fetch(follower=follower, height=chain.height))
            return
        offset = item.height - chain.height - 1
        known = item.hash and -len(chain.hashes) <= offset < 0
        if item.height > chain.height or known and chain.hashes[offset] != item.hash:
            step.tell(follower, LostBlock(height=item.height))
        elif item.height < chain.height:
            step.do(Fetch(follower=follower, height=item.height + 1))

    def _ask(self, step: Step, ask: Ask) -> None:
        if ask.method == "generate":
            step.do(ask)
            return
        if ask.method != "getinfo":
            step.unknown(ask)
            return
        tip, away = TIP.get(step), AWAY.get(step)
        result: dict[str, Any] = {
            "blockheight": tip.height if tip else 0,
            "feerate_per_kw": tip.feerate_per_kw if tip else 0,
            "blockhash": display(tip.hash) if tip else None,
        }
        if away is not None:
            text = f"the chain backend does not answer: {away.reason}"
            result["warning_bitcoind_sync"] = text
        step.answer(ask.id, result)

    def _mined(self, step: Step, item: Generated) -> None:
        MINED.put(step, item, item.answer.id)
        tip = TIP.get(step)
        self._answer_miners(step, tip.height if tip is not None else 0)

    def _answer_miners(self, step: Step, height: int) -> None:
        """Who asked for blocks is answered when we have read them: what follows can rely on it."""
        for key, mined in MINED.below(step).items():
            if mined.height <= height:
                MINED.drop(step, *key)
                step.reply(mined.answer)
