"""The ports of simulated actors: what a socket, a wallet library and a chain backend would do."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, assert_never

from actors.testkit.node.chain import SimChain
from protocol.bitcoin import script
from protocol.bitcoin.transaction import (
    Outpoint,
    Transaction,
    TxIn,
    TxOut,
    display,
    parse,
    parse_block,
    serialize,
)
from protocol.chain import port as chain
from protocol.chain.messages import LookUp, Output, OutputsFound
from protocol.crypto.hashes import sha256
from protocol.machine import Ask
from protocol.wallet import messages as wallet
from protocol.wallet import port
from protocol.wallet.rows import WalletTx

LOOKAHEAD = 200
REFUSED = "bad-txns-inputs-missingorspent"


def chain_port(sim: SimChain, item: chain.Order) -> list[Any]:
    """What a chain backend answers."""
    match item:
        case chain.Poll():
            return [_polled(sim, item)]
        case chain.Scan():
            heights = range(item.since, item.until + 1)
            return [
                chain.Scanned(
                    kind=item.kind,
                    owner=item.owner,
                    reason=item.reason,
                    height=h,
                    raw=sim.blocks[h],
                    last=h == item.until,
                )
                for h in heights
            ]
        case chain.Fetch():
            raw = sim.blocks[item.height]
            return [chain.Fetched(follower=item.follower, height=item.height, raw=raw)]
        case chain.Send():
            refused = "" if sim.submit(item.raw) else REFUSED
            return [
                chain.Submitted(
                    owner=item.owner, purpose=item.purpose, raw=item.raw, refused=refused
                )
            ]
        case chain.Try():
            refused = "" if sim.would_take(item.raw) else REFUSED
            return [
                chain.Tried(owner=item.owner, purpose=item.purpose, raw=item.raw, refused=refused)
            ]
        case LookUp():
            return [OutputsFound(outputs=tuple(_output(sim, scid) for scid in item.scids))]
        case Ask():
            return []  # a simulated chain is mined by the story
        case _:
            assert_never(item)


def _output(sim: SimChain, scid: bytes) -> Output:
    height, index, vout = (int.from_bytes(part, "big") for part in (scid[:3], scid[3:6], scid[6:]))
    if height > sim.height:
        return Output(scid=scid, unknown=True)
    transactions = parse_block(sim.blocks[height]).transactions
    if index >= len(transactions) or vout >= len(transactions[index].outputs):
        return Output(scid=scid)
    tx = transactions[index]
    if Outpoint(tx.txid, vout) not in sim.coins:
        return Output(scid=scid)
    out = tx.outputs[vout]
    return Output(scid=scid, txid=tx.txid, script=out.script, amount_sat=out.amount_sat)


def _polled(sim: SimChain, item: chain.Poll) -> chain.Polled:
    keep = item.height
    for known in item.hashes:
        if keep <= sim.height and sim.hash(keep) == known:
            break
        keep -= 1
    if item.height < 0:
        keep = sim.height - 1
    blocks = tuple(sim.blocks[keep + 1 :])
    return chain.Polled(
        asked=item.height, keep=keep, blocks=blocks, feerate_per_kw=sim.feerate_per_kw
    )


def _script(seed: bytes, index: int) -> bytes:
    return script.p2wpkh(b"\x02" + sha256(seed + index.to_bytes(4, "big")))


@lru_cache
def _scripts(seed: bytes) -> frozenset[bytes]:
    """Every script of a wallet; the same for every world, and asked for in each."""
    return frozenset(_script(seed, index) for index in range(LOOKAHEAD))


class SimWallet:
    """Coins without signatures; its state is made from the machine's rows, as the real one's."""

    def __init__(self, seed: bytes) -> None:
        self.seed = seed
        self.revealed = -1
        self.transactions: tuple[WalletTx, ...] = ()
        self.reserved: set[Outpoint] = set()

    def script(self, index: int) -> bytes:
        return _script(self.seed, index)

    def _ours(self) -> frozenset[bytes]:
        return _scripts(self.seed)

    def handle(self, item: port.Order) -> list[Any]:
        """One order of the machine; -> what the port reports."""
        match item:
            case port.Adopt():
                self.transactions = item.transactions
                self.revealed = max(self.revealed, item.external)
                self.reserved = {
                    spent.outpoint for raw in item.reserved for spent in parse(raw).inputs
                }
                return []
            case port.Reveal():
                self.revealed += 1
                return [self._revealed(item)]
            case port.Build():
                return [self._build(item.request)]
            case port.Examine():
                return [self._examine(item)]
            case port.ListOutputs():
                rows = tuple(
                    {
                        "txid": display(point.txid),
                        "output": point.vout,
                        "amount_msat": out.amount_sat * 1000,
                        "scriptpubkey": out.script.hex(),
                        "reserved": point in self.reserved,
                    }
                    for point, out in self.coins().items()
                )
                return [port.Outputs(ask=item.ask, outputs=rows)]
            case _:
                assert_never(item)

    def _revealed(self, item: port.Reveal) -> port.Revealed:
        form = self.script(self.revealed)
        return port.Revealed(
            purpose=item.purpose,
            script=form,
            address=script.to_address(form, "regtest") or "",
            external=self.revealed,
            internal=-1,
            ask=item.ask,
        )

    def coins(self) -> dict[Outpoint, TxOut]:
        """Unspent outputs of ours among the transactions that it knows."""
        ours = self._ours()
        coins: dict[Outpoint, TxOut] = {}
        spent: set[Outpoint] = set()
        for row in self.transactions:
            tx = parse(row.raw)
            spent |= {item.outpoint for item in tx.inputs}
            for n, out in enumerate(tx.outputs):
                if out.script in ours:
                    coins[Outpoint(tx.txid, n)] = out
        return {point: out for point, out in sorted(coins.items()) if point not in spent}

    def _build(self, request: wallet.ReserveCoins) -> port.Built:
        fee = request.feerate_per_kw * 600 // 1000
        free = [(p, out) for p, out in self.coins().items() if p not in self.reserved]
        chosen: list[tuple[Outpoint, TxOut]] = []
        amount = sum(amount_sat for _, amount_sat in request.outputs)
        while free and sum(out.amount_sat for _, out in chosen) < amount + fee:
            chosen.append(free.pop(0))
        total = sum(out.amount_sat for _, out in chosen)
        if total < amount + fee:
            return port.Built(
                purpose=request.purpose,
                raw=None,
                reason="not enough coins",
                external=self.revealed,
                internal=-1,
            )
        self.revealed += 1
        tx = Transaction(
            tuple(TxIn(point) for point, _ in chosen),
            (
                *(TxOut(amount_sat, form) for form, amount_sat in request.outputs),
                TxOut(total - amount - fee, self.script(self.revealed)),
            ),
        )
        self.reserved |= {point for point, _ in chosen}
        return port.Built(
            purpose=request.purpose,
            raw=serialize(tx),
            reason="",
            external=self.revealed,
            internal=-1,
        )

    def _examine(self, item: port.Examine) -> port.Examined:
        block, ours = parse_block(item.raw), self._ours()
        coins = set(self.coins())
        found = tuple(
            serialize(tx)
            for tx in block.transactions
            if any(out.script in ours for out in tx.outputs)
            or any(spent.outpoint in coins for spent in tx.inputs)
        )
        return port.Examined(height=item.height, hash=block.hash, time=block.time, ours=found)
