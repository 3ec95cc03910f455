"""What the wallet hears and tells."""

from __future__ import annotations

from protocol.values import Value

FOR_GOOD = "closed/"  # purposes of scripts that are never given up


class NewScript(Value, frozen=True, kw_only=True):
    """A fresh script of ours for `purpose`; the same purpose gets the same script."""

    purpose: str


class ScriptIs(Value, frozen=True, kw_only=True):
    """A fresh output script of ours, to who asked for one for this purpose."""

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
    """The signed transaction (`raw`) that pays what was asked for."""

    purpose: str
    raw: bytes


class CoinsRefused(Value, frozen=True, kw_only=True):
    """Why not, in one sentence."""

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
