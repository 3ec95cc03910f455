"""A mempool with a small, stated policy: fees, dust, finality, maturity, RBF, TRUC, packages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from daruma.embedded.kernel import Reject, verify_input
from protocol.bitcoin.script import P2A, dust_limit_sat
from protocol.bitcoin.transaction import MAX_MONEY_SAT, Outpoint, Transaction, TxOut, serialize

MATURITY, MAX_VSIZE, MAX_TRUC_VSIZE, MAX_TRUC_CHILD_VSIZE = 100, 100_000, 10_000, 1_000
MIN_RELAY_SAT_PER_VB = 1
MAX_REPLACED = 100


class Coin(NamedTuple):
    """`height` is None for an output in the mempool."""

    out: TxOut
    height: int | None
    coinbase: bool


class Entry(NamedTuple):
    """A transaction that waits, with its own fee and size."""

    tx: Transaction
    fee_sat: int
    vsize: int


class View(Protocol):
    """What the mempool needs of the chain."""

    coins: dict[Outpoint, Coin]

    @property
    def height(self) -> int: ...

    def median_time(self, height: int | None = None) -> int: ...


def dust_sat(out: TxOut) -> int:
    """Less than this is no output that is relayed."""
    return 240 if out.script == P2A else dust_limit_sat(out.script)


class Mempool:
    """Transactions that wait for a block, by the rules that a node of today relays by."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.entries: dict[bytes, Entry] = {}
        self.spenders: dict[Outpoint, bytes] = {}

    # ---- graph ----

    def ancestors(self, txid: bytes) -> set[bytes]:
        """Unconfirmed ones, itself too."""
        found: set[bytes] = set()
        todo = [txid]
        while todo:
            one = todo.pop()
            if one in self.entries and one not in found:
                found.add(one)
                todo += [item.outpoint.txid for item in self.entries[one].tx.inputs]
        return found

    def descendants(self, txid: bytes) -> set[bytes]:
        """What spends of it, itself too."""
        found: set[bytes] = set()
        todo = [txid]
        while todo:
            one = todo.pop()
            if one in self.entries and one not in found:
                found.add(one)
                outs = range(len(self.entries[one].tx.outputs))
                spent = (self.spenders.get(Outpoint(one, n)) for n in outs)
                todo += [txid for txid in spent if txid is not None]
        return found

    def remove(self, txid: bytes) -> None:
        """It goes, and with it all that spends of it."""
        for one in self.descendants(txid):
            for item in self.entries[one].tx.inputs:
                self.spenders.pop(item.outpoint, None)
            del self.entries[one]

    def mined(self, tx: Transaction) -> None:
        """It is in a block: it and everything that conflicts with it goes."""
        if tx.txid in self.entries:
            for item in tx.inputs:
                self.spenders.pop(item.outpoint, None)
            del self.entries[tx.txid]
        for item in tx.inputs:
            rival = self.spenders.get(item.outpoint)
            if rival is not None:
                self.remove(rival)

    def in_order(self, txids: Iterable[bytes]) -> list[bytes]:
        """Parents before children."""
        return sorted(txids, key=lambda txid: len(self.ancestors(txid)))

    # ---- acceptance ----

    def submit(
        self, package: Sequence[Transaction], *, known: set[bytes], keep: bool = True,
        policy: bool = True,
    ) -> list[Entry]:  # fmt: skip
        """One transaction, or a parent and its child: all or nothing. Raises `Reject`.

        `policy` False: back from a reorganisation, without fees and dust.
        """
        if len(package) == 2:
            parent = package[0].txid
            if all(item.outpoint.txid != parent for item in package[1].inputs):
                raise Reject("package-not-child-with-parents", -25)
        made: dict[Outpoint, Coin] = {}
        fresh: list[Entry] = []
        rivals: set[bytes] = set()
        for tx in package:
            if tx.txid in known:
                raise Reject("txn-already-known", -27)
            if tx.txid not in self.entries:
                fee = self._judge(tx, package, made, rivals, policy=policy)
                fresh.append(Entry(tx, fee, tx.vsize))
            made |= {
                Outpoint(tx.txid, n): Coin(out, None, False) for n, out in enumerate(tx.outputs)
            }
        if not fresh:
            raise Reject("txn-already-in-mempool", -27)
        self._check_fees(fresh, rivals, policy=policy)
        if keep:
            for rival in rivals:
                self.remove(rival)
            for entry in fresh:
                self.entries[entry.tx.txid] = entry
                for item in entry.tx.inputs:
                    self.spenders[item.outpoint] = entry.tx.txid
        return fresh

    def _judge(
        self,
        tx: Transaction,
        package: Sequence[Transaction],
        made: dict[Outpoint, Coin],
        rivals: set[bytes],
        *,
        policy: bool,
    ) -> int:
        """Everything about one transaction; what it conflicts with joins `rivals`; -> its fee."""
        _check_form(tx)
        coins = [self._coin(item.outpoint, made) for item in tx.inputs]
        for item in tx.inputs:
            if item.outpoint in self.spenders:
                rivals.add(self.spenders[item.outpoint])
        self._check_final(tx, coins)
        fee = sum(coin.out.amount_sat for coin in coins) - sum(o.amount_sat for o in tx.outputs)
        if fee < 0:
            raise Reject("bad-txns-in-belowout")
        if policy:
            _check_dust(tx, fee, package)
            if fee < MIN_RELAY_SAT_PER_VB * tx.vsize and tx.version != 3:
                raise Reject(f"min relay fee not met, {fee} < {tx.vsize}")
        self._check_truc(tx, package, rivals)
        for index in range(len(tx.inputs)):
            if not verify_input(tx, index, [coin.out for coin in coins]):
                raise Reject(f"mandatory-script-verify-flag-failed (input {index})")
        return fee

    def _coin(self, point: Outpoint, made: dict[Outpoint, Coin]) -> Coin:
        coin = self.view.coins.get(point) or made.get(point)
        if coin is None and point.txid in self.entries:
            outputs = self.entries[point.txid].tx.outputs
            if point.vout < len(outputs):
                coin = Coin(outputs[point.vout], None, False)
        if coin is None:
            raise Reject("bad-txns-inputs-missingorspent", -25)
        young = coin.height is not None and self.view.height + 1 - coin.height < MATURITY
        if coin.coinbase and young:
            raise Reject("bad-txns-premature-spend-of-coinbase")
        return coin

    def _check_final(self, tx: Transaction, coins: Sequence[Coin]) -> None:
        """nLockTime and BIP 68, for the next block."""
        height, now = self.view.height, self.view.median_time()
        if tx.locktime and any(item.sequence != 0xFFFFFFFF for item in tx.inputs):
            reached = height if tx.locktime < 500_000_000 else now - 1
            if tx.locktime > reached:
                raise Reject("non-final")
        for item, coin in zip(tx.inputs, coins, strict=True):
            if tx.version < 2 or item.sequence >> 31:
                continue
            since = height + 1 if coin.height is None else coin.height
            if item.sequence & 1 << 22:
                start = self.view.median_time(max(since - 1, 0))
                if now < start + ((item.sequence & 0xFFFF) << 9):
                    raise Reject("non-BIP68-final")
            elif height + 1 < since + (item.sequence & 0xFFFF):
                raise Reject("non-BIP68-final")

    def _check_truc(
        self, tx: Transaction, package: Sequence[Transaction], rivals: set[bytes]
    ) -> None:
        """Version 3: one unconfirmed parent, one child, no mixing; a sibling may be replaced."""
        inside = {other.txid: other for other in package}
        parents = {
            item.outpoint.txid
            for item in tx.inputs
            if item.outpoint.txid in self.entries or item.outpoint.txid in inside
        }
        too_much = len(parents) > 1 or tx.vsize > MAX_TRUC_CHILD_VSIZE
        if tx.version == 3 and parents and too_much:
            raise Reject("TRUC-violation")
        for txid in parents:
            parent = self.entries[txid].tx if txid in self.entries else inside[txid]
            if (parent.version == 3) != (tx.version == 3):
                raise Reject("TRUC-violation")
            if parent.version == 3:
                if any(item.outpoint.txid in self.entries for item in parent.inputs):
                    raise Reject("TRUC-violation")
                for n in range(len(parent.outputs)):
                    sibling = self.spenders.get(Outpoint(txid, n))
                    if sibling is not None:
                        rivals.add(sibling)

    def _check_fees(self, fresh: list[Entry], rivals: set[bytes], *, policy: bool) -> None:
        fees, size = sum(e.fee_sat for e in fresh), sum(e.vsize for e in fresh)
        if policy and fees < MIN_RELAY_SAT_PER_VB * size:
            raise Reject(f"min relay fee not met, {fees} < {size}")
        gone: set[bytes] = set()
        for rival in rivals:
            gone |= self.descendants(rival)
        if not gone:
            return
        if any(item.outpoint.txid in gone for entry in fresh for item in entry.tx.inputs):
            raise Reject("bad-txns-spends-conflicting-tx")
        if len(gone) > MAX_REPLACED:
            raise Reject("too many potential replacements")
        old = sum(self.entries[txid].fee_sat for txid in gone)
        if fees < old + MIN_RELAY_SAT_PER_VB * size:
            raise Reject(f"insufficient fee, rejecting replacement; {fees} < {old + size}")
        for rival in rivals:
            entry = self.entries[rival]
            if fees * entry.vsize <= entry.fee_sat * size:
                raise Reject("insufficient fee: the feerate is not above the replaced one")

    # ---- mining ----

    def template(self, max_weight: int = 3_900_000) -> list[bytes]:
        """By ancestor feerate, parents first."""
        done: set[bytes] = set()
        order: list[bytes] = []
        weight = 0
        left = {txid: self.ancestors(txid) for txid in self.entries}

        def rate(txid: bytes) -> float:
            new = left[txid] - done
            return sum(self.entries[a].fee_sat for a in new) / sum(
                self.entries[a].vsize for a in new
            )

        while left:
            best = max(left, key=rate)
            group = left[best] - done
            more = sum(self.entries[a].tx.weight for a in group)
            if weight + more > max_weight:
                del left[best]
                continue
            for txid in self.in_order(group):
                order.append(txid)
                done.add(txid)
                left.pop(txid, None)
            weight += more
        return order


