"""The chain as the node sees it: blocks, confirmations, spends, rebroadcast.

Owns: the tip, what is watched, transactions that are to be mined; watches and transactions belong
to whoever asked, under a reason or purpose of theirs.
Hears: `WatchTx`, `WatchSpend`, `Unwatch`, `WouldTake`, `Broadcast`, `GiveUp`, `NextBlock`; blocks
from its port. Tells: `TxConfirmed`, `TxReorged`, `Spent`, `Sent` (durable); says `Tip`, `Verdict`,
`NewBlock`, `LostBlock`.
"""

from __future__ import annotations

from protocol.bitcoin.transaction import Block, Outpoint, display, parse_block, serialize
from protocol.chain import sending
from protocol.chain.items import (
    Broadcast,
    Found,
    GiveUp,
    LookUp,
    LostBlock,
    NewBlock,
    NextBlock,
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
    Mined,
    Poll,
    Polled,
    Scan,
    Scanned,
    Submitted,
    Tried,
)
from protocol.chain.rows import Chain, SpendWatch, TxWatch
from protocol.machine import Answer, Ask, Moment, Step

POLL_SECONDS = 0.1
REBROADCAST_DEPTH = 6
HISTORY = 300


FOLLOWERS = ("wallet", "funding", "gossiper", "monitors", "peers", "payments")


