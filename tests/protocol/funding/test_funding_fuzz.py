"""Opening messages that somebody has chewed on, to both roles: refused, never a defect of ours."""

from __future__ import annotations

import random

import pytest

from protocol.bitcoin.transaction import Outpoint, Transaction, TxIn, TxOut, serialize
from protocol.features import OUR_INIT
from protocol.funding import establishment
from protocol.funding.messages import FromPeer, PeerState, ToPeer
from protocol.funding.policy import OpeningPolicy
from protocol.machine import Ask
from protocol.wallet.messages import CoinsReserved, NewScript, ReserveCoins, ScriptIs
from protocol.wire import registry, setup
from protocol.wire.opening import AcceptChannel, FundingCreated, FundingSigned, OpenChannel
from tests.kit.chew import chewed
from tests.kit.opener import ATTACKER, Opener, asking, node_id

SCRIPT = b"\x00\x14" + bytes(20)


def _hear(opener: Opener, number: int, message: bytes) -> list[object]:
    """What it says to that; every message of ours can be read."""
    said = opener.hear(FromPeer(peer=node_id(number), features=OUR_INIT, message=message))
    for item in list(said):
        if isinstance(item, NewScript):
            said += opener.hear(ScriptIs(purpose=item.purpose, script=SCRIPT), "wallet")
    return [registry.decode(item.message) for item in said if isinstance(item, ToPeer)]


@pytest.mark.parametrize("seed", range(4))
def test_an_accepter_survives_chewed_messages(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(10):
        opener = Opener(zeroconf_peers=frozenset({node_id(1)}))
        for number in range(40):
            raw = chewed(asking(number).encode(), dice)
            for answer in _hear(opener, dice.randrange(3), raw):
                assert isinstance(answer, AcceptChannel | setup.Error)
            created = FundingCreated(
                temporary_channel_id=number.to_bytes(32, "big"),
                funding_txid=number.to_bytes(32, "big"),
                funding_output_index=dice.choice([0, 65535]),
                signature=dice.randbytes(64),
            )
            for peer in range(3):
                _hear(opener, peer, chewed(created.encode(), dice))


@pytest.mark.parametrize("seed", range(4))
def test_an_opener_survives_chewed_messages(seed: int) -> None:
    dice = random.Random(seed)
    for number in range(60):
        opener = Opener()
        wanted = {"id": node_id(1).hex(), "amount_sat": 100_000}
        opener.hear(Ask(id="api/a", method="fundchannel", params={"destinations": [wanted]}), "api")
        (group,) = opener.bench.rows("~group").values()
        said = opener.hear(
            PeerState(peer=node_id(1), purpose=group.purpose, place=0, features=OUR_INIT)
        )
        asked = registry.decode(said[0].message)
        assert isinstance(asked, OpenChannel)
        answer = establishment.accept_channel(
            temporary_id=asked.temporary_channel_id, depth=1, kind=frozenset({12, 22}),
            party=establishment.our_party(OpeningPolicy(), ATTACKER, 100_000),
            first_point=ATTACKER.commitment_point(0), upfront=b"",
        )  # fmt: skip
        _hear(opener, 1, chewed(answer.encode(), dice) if number % 2 else answer.encode())
        for item in opener.hear(ScriptIs(purpose=group.purpose, script=SCRIPT), "wallet"):
            if isinstance(item, ReserveCoins):
                outputs = tuple(TxOut(amount, form) for form, amount in item.outputs)
                raw = serialize(Transaction((TxIn(Outpoint(bytes(32), 0)),), outputs))
                opener.hear(CoinsReserved(purpose=group.purpose, raw=raw), "wallet")
        signed = FundingSigned(channel_id=dice.randbytes(32), signature=dice.randbytes(64))
        _hear(opener, 1, chewed(signed.encode(), dice))
        _hear(opener, 1, chewed(signed.encode(), dice))
