"""A chain in memory: blocks, a mempool that knows double spends, reorganisations. No scripts."""

from __future__ import annotations

from protocol.bitcoin.transaction import (
    Outpoint,
    Transaction,
    TxIn,
    TxOut,
    parse,
    parse_block,
    serialize,
    varint,
)
from protocol.crypto.hashes import sha256d

COIN_SAT = 50 * 100_000_000


class SimChain:
    """Blocks are real bytes without proof of work. Every coin is checked for existence only.

    `refuses`: every new transaction is refused, as a backend with a full mempool would.
    """

    def __init__(self) -> None:
        self.blocks: list[bytes] = []
        self.coins: dict[Outpoint, int] = {}
        self.mempool: dict[bytes, Transaction] = {}
        self.seen: set[bytes] = set()
        self.feerate_per_kw = 1000
        self.refuses = False
        self._count = 0
        self.mine()

    @property
    def height(self) -> int:
        return len(self.blocks) - 1

    def hash(self, height: int) -> bytes:
        return sha256d(self.blocks[height][:80])

    def submit(self, raw: bytes) -> bool:
        """False when an input is missing or spent, or the backend is to refuse everything."""
        tx = parse(raw)
        if not self.would_take(raw):
            return False
        if tx.txid not in self.seen:
            self.mempool[tx.txid] = tx
        return True

    def would_take(self, raw: bytes) -> bool:
        """Whether the mempool takes it, or has it."""
        tx = parse(raw)
        if tx.txid in self.mempool or tx.txid in self.seen:
            return True
        if self.refuses:
            return False
        spent = {item.outpoint for other in self.mempool.values() for item in other.inputs}
        made = {
            Outpoint(txid, n)
            for txid, other in self.mempool.items()
            for n in range(len(other.outputs))
        }
        for item in tx.inputs:
            if item.outpoint in spent or not (item.outpoint in self.coins or item.outpoint in made):
                return False
        return True

    def mine(self, count: int = 1, pay_to: bytes = b"\x6a") -> None:
        """A block with all that waits."""
        for _ in range(count):
            self._count += 1
            subsidy = Transaction(
                (TxIn(Outpoint(bytes(32), 0xFFFFFFFF), script=varint(self._count) + b"sim"),),
                (TxOut(COIN_SAT, pay_to),),
            )
            self._connect([subsidy, *self.mempool.values()])
            self.mempool.clear()

    def _connect(self, transactions: list[Transaction]) -> None:
        previous = self.hash(self.height) if self.blocks else bytes(32)
        stamp = (1_700_000_000 + self._count).to_bytes(4, "little")
        header = b"\0\0\0 " + previous + bytes(32) + stamp + bytes(8)
        body = b"".join(serialize(tx) for tx in transactions)
        self.blocks.append(header + varint(len(transactions)) + body)
        for tx in transactions:
            self.seen.add(tx.txid)
            for item in tx.inputs:
                self.coins.pop(item.outpoint, None)
            for n, out in enumerate(tx.outputs):
                self.coins[Outpoint(tx.txid, n)] = out.amount_sat

    def reorganise(self, depth: int) -> None:
        """The newest blocks are replaced by empty ones, one more; their transactions wait again."""
        lost = self.blocks[-depth:]
        kept, self.blocks = self.blocks[:-depth], []
        self.coins.clear()
        self.seen.clear()
        for block in kept:
            self._connect(list(parse_block(block).transactions))
        self.blocks = kept
        back = [tx for block in lost for tx in parse_block(block).transactions[1:]]
        pending = list(self.mempool.values())
        self.mempool.clear()
        self.mine(depth + 1)
        for tx in back + pending:
            self.submit(serialize(tx))
