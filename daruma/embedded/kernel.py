"""Bitcoin Core's validation library (py-bitcoinkernel), with its true verdicts.

Its `process_block` says True for a block that fails in connecting, a wrong input index aborts the
process, and nothing is flushed before a clean end: so the databases are in memory and our own log
of blocks is the truth (chain.py), and all this runs in a process of its own.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from typing import Any

import pbk
import pbk.capi.bindings as capi
from pbk.script import PrecomputedTransactionData

from protocol.bitcoin.transaction import Transaction, TxOut, serialize
from protocol.crypto.hashes import sha256d


class Reject(Exception):
    """Why a block or a transaction is refused; the text is bitcoind's where it has one."""

    def __init__(self, reason: str, code: int = -26) -> None:
        super().__init__(reason)
        self.code = code


class Kernel:
    """One chainstate. `events` collects (connected?, raw block, height) of the last `feed`."""

    def __init__(self, folder: str) -> None:
        self.events: list[tuple[bool, bytes, int]] = []
        self._verdicts: dict[bytes, Any] = {}
        self._why = ""
        self._log = pbk.LoggingConnection(self._logged)
        callbacks = pbk.ValidationInterfaceCallbacks(
            block_checked=self._checked,
            block_connected=lambda _u, block, entry: self._event(True, block, entry),
            block_disconnected=lambda _u, block, entry: self._event(False, block, entry),
        )
        context = pbk.make_context(pbk.ChainType.REGTEST, callbacks)
        options = pbk.ChainstateManagerOptions(context, folder, os.path.join(folder, "blocks"))
        options.update_block_tree_db_in_memory(True)
        options.update_chainstate_db_in_memory(True)
        options.set_worker_threads_num(0)
        self._manager = pbk.ChainstateManager(options)
        self._chain = self._manager.get_active_chain()

    def _logged(self, line: str) -> None:
        if "error" in line.lower() and not self._why:
            self._why = line.strip().split(": ", 1)[-1]

    def _checked(self, _user: Any, block: Any, state: Any) -> None:
        self._verdicts[sha256d(bytes(block)[:80])] = state.validation_mode

    def _event(self, connected: bool, block: Any, entry: Any) -> None:
        self.events.append((connected, bytes(block), entry.height))

    @property
    def height(self) -> int:
        return int(self._chain.height)

    def block_hash(self, height: int) -> bytes:
        return bytes(self._chain.block_tree_entries[height].block_hash)

    def feed(self, raw: bytes) -> list[tuple[bool, bytes, int]]:
        """What was connected and disconnected. Raises `Reject` after noting the events, too."""
        self.events.clear()
        self._verdicts.clear()
        self._why = ""
        buffer = (ctypes.c_ubyte * len(raw)).from_buffer_copy(raw)
        try:
            handle = capi.btck_block_create(buffer, len(raw))
            self._manager.process_block(pbk.Block._from_handle(handle))
        except Exception as error:
            raise Reject(self._why or f"block-rejected ({type(error).__name__})", -25) from None
        return list(self.events)

    def refused(self, block_hash: bytes) -> str | None:
        """Why the block just fed is not valid; None if it is, or was not judged yet."""
        if self._verdicts.get(block_hash) == pbk.ValidationMode.INVALID:
            return self._why or "block-invalid"
        return None


def verify_input(tx: Transaction, index: int, spent: Sequence[TxOut]) -> bool:
    """Consensus script rules for one input; the index is checked here, the library would abort."""
    assert 0 <= index < len(tx.inputs) == len(spent)
    native = pbk.Transaction(serialize(tx))
    outs = [pbk.TransactionOutput(pbk.ScriptPubkey(out.script), out.amount_sat) for out in spent]
    data = PrecomputedTransactionData(native, outs)
    flags = pbk.ScriptVerificationFlags.ALL
    good = outs[index].script_pubkey.verify(spent[index].amount_sat, native, data, index, flags)
    return bool(good)
