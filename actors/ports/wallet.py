"""The wallet actor's port: bdkpython holds keys and chooses coins; its state is made from our rows.

The library has a change set of its own, which we build anew from the rows at every change: nothing
of it is stored that the rows do not say.
"""

from __future__ import annotations

from typing import Any, assert_never

import bdkpython as bdk

from actors.engine.port import PortHost
from protocol.bitcoin.transaction import display, parse, parse_block, serialize
from protocol.crypto.hashes import derive
from protocol.wallet import messages as wallet
from protocol.wallet import port

NETWORKS = {
    "bitcoin": bdk.Network.BITCOIN,
    "testnet": bdk.Network.TESTNET,
    "signet": bdk.Network.SIGNET,
    "regtest": bdk.Network.REGTEST,
}
EXTERNAL, INTERNAL = bdk.KeychainKind.EXTERNAL, bdk.KeychainKind.INTERNAL
LOOKAHEAD = 25


class _Snapshot(bdk.Persistence):  # type: ignore[misc]
    """Gives the library what the rows say; what it wants to keep, the rows keep."""

    def __init__(self, changes: Any) -> None:
        self.changes = changes

    def initialize(self) -> Any:
        return self.changes

    def persist(self, changeset: Any) -> None:
        self.changes = bdk.ChangeSet.from_merge(self.changes, changeset)


