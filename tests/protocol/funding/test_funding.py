"""Funding, pure: fake openings cost who makes them more than us; what was promised is asked for."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from protocol.features import OUR_INIT
from protocol.funding import accepter, establishment
from protocol.funding.messages import FromPeer, PeerLost
from protocol.funding.policy import OpeningPolicy
from protocol.monitor.messages import Guard
from protocol.wallet.messages import NewScript, ScriptIs
from protocol.wire import registry, setup
from protocol.wire.opening import AcceptChannel, FundingCreated
from tests.kit.benches import TIP
from tests.kit.opener import ATTACKER, Opener, asking, node_id


def _from(peer: bytes, message: Any) -> FromPeer:
    return FromPeer(peer=peer, features=OUR_INIT, message=message.encode())


def test_ten_thousand_fake_openings_leave_a_few_rows_and_no_write() -> None:
    """Of a thousand peers, ten each; most are refused, and an old friend is not."""
    opener = Opener()
    before, quiet = dict(opener.bench.disk.data), len(list(opener.bench.driver.rows))
    answers = {AcceptChannel: 0, setup.Error: 0}
    raw = asking(0).encode()
    for number, peer in enumerate(itertools.islice(itertools.cycle(range(1000)), 10_000)):
        message = raw[:34] + number.to_bytes(32, "big") + raw[66:]  # another temporary id
        asked = FromPeer(peer=node_id(peer), features=OUR_INIT, message=message)
        (answer,) = opener.told(asked)
        answers[type(answer)] += 1

    assert answers[AcceptChannel] == accepter.MAX_NEGOTIATIONS
    assert answers[setup.Error] == 10_000 - accepter.MAX_NEGOTIATIONS
    assert len(list(opener.bench.driver.rows)) < quiet + 2 * accepter.MAX_NEGOTIATIONS + 10
    assert opener.bench.disk.data == before
    for peer in range(1000):
        opener.hear(PeerLost(peer=node_id(peer)))
    assert not opener.bench.rows("~nego")


def _created(opener: Opener, peer: bytes, number: int) -> list[Any]:
    """The attacker goes as far as a signature over a transaction that nobody will ever see."""
    sent = asking(number)
    answers = opener.told(_from(peer, sent))
    accepted = answers[0]
    if not isinstance(accepted, AcceptChannel):
        return answers
    funding = establishment.Outpoint(number.to_bytes(32, "big"), 0)
    channel = establishment.first_channel(
        opened=sent, accepted=accepted, funding=funding, we_opened=True, peer=peer, key_index=1,
        ours=establishment.our_party(OpeningPolicy(), ATTACKER, 100_000), minimum_depth=1,
    )  # fmt: skip
    created = FundingCreated(
        temporary_channel_id=sent.temporary_channel_id,
        funding_txid=funding.txid,
        funding_output_index=0,
        signature=establishment.sign_first(channel, ATTACKER),
    )
    asked = opener.hear(_from(peer, created))
    assert [type(item) for item in asked] == [NewScript]
    script = ScriptIs(purpose=asked[0].purpose, script=b"\x00\x14" + bytes(20))
    said = opener.hear(script, "wallet")
    assert [type(item) for item in said] == [Guard]
    return said


def test_unconfirmed_openings_are_few_for_each_peer_and_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(accepter, "MAX_UNCONFIRMED", 6)
    opener = Opener()
    kinds = [type(_created(opener, node_id(1), number)[0]) for number in range(6)]
    assert kinds == [Guard] * 4 + [setup.Error] * 2

    kinds = [type(_created(opener, node_id(number), number)[0]) for number in range(10, 16)]

    assert kinds == [Guard] * 2 + [setup.Error] * 4
    assert len(opener.bench.rows("opening")) == 6


def test_who_has_a_channel_already_may_open_another_when_all_places_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opener = Opener()
    _created(opener, node_id(1), 1)
    ((key, record),) = opener.bench.rows("opening").items()
    opener.bench.driver.rows.write(key, record.but(state="usable"))
    monkeypatch.setattr(accepter, "MAX_UNCONFIRMED", 0)

    assert isinstance(_created(opener, node_id(2), 2)[0], setup.Error)
    assert isinstance(_created(opener, node_id(1), 3)[0], Guard)


def test_keys_of_a_forgotten_negotiation_serve_no_two_channels() -> None:
    """Two at once have different keys, and an index that was used is never used again."""
    opener = Opener()
    keys = [
        opener.told(_from(node_id(number), asking(number)))[0].funding_pubkey for number in (1, 2)
    ]
    _created(opener, node_id(3), 3)
    assert opener.bench.row("keys").next == 4

    opener.bench.restart()
    opener.hear(TIP, "chain")
    keys.append(opener.told(_from(node_id(4), asking(4)))[0].funding_pubkey)

    assert len(set(keys)) == 3


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"channel_type": (1 << 12 | 1 << 28).to_bytes(4, "big")}, "channel_type"),
        ({"channel_type": (1 << 12 | 1 << 22 | 1 << 46).to_bytes(6, "big")}, "channel_type"),
        ({"funding_satoshis": 9_999}, "too small"),
        ({"funding_satoshis": 2**64 - 1}, "not so much money"),
        ({"channel_type": None}, "without a channel_type"),
        ({"push_msat": 100_000_001}, "push_msat"),
        ({"feerate_per_kw": 1}, "feerate"),
        ({"dust_limit_satoshis": 100}, "dust_limit"),
        ({"to_self_delay": 3000}, "to_self_delay"),
        ({"max_accepted_htlcs": 484}, "max_accepted_htlcs"),
        ({"upfront_shutdown_script": b"\x6a"}, "upfront_shutdown_script"),
        ({"chain_hash": bytes(32)}, "another chain"),
        ({"funding_pubkey": b"\x02" + b"\xff" * 32}, "curve"),
    ],
)
def test_an_open_channel_that_breaks_a_rule_is_refused_in_a_sentence(
    changes: dict[str, Any], text: str
) -> None:
    opener = Opener()

    (answer,) = opener.told(_from(node_id(1), asking(1, **changes)))

    assert isinstance(answer, setup.Error)
    assert text in answer.data.decode()
    assert not opener.bench.rows("~nego")


@pytest.mark.parametrize("size", [2, 33, 34, 50, 66, 200])
def test_an_open_channel_that_ends_early_is_refused_and_no_other_channel_with_it(size: int) -> None:
    """An error for the channel of 32 zero bytes would be one for all of them."""
    raw = asking(1).encode()[:size]

    (said,) = Opener().hear(FromPeer(peer=node_id(1), features=OUR_INIT, message=raw))

    error = registry.decode(said.message)
    assert isinstance(error, setup.Error)
    assert error.channel_id != setup.ALL_CHANNELS


def test_an_unconfirmed_channel_is_for_those_that_the_operator_trusts() -> None:
    kind = (1 << 12 | 1 << 22 | 1 << 50).to_bytes(7, "big")
    asked = asking(1, channel_type=kind)

    (refusal,) = Opener().told(_from(node_id(1), asked))
    (answer,) = Opener(zeroconf_peers=frozenset({node_id(1)})).told(_from(node_id(1), asked))

    assert isinstance(refusal, setup.Error)
    assert isinstance(answer, AcceptChannel)
    assert answer.minimum_depth == 0
