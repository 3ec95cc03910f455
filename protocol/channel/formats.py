"""Where the commitments of one channel type differ from those of another (BOLT 3), in one value."""

from __future__ import annotations

from typing import Literal, NamedTuple

from protocol import features
from protocol.bitcoin import script
from protocol.bitcoin.transaction import SIGHASH_ALL, SIGHASH_SINGLE_ANYONECANPAY
from protocol.channel import scripts
from protocol.features import Features

HTLC_OUTPUT_WEIGHT = 172
FormatName = Literal["static_remotekey", "anchors"]


class Format(NamedTuple):
    """`kind`: the channel_type, without what it may add. `timeout_weight`, `success_weight`: what
    the opener's feerate is paid for in an HTLC transaction. `anchor_sat`: of each of the two.
    `htlc_end` closes HTLC scripts. `lock`: blocks that the other side's outputs wait for."""

    name: FormatName
    kind: Features
    weight: int
    timeout_weight: int
    success_weight: int
    anchor_sat: int
    htlc_end: bytes
    lock: int
    htlc_sighash: int

    def commitment_weight(self, untrimmed: int) -> int:
        """With so many HTLC outputs (BOLT 3, Fee Calculation)."""
        return self.weight + HTLC_OUTPUT_WEIGHT * untrimmed

    def commitment_fee_sat(self, feerate_per_kw: int, untrimmed: int) -> int:
        """At a feerate (satoshi per 1000 weight), rounded down."""
        return feerate_per_kw * self.commitment_weight(untrimmed) // 1000

    def opener_cost_sat(self, feerate_per_kw: int, untrimmed: int) -> int:
        """Fee and anchors of a commitment with so many HTLC outputs."""
        return self.commitment_fee_sat(feerate_per_kw, untrimmed) + 2 * self.anchor_sat

    def htlc_fee_sat(self, feerate_per_kw: int, *, offered: bool) -> int:
        """Of an HTLC that the commitment's owner offered (timeout) or was offered (success)."""
        return feerate_per_kw * (self.timeout_weight if offered else self.success_weight) // 1000

    def to_remote(self, payment: bytes) -> tuple[bytes, bytes]:
        """Output script, and witness script; the latter is empty for a key alone."""
        if not self.lock:
            return script.p2wpkh(payment), b""
        form = scripts.to_remote_anchors(payment)
        return script.p2wsh(form), form


STATIC_REMOTEKEY = Format(
    name="static_remotekey",
    kind=features.TYPE_STATIC_REMOTEKEY,
    weight=724,
    timeout_weight=663,
    success_weight=703,
    anchor_sat=0,
    htlc_end=b"\x68",
    lock=0,
    htlc_sighash=SIGHASH_ALL,
)
# option_anchors is anchors_zero_fee_htlc_tx
ANCHORS = Format(
    name="anchors",
    kind=features.TYPE_ANCHORS,
    weight=1124,
    timeout_weight=0,
    success_weight=0,
    anchor_sat=330,
    htlc_end=b"\x51\xb2\x75\x68",
    lock=1,
    htlc_sighash=SIGHASH_SINGLE_ANYONECANPAY,
)
BY_NAME: dict[str, Format] = {one.name: one for one in (STATIC_REMOTEKEY, ANCHORS)}


def of(kind: Features) -> Format:
    """Of a channel_type."""
    return ANCHORS if features.ANCHORS in kind else STATIC_REMOTEKEY