class WalletPort:
    """BDK's wallet in memory, built again from what the machine keeps."""

    def __init__(self, host: PortHost) -> None:
        self.host = host
        self.network = NETWORKS[host.settings.network]
        mainnet = host.settings.network == "bitcoin"
        kind = bdk.NetworkKind.MAIN if mainnet else bdk.NetworkKind.TEST
        mnemonic = bdk.Mnemonic.from_entropy(derive(host.settings.seed, "wallet")[:16])
        secret = bdk.DescriptorSecretKey(kind, mnemonic, None)
        self.descriptors = [
            bdk.Descriptor.new_bip84(secret, keychain, kind) for keychain in (EXTERNAL, INTERNAL)
        ]
        self.adopted: port.Adopt | None = None
        self.revealed = {EXTERNAL: -1, INTERNAL: -1}
        self._snapshot = _Snapshot(bdk.ChangeSet())
        self._persister = bdk.Persister.custom(self._snapshot)
        self.wallet = bdk.Wallet(*self.descriptors, self.network, self._persister)
        self.wallet.persist(self._persister)
        self._base = self._snapshot.changes

    def flush(self) -> None:
        pass

    def do(self, item: port.Order) -> None:
        match item:
            case port.Adopt():
                self._adopt(item)
            case port.Reveal():
                self._reveal(item)
            case port.Build():
                self.host.feed(self._build(item.request))
            case port.Examine():
                self.host.feed(self._examine(item))
            case port.ListOutputs():
                self.host.feed(self._outputs(item))
            case _:
                assert_never(item)

    # ---- state ----

    def _adopt(self, item: port.Adopt) -> None:
        """Build the library's wallet from the rows."""
        self.adopted = item
        self.revealed[EXTERNAL] = max(self.revealed[EXTERNAL], item.external)
        self.revealed[INTERNAL] = max(self.revealed[INTERNAL], item.internal)
        blocks = {block.height: block.hash for block in item.blocks}
        blocks |= {tx.height: tx.block for tx in item.transactions if tx.height is not None}
        transactions = [bdk.Transaction(tx.raw) for tx in item.transactions]
        anchors = [
            bdk.Anchor(
                confirmation_block_time=bdk.ConfirmationBlockTime(
                    block_id=bdk.BlockId(height=tx.height, hash=_block_hash(tx.block)),
                    confirmation_time=tx.time,
                ),
                txid=bdk.Transaction(tx.raw).compute_txid(),
            )
            for tx in item.transactions
            if tx.height is not None
        ]
        seen = {
            bdk.Transaction(tx.raw).compute_txid(): 1
            for tx in item.transactions
            if tx.height is None
        }
        graph = bdk.TxGraphChangeSet(
            txs=transactions, txouts={}, anchors=anchors, last_seen=seen, first_seen={},
            last_evicted={},
        )  # fmt: skip
        changes = [bdk.ChainChange(height=h, hash=_block_hash(blocks[h])) for h in sorted(blocks)]
        # before the transactions are indexed: what is beyond its lookahead would not be ours
        revealed = {
            descriptor.descriptor_id(): self.revealed[keychain]
            for descriptor, keychain in zip(self.descriptors, (EXTERNAL, INTERNAL), strict=True)
            if self.revealed[keychain] >= 0
        }
        more = bdk.ChangeSet.from_aggregate(
            None, None, None, bdk.LocalChainChangeSet(changes=changes), graph,
            bdk.IndexerChangeSet(last_revealed=revealed),
        )  # fmt: skip
        self._snapshot = _Snapshot(bdk.ChangeSet.from_merge(self._base, more))
        self._persister = bdk.Persister.custom(self._snapshot)
        self.wallet = bdk.Wallet.load(*self.descriptors, self._persister)
        for raw in item.reserved:
            for spent in bdk.Transaction(raw).input():
                self.wallet.lock_outpoint(spent.previous_output)
        self.wallet.persist(self._persister)

    def _next(self, keychain: Any) -> Any:
        info = self.wallet.reveal_next_address(keychain)
        self.wallet.persist(self._persister)
        self.revealed[keychain] = info.index
        return info.address

    def _reveal(self, item: port.Reveal) -> None:
        address = self._next(EXTERNAL)
        self.host.feed(
            port.Revealed(
                purpose=item.purpose,
                script=address.script_pubkey().to_bytes(),
                address=str(address),
                external=self.revealed[EXTERNAL],
                internal=self.revealed[INTERNAL],
                ask=item.ask,
            )
        )

    # ---- coins ----

    def _build(self, request: wallet.ReserveCoins) -> port.Built:
        try:
            raw, reason = self._signed(request), ""
        except Exception as error:  # the library's own classes of "not enough"
            raw, reason = None, _explained(error)
        indices = self.revealed[EXTERNAL], self.revealed[INTERNAL]
        return port.Built(
            purpose=request.purpose,
            raw=raw,
            reason=reason,
            external=indices[0],
            internal=indices[1],
        )

    def _signed(self, request: wallet.ReserveCoins) -> bytes:
        rate = bdk.FeeRate.from_sat_per_kwu(request.feerate_per_kw)
        builder = bdk.TxBuilder()
        for script, amount_sat in request.outputs:
            builder = builder.add_recipient(bdk.Script(script), bdk.Amount.from_sat(amount_sat))
        if request.utxos:
            builder = builder.add_utxos([_outpoint(text) for text in request.utxos])
            builder = builder.manually_selected_only()
        height = self.wallet.latest_checkpoint().height
        if request.minconf:
            builder = builder.exclude_below_confirmations(request.minconf)
        psbt = builder.fee_rate(rate).current_height(height).finish(self.wallet)
        signed = self.wallet.sign(psbt)
        assert signed, "the wallet could not sign its own transaction"
        tx = psbt.extract_tx()
        for spent in tx.input():
            self.wallet.lock_outpoint(spent.previous_output)
        self.wallet.persist(self._persister)
        last = self.wallet.derivation_index(INTERNAL)
        self.revealed[INTERNAL] = last if last is not None else self.revealed[INTERNAL]
        return bytes(tx.serialize())

    def _examine(self, item: port.Examine) -> port.Examined:
        block = parse_block(item.raw)
        known = {parse(tx.raw).txid for tx in (self.adopted.transactions if self.adopted else ())}
        ours = [
            tx
            for tx in block.transactions
            if any(spent.outpoint.txid in known for spent in tx.inputs)
            or any(self.wallet.is_mine(bdk.Script(out.script)) for out in tx.outputs)
        ]
        return port.Examined(
            height=item.height,
            hash=block.hash,
            time=block.time,
            ours=tuple(serialize(tx) for tx in ours),
        )

    def _outputs(self, item: port.ListOutputs) -> port.Outputs:
        rows = []
        for unspent in self.wallet.list_unspent():
            point = unspent.outpoint
            rows.append(
                {
                    "txid": str(point.txid),
                    "output": point.vout,
                    "amount_msat": unspent.txout.value.to_sat() * 1000,
                    "scriptpubkey": unspent.txout.script_pubkey.to_bytes().hex(),
                    "reserved": self.wallet.is_outpoint_locked(point),
                }
            )
        rows.sort(key=lambda row: (row["txid"], row["output"]))
        return port.Outputs(ask=item.ask, outputs=tuple(rows))


def _outpoint(text: str) -> Any:
    txid, _, vout = text.partition(":")
    return bdk.OutPoint(txid=bdk.Txid.from_string(txid), vout=int(vout))


def _block_hash(raw: bytes) -> Any:
    return bdk.BlockHash.from_string(display(raw))


def _explained(error: Exception) -> str:
    text = str(error)
    if "nsufficient" in text or "oin" in type(error).__name__:
        return "the wallet has not enough confirmed coins for amount and fee"
    if "utxo" in text.lower() or "utxo" in type(error).__name__.lower():
        return "utxos: one of these coins is not ours, or is spent or reserved"
    return f"the wallet cannot build the transaction: {type(error).__name__}"