class Machine:
    """The chain actor's decisions."""

    name = "chain"

    def resume(self, step: Step, name: str | None, at: Moment) -> None:
        if name is None:
            self._poll(step)
            sending.rebroadcast(step)
            self._scan_again(step)
            step.wake(at.unix_seconds + POLL_SECONDS)
        elif name in FOLLOWERS and (tip := step.get("~tip")) is not None:
            step.say(name, tip)

    def wake(self, step: Step, at: Moment) -> None:
        self._poll(step)
        step.wake(at.unix_seconds + POLL_SECONDS)

    def drain(self, step: Step, at: Moment) -> None:
        pass

    def _poll(self, step: Step) -> None:
        chain = step.get("chain")
        if chain is None:
            step.do(Poll(height=-1, hashes=()))
        else:
            step.do(Poll(height=chain.height, hashes=tuple(reversed(chain.hashes))))

    def step(self, step: Step, sender: str, item: object, at: Moment) -> None:
        match item:
            case Polled():
                self._polled(step, item)
            case Scanned():
                self._scanned(step, item)
            case Fetched():
                step.say(item.follower, NewBlock(height=item.height, raw=item.raw))
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
                step.drop(f"send/{sender}/{item.purpose}")
            case LookUp():
                step.do(item)
            case Found():
                step.say("gossiper", item)
            case NextBlock():
                self._next_block(step, sender, item)
            case Mined():
                self._mined(step, item)
            case Away():
                sending.away(step, item)
                if not item.reason:
                    self._scan_again(step)
            case Ask():
                self._ask(step, item)
            case _:
                raise AssertionError(type(item).__name__)

    # ---- blocks ----

    def _polled(self, step: Step, news: Polled) -> None:
        chain = step.get("chain")
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
            step.put("chain", chain)
            if before is None:
                self._scan_again(step)
            self._report_depths(step)
            sending.rebroadcast(step)
        if step.get("~tip") != tip:
            step.put("~tip", tip)
            for name in FOLLOWERS:
                step.say(name, tip)
            self._answer_miners(step, tip.height)

    def _disconnect(self, step: Step, chain: Chain, keep: int) -> Chain:
        """A reorganisation: everything above `keep` is undone, and its owners are told."""
        for key, watch in step.scan("tx/").items():
            if watch.height is not None and watch.height > keep:
                step.put(key, watch.but(height=None, told=False))
                step.tell(watch.owner, TxReorged(reason=watch.reason, txid=watch.txid))
        for key, watch in step.scan("spend/").items():
            if watch.height is not None and watch.height > keep:
                step.put(key, watch.but(height=None))
        for key, pending in step.scan("send/").items():
            if pending.height is not None and pending.height > keep:
                step.put(key, pending.but(height=None))
        left = len(chain.hashes) - (chain.height - keep)
        assert left > 0, "a reorganisation deeper than our history"
        return Chain(height=keep, hashes=chain.hashes[:left])

    def _look(self, step: Step, height: int, block: Block) -> None:
        """What of this block is watched?"""
        by_txid = {tx.txid: (at, tx) for at, tx in enumerate(block.transactions)}
        for key, watch in step.scan("tx/").items():
            if watch.txid in by_txid and watch.height is None:
                position = by_txid[watch.txid][0]
                raw = serialize(by_txid[watch.txid][1])
                step.put(key, watch.but(height=height, position=position, raw=raw))
        for key, pending in step.scan("send/").items():
            if pending.txid in by_txid:
                step.put(key, sending.taken(step, pending).but(height=height))
        watched = step.scan("spend/")
        if not watched:
            return
        spenders = {item.outpoint: tx for tx in block.transactions for item in tx.inputs}
        for key, watch in watched.items():
            tx = spenders.get(Outpoint(watch.txid, watch.vout))
            if tx is not None and watch.height is None:
                step.put(key, watch.but(height=height))
                spent = Spent(
                    reason=watch.reason,
                    txid=watch.txid,
                    vout=watch.vout,
                    raw=serialize(tx),
                    height=height,
                )
                step.tell(watch.owner, spent)

    def _report_depths(self, step: Step) -> None:
        chain = step.get("chain")
        for key, watch in step.scan("tx/").items():
            if watch.height is None or watch.told:
                continue
            if chain.height - watch.height + 1 >= watch.depth:
                step.put(key, watch.but(told=True))
                confirmed = TxConfirmed(
                    reason=watch.reason,
                    txid=watch.txid,
                    depth=watch.depth,
                    height=watch.height,
                    position=watch.position,
                    raw=watch.raw,
                )
                step.tell(watch.owner, confirmed)
        for key, pending in step.scan("send/").items():
            if (
                pending.height is not None
                and chain.height - pending.height + 1 >= REBROADCAST_DEPTH
            ):
                step.drop(key)

    # ---- watches ----

    def _watch_tx(self, step: Step, owner: str, item: WatchTx) -> None:
        key = f"tx/{owner}/{item.reason}"
        known = step.get(key)
        if known is None or known.txid != item.txid:
            fresh = TxWatch(
                owner=owner,
                reason=item.reason,
                txid=item.txid,
                depth=item.depth,
                since=item.since,
            )
            step.put(key, fresh)
            self._scan(step, key)
        elif known.depth != item.depth:
            step.put(key, known.but(depth=item.depth, told=False))
            self._report_depths(step)

    def _watch_spend(self, step: Step, owner: str, item: WatchSpend) -> None:
        key = f"spend/{owner}/{item.reason}"
        known = step.get(key)
        if known is None or (known.txid, known.vout) != (item.txid, item.vout):
            fresh = SpendWatch(
                owner=owner,
                reason=item.reason,
                txid=item.txid,
                vout=item.vout,
                since=item.since,
            )
            step.put(key, fresh)
            self._scan(step, key)

    def _unwatch(self, step: Step, owner: str, item: Unwatch) -> None:
        step.drop(f"tx/{owner}/{item.reason}")
        step.drop(f"spend/{owner}/{item.reason}")

    def _scan(self, step: Step, key: str) -> None:
        """Blocks that we have seen already may hold what is watched from now on."""
        chain, watch = step.get("chain"), step.get(key)
        if chain is None:
            return  # at the first block that we read
        if watch.since > chain.height:
            step.put(key, watch.but(since=None))
        else:
            step.do(Scan(key=key, since=watch.since, until=chain.height))

    def _scan_again(self, step: Step) -> None:
        """A crash may have swallowed a scan."""
        for key, watch in (step.scan("tx/") | step.scan("spend/")).items():
            if watch.since is not None:
                self._scan(step, key)

    def _scanned(self, step: Step, item: Scanned) -> None:
        watch = step.get(item.key)
        if watch is None:
            return
        self._look(step, item.height, parse_block(item.raw))
        if item.last:
            step.put(item.key, step.get(item.key).but(since=None))
        self._report_depths(step)

    def _next_block(self, step: Step, follower: str, item: NextBlock) -> None:
        chain = step.get("chain")
        if chain is None:
            return
        if item.height < 0:
            step.do(Fetch(follower=follower, height=chain.height))
            return
        offset = item.height - chain.height - 1
        known = item.hash and -len(chain.hashes) <= offset < 0
        if item.height > chain.height or known and chain.hashes[offset] != item.hash:
            step.say(follower, LostBlock(height=item.height))
        elif item.height < chain.height:
            step.do(Fetch(follower=follower, height=item.height + 1))

    def _ask(self, step: Step, ask: Ask) -> None:
        if ask.method == "generate":
            step.do(ask)
            return
        tip, away = step.get("~tip"), step.get("~away")
        result = {
            "blockheight": tip.height if tip else 0,
            "feerate_per_kw": tip.feerate_per_kw if tip else 0,
            "blockhash": display(tip.hash) if tip else None,
        }
        if away is not None:
            text = f"the chain backend does not answer: {away.reason}"
            result["warning_bitcoind_sync"] = text
        step.say("api", Answer(id=ask.id, result=result))

    def _mined(self, step: Step, item: Mined) -> None:
        step.put(f"~mined/{item.answer.id}", item)
        tip = step.get("~tip")
        self._answer_miners(step, tip.height if tip is not None else 0)

    def _answer_miners(self, step: Step, height: int) -> None:
        """Who asked for blocks is answered when we have read them: what follows can rely on it."""
        for key, mined in step.scan("~mined/").items():
            if mined.height <= height:
                step.drop(key)
                step.say("api", mined.answer)