def _check_form(tx: Transaction) -> None:
    if not tx.inputs or not tx.outputs:
        raise Reject("bad-txns-vin-empty" if not tx.inputs else "bad-txns-vout-empty")
    if tx.version not in (1, 2, 3):
        raise Reject("version")
    if tx.vsize > (MAX_TRUC_VSIZE if tx.version == 3 else MAX_VSIZE):
        raise Reject("tx-size")
    if len(serialize(tx, witness=False)) < 65:
        raise Reject("tx-size-small")
    if len({item.outpoint for item in tx.inputs}) != len(tx.inputs):
        raise Reject("bad-txns-inputs-duplicate")
    if any(out.amount_sat > MAX_MONEY_SAT for out in tx.outputs):
        raise Reject("bad-txns-vout-toolarge")


def _check_dust(tx: Transaction, fee: int, package: Sequence[Transaction]) -> None:
    """One dust output is fine in a zero-fee version 3 parent whose child spends it."""
    small = [n for n, out in enumerate(tx.outputs) if out.amount_sat < dust_sat(out)]
    if not small:
        return
    ephemeral = (
        len(small) == 1
        and fee == 0
        and tx.version == 3
        and len(package) == 2
        and Outpoint(tx.txid, small[0]) in [item.outpoint for item in package[1].inputs]
    )
    if not ephemeral:
        raise Reject("dust")
