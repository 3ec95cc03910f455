"""What the wallet hears and tells, and what goes between it and its port."""

from __future__ import annotations

from typing import Any

from protocol.values import Value
from protocol.wallet.rows import WalletBlock, WalletTx

FOR_GOOD = "closed/"  # purposes of scripts that are never given up


class NewScript(Value, frozen=True, kw_only=True):
    """A fresh script of ours for `purpose`; the same purpose gets the same script."""

    purpose: str


class ScriptIs(Value, frozen=True, kw_only=True):
    purpose: str
    script: bytes


class ReserveCoins(Value, frozen=True, kw_only=True):
    """A signed transaction with these outputs (script, satoshi); not sent.

    `utxos`: only from these coins ("txid:output"), if any are named. `minconf`: confirmations that
    a coin must have.
    """

    purpose: str
    outputs: tuple[tuple[bytes, int], ...]
    feerate_per_kw: int
    utxos: tuple[str, ...] = ()
    minconf: int = 1


class CoinsReserved(Value, frozen=True, kw_only=True):
    purpose: str
    raw: bytes


class CoinsRefused(Value, frozen=True, kw_only=True):
    purpose: str
    reason: str


class ReleaseCoins(Value, frozen=True, kw_only=True):
    """The transaction was never sent, and will not be."""

    purpose: str


class SentCoins(Value, frozen=True, kw_only=True):
    """The transaction is about to be sent: its inputs are spent, its change is ours."""

    purpose: str


class Reservations(Value, frozen=True, kw_only=True):
    """All purposes that are still alive: release everything else that was not sent."""

    alive: tuple[str, ...]


# ---- between the machine and its port -----------------------------------------------------------


class Reveal(Value, frozen=True, kw_only=True):
    purpose: str
    ask: str = ""


class Revealed(Value, frozen=True, kw_only=True):
    """`external` and `internal`: the last revealed index of each keychain, -1 for none."""

    purpose: str
    script: bytes
    address: str
    external: int
    internal: int
    ask: str = ""


class Build(Value, frozen=True, kw_only=True):
    request: ReserveCoins


class Built(Value, frozen=True, kw_only=True):
    """`raw` is None when the coins do not suffice; then `reason` says it."""

    purpose: str
    raw: bytes | None
    reason: str
    external: int
    internal: int


class Examine(Value, frozen=True, kw_only=True):
    """Which transactions of this block are ours?"""

    height: int
    raw: bytes


class Examined(Value, frozen=True, kw_only=True):
    height: int
    hash: bytes
    time: int
    ours: tuple[bytes, ...]


class Adopt(Value, frozen=True, kw_only=True):
    """The rows changed under the library: take them over before anything else."""

    transactions: tuple[WalletTx, ...]
    blocks: tuple[WalletBlock, ...]
    reserved: tuple[bytes, ...]
    external: int
    internal: int


class ListOutputs(Value, frozen=True, kw_only=True):
    ask: str


class Outputs(Value, frozen=True, kw_only=True):
    ask: str
    outputs: tuple[dict[str, Any], ...]
