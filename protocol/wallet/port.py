"""What goes between the wallet machine and its port."""

from __future__ import annotations

from typing import Any

from protocol.values import Value
from protocol.wallet.messages import ReserveCoins
from protocol.wallet.rows import WalletBlock, WalletTx


class Reveal(Value, frozen=True, kw_only=True):
    """To the port: the next unused address, for a purpose, or for the question `ask`."""

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
    """To the port: choose coins, build and sign."""

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
    """From the port: this block was looked through; `ours`: the transactions in it that are
    about our coins."""

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
    """To the port: our coins, for the question `ask`."""

    ask: str


class Outputs(Value, frozen=True, kw_only=True):
    """From the port: our coins, as `listfunds` shows them."""

    ask: str
    outputs: tuple[dict[str, Any], ...]


Order = Adopt | Reveal | Build | Examine | ListOutputs  # all that the machine may want of it
