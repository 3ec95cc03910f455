"""The embedded chain: kernel, coins, mempool, miner, and a log of blocks that survives a kill."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence

from daruma.embedded import miner
from daruma.embedded.kernel import Kernel, Reject
from daruma.embedded.mempool import Coin, Entry, Mempool
from protocol.bitcoin.transaction import Block, Outpoint, Transaction, parse_block, serialize
from protocol.crypto.hashes import sha256d


class BlockLog:
    """Raw blocks in the order of acceptance: length (4 bytes) and block, appended and synced."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = open(path, "a+b")  # noqa: SIM115  kept open as long as the chain lives

    def read(self) -> list[bytes]:
        """All blocks, in order; a torn last one is cut off."""
        self._file.seek(0)
        data = self._file.read()
        blocks, at = [], 0
        while at + 4 <= len(data):
            size = int.from_bytes(data[at : at + 4], "big")
            if at + 4 + size > len(data):
                break  # a torn tail: the block was never announced to anybody
            blocks.append(data[at + 4 : at + 4 + size])
            at += 4 + size
        self._file.truncate(at)
        return blocks

    def append(self, raw: bytes) -> int:
        """-> where it begins, for taking it back."""
        self._file.seek(0, os.SEEK_END)
        start = self._file.tell()
        self._file.write(len(raw).to_bytes(4, "big") + raw)
        self._file.flush()
        os.fdatasync(self._file.fileno())
        return start

    def take_back(self, start: int) -> None:
        """All that was written from this offset on."""
        self._file.truncate(start)


class EmbeddedChain:
    """A regtest chain of one node: scripts and blocks checked by Bitcoin Core's library, kept
    in a log."""

    def __init__(self, folder: str) -> None:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self._scratch = tempfile.TemporaryDirectory(prefix="kernel-", dir=folder)
        self.kernel = Kernel(self._scratch.name)
        self.log = BlockLog(os.path.join(folder, "blocks.log"))
        self.coins: dict[Outpoint, Coin] = {}
        self.raw: dict[bytes, bytes] = {sha256d(miner.GENESIS[:80]): miner.GENESIS}
        self.where: dict[bytes, bytes] = {}
        self.confirmed: set[bytes] = set()
        self.active: list[bytes] = [self.kernel.block_hash(0)]
        self.times: list[int] = [1296688602]
        self.invalid: set[bytes] = set()
        self._undo: list[list[tuple[Outpoint, Coin]]] = [[]]
        self._orphaned: list[Transaction] = []
        self.mempool = Mempool(self)
        for raw in self.log.read():
            self._replay(raw)

    @property
    def height(self) -> int:
        return len(self.active) - 1

    def median_time(self, height: int | None = None) -> int:
        """Of the eleven blocks up to this height, in unix seconds (BIP 113)."""
        end = self.height if height is None else height
        window = sorted(self.times[max(0, end - 10) : end + 1])
        return window[len(window) // 2]

    # ---- blocks ----

    def _replay(self, raw: bytes) -> None:
        try:
            self._feed(raw)
        except Reject:
            return  # a crash between writing and judging leaves one behind
        self._orphaned.clear()

    def _feed(self, raw: bytes) -> None:
        block_hash = sha256d(raw[:80])
        events = self.kernel.feed(raw)
        self.raw[block_hash] = raw
        for connected, block, height in events:
            if connected:
                self._connect(parse_block(block), block, height)
            else:
                self._disconnect(parse_block(block))
        refused = self.kernel.refused(block_hash)
        if refused is not None:
            raise Reject(refused, -25)

    def add_block(self, raw: bytes) -> None:
        """Durable first, judged second, taken back if refused. Raises `Reject`."""
        if sha256d(raw[:80]) in self.raw:
            return
        start = self.log.append(raw)
        try:
            self._feed(raw)
        except Reject:
            self.log.take_back(start)
            raise
        finally:
            self._resubmit()

    def _connect(self, block: Block, raw: bytes, height: int) -> None:
        undo = []
        for position, tx in enumerate(block.transactions):
            if position:
                undo += [(item.outpoint, self.coins.pop(item.outpoint)) for item in tx.inputs]
            for n, out in enumerate(tx.outputs):
                if out.script[:1] != b"\x6a":
                    self.coins[Outpoint(tx.txid, n)] = Coin(out, height, position == 0)
            self.where[tx.txid] = block.hash
            self.confirmed.add(tx.txid)
            self.mempool.mined(tx)
        self.raw[block.hash] = raw
        self._undo.append(undo)
        self.active.append(block.hash)
        self.times.append(block.time)

    def _disconnect(self, block: Block) -> None:
        # first the spent coins come back, then what the block made goes
        self.coins.update(self._undo.pop())
        for tx in block.transactions:
            for n in range(len(tx.outputs)):
                self.coins.pop(Outpoint(tx.txid, n), None)
            self.where.pop(tx.txid, None)
            self.confirmed.discard(tx.txid)
        self._orphaned = list(block.transactions[1:]) + self._orphaned
        self.active.pop()
        self.times.pop()

    def _resubmit(self) -> None:
        """After a reorganisation everything unconfirmed is looked at again, oldest first."""
        if not self._orphaned:
            return
        old = self.mempool
        again = self._orphaned + [old.entries[i].tx for i in old.in_order(old.entries)]
        self._orphaned = []
        self.mempool = Mempool(self)
        for tx in again:
            try:
                self.mempool.submit([tx], known=self.confirmed, policy=False)
            except Reject:
                continue  # it no longer fits this chain

    def block_at(self, height: int) -> bytes:
        """Its hash, 32 bytes. Raises `Reject`."""
        if not 0 <= height <= self.height:
            raise Reject("Block height out of range", -8)
        return self.active[height]

    # ---- transactions and mining ----

    def submit(self, package: Sequence[Transaction], *, keep: bool = True) -> list[Entry]:
        """All of them for the mempool, or none -> their entries. Not to be kept: only tried."""
        return list(self.mempool.submit(package, known=self.confirmed, keep=keep))

    def generate(self, count: int, script: bytes) -> list[bytes]:
        """So many blocks to a script -> their hashes."""
        hashes = []
        for _ in range(count):
            chosen = [self.mempool.entries[txid] for txid in self.mempool.template()]
            hashes.append(self._mine_on(self.active[-1], self.height + 1, chosen, script))
        return hashes

    def _mine_on(
        self, previous: bytes, height: int, entries: Sequence[Entry], script: bytes
    ) -> bytes:
        transactions = [entry.tx for entry in entries]
        fees = sum(entry.fee_sat for entry in entries)
        wtxids = [_wtxid(tx) for tx in transactions]
        first = miner.coinbase(height, script, fees, wtxids, os.urandom(4))
        # many blocks in a second push the median time ahead; the kernel refuses two hours and more
        when = max(int(time.time()), self.median_time(height - 1) + 1)
        raw = miner.mine(previous, height, when, transactions, first)
        self.add_block(raw)
        return sha256d(raw[:80])

    def invalidate(self, block_hash: bytes) -> None:
        """As bitcoind's invalidateblock: go back below it, and mine elsewhere from now on.

        The library has no such call: a longer branch of empty blocks does it, on regtest only.
        """
        if block_hash not in self.active:
            raise Reject("Block not found", -5)
        height = self.active.index(block_hash)
        tip = self.height
        previous = self.active[height - 1]
        for number in range(height, tip + 2):
            previous = self._mine_on(previous, number, [], b"\x51")
        self.invalid.add(block_hash)


def _wtxid(tx: Transaction) -> bytes:
    return sha256d(serialize(tx))
