"""On chain in the kit: a node publishes its own commitment; scripts are checked."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pbk

from actors.testkit.explore import Story
from actors.testkit.node import Node, sentences
from actors.testkit.node.world import World
from protocol.bitcoin.transaction import SIGHASH_ALL, Transaction, parse_block, serialize, sighash
from protocol.channel import commitments, transactions
from protocol.channel.state import Channel
from protocol.crypto import keys, secp
from protocol.crypto.hashes import derive, sha256
from protocol.crypto.keys import ChannelSecrets
from protocol.machine import Step
from protocol.monitor import snapshot
from tests.kit.claiming import Claiming, Relaying


def channel(node: Node, cid: str) -> tuple[Channel, ChannelSecrets]:
    """As it stands on the disk of its monitor."""
    rows = node.drivers[node.keeper(cid)].rows
    found = snapshot.channel(Step(rows), bytes.fromhex(cid))
    assert found is not None
    return found, ChannelSecrets(derive(node.seed, "channels"), found.setup.key_index)


def signed(whole: Channel, secrets: ChannelSecrets) -> Transaction:
    """The owner's newest commitment, with both signatures."""
    point = secrets.commitment_point(whole.core.our_number)
    built, digests = commitments._digests(whole, point, ours=True)
    both = (whole.setup.ours.basepoints.funding, whole.setup.theirs.basepoints.funding)
    ours = secp.sign(secrets.funding, digests.commitment)
    witness = transactions.funding_witness(both, (ours, whole.core.signed[0].signature))
    return built.tx.with_witness(0, witness)


def publish(node: Node, cid: str, *, mine: bool = True) -> bytes:
    """A node closes a channel alone; -> txid."""
    tx = signed(*channel(node, cid))
    assert node.world.chain.submit(serialize(tx))
    if mine:
        node.world.mine(1)
    return tx.txid


def success(node: Node, cid: str, preimage: bytes) -> Transaction:
    """HTLC-success from the node's own commitment, with the peer's signature from its disk."""
    whole, secrets = channel(node, cid)
    point = secrets.commitment_point(whole.core.our_number)
    built, _ = commitments._digests(whole, point, ours=True)
    terms = commitments.terms(whole, ours=True)
    for at, placed in enumerate(built.htlcs):
        if sha256(preimage) != placed.htlc.payment_hash:
            continue
        rate = commitments.feerate(whole.core, ours=True, we_opened=whole.setup.we_opened)
        tx = transactions.htlc_transaction(terms, built, built.tx.txid, placed, rate)
        amount_sat = placed.htlc.amount_msat // 1000
        digest = sighash(tx, 0, placed.script, amount_sat, SIGHASH_ALL)
        ours = secp.sign(keys.derive_secret(secrets.htlc, point), digest)
        kind = whole.setup.format.htlc_sighash
        theirs = secp.to_der(whole.core.signed[0].htlc_signatures[at]) + bytes([kind])
        witness = (b"", theirs, secp.to_der(ours) + b"\x01", preimage, placed.script)
        return tx.with_witness(0, witness)
    raise AssertionError("the commitment has no such HTLC")


def mined(world: World) -> dict[bytes, Transaction]:
    """All transactions of all blocks, by txid."""
    blocks = [parse_block(raw) for raw in world.chain.blocks]
    return {tx.txid: tx for block in blocks for tx in block.transactions}


def spends(world: World, txid: bytes) -> dict[int, Transaction]:
    """What was mined that takes outputs of a transaction; Bitcoin Core's own library agrees."""
    known = mined(world)
    found = {}
    for tx in known.values():
        for at, spent in enumerate(tx.inputs):
            if spent.outpoint.txid == txid:
                assert verifies(tx, at, known[txid].outputs[spent.outpoint.vout])
                found[spent.outpoint.vout] = tx
    return found


def verifies(tx: Transaction, index: int, out: Any) -> bool:
    """Whether an input may spend an output: scripts only, no heights."""
    spending = pbk.Transaction(serialize(tx))
    flags = pbk.ScriptVerificationFlags.ALL & ~pbk.ScriptVerificationFlags.TAPROOT
    return bool(pbk.ScriptPubkey(out.script).verify(out.amount_sat, spending, None, index, flags))


# ---- a story -------------------------------------------------------------------------------------


def story(*, upstream: bool) -> Story:
    """From the closed channel to the last trace of its HTLC: A of a claim, or D of a relay."""

    def begin() -> World:
        run = Relaying(held=True) if upstream else Claiming(held=True)
        if isinstance(run, Relaying):
            run.wait_for_carol()
            run.world.settle()
            publish(run.bob, run.d)
        else:
            run.all_held()
            publish(run.alice, run.cids[0])
        run.world.advance()
        return run.world

    def settle(world: World) -> None:
        payee = world.nodes["carol" if upstream else "bob"]
        sentences.until(world, lambda: _is_settled(payee), "the payee says yes")

    def end(world: World) -> None:
        _answered(world)
        sentences.until(world, lambda: not _htlcs(world) or world.mine(1), "all HTLCs have ended")

    def check(world: World) -> None:
        (payment,) = world.nodes["alice"].rows("payments", "payment").values()
        assert payment.status == "complete"
        for node in world.nodes.values():
            for segment in ("claim", "resolve_htlc", "preimage", "add_htlc"):
                assert not node.rows("monitors", segment), f"{node.name} keeps a {segment}"
            assert not node.rows("payments", "owed")
        (txid,) = {row.txid for n in world.nodes.values() for row in _closings(n)}
        assert spends(world, txid)

    return Story(begin=begin, sentences=[settle, end], check=check)


def _closings(node: Any) -> list[Any]:
    return list(node.rows("monitors", "closing").values())


def _htlcs(world: World) -> list[str]:
    return [key for node in world.nodes.values() for key in node.rows("monitors", "htlc")]


def _is_settled(payee: Any) -> bool:
    (row,) = payee.rows("payments", "invoice").values()
    if row.status == "paid":
        return True
    with suppress(sentences.Refused):
        digest = row.payment_hash.hex()
        sentences.ask(payee, "payments", "holdinvoicesettle", payment_hash=digest)
    return False


def _answered(world: World) -> None:
    """Blocks come until alice knows."""
    (row,) = world.nodes["alice"].rows("payments", "payment").values()
    key = f"payment/{row.payment_hash.hex()}"
    for _ in range(10):
        if world.nodes["alice"].row("payments", key).status == "complete":
            return
        world.mine(1)
    raise AssertionError("alice does not know that she has paid")
