"""Peers alone on a bench: whom it listens to, and when."""

from __future__ import annotations

import pytest

from protocol.funding.messages import IsConnected, PeerState
from protocol.monitor.messages import (
    Addresses,
)
from protocol.peer.port import Connected, Hangup, Listen, Received, Write
from protocol.wire import registry
from tests.kit.benches import SYSTEM, bench, settings

PEER = settings("bob").node_id


def test_peers_listens_when_all_monitors_have_said_their_channels() -> None:
    peers = bench("peers", system=SYSTEM.sized(monitors=2))
    assert not peers.take(Listen)
    peers.hear("monitors-1", Addresses(known=(), of=2))
    assert not peers.take(Listen)
    peers.hear("monitors-2", Addresses(known=(), of=2))
    assert len(peers.take(Listen)) == 1


def test_whoever_connects_is_greeted() -> None:
    peers = bench("peers")
    peers.report(Connected(node_id=PEER, inbound=True, host="127.0.0.1", port=9735))

    (greeting,) = peers.take(Write)
    assert (greeting.node_id, greeting.message[:2]) == (PEER, b"\x00\x10")
    peers.hear("funding", IsConnected(peer=PEER, purpose="1", place=0))
    (state,) = peers.take(PeerState)
    assert state.absent, "it has not said its init yet"


def test_a_message_that_meets_a_defect_costs_who_said_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """On every connection again, and nobody else notices."""

    def stumble(raw: bytes) -> None:
        raise ValueError("a defect")

    peers = bench("peers")
    monkeypatch.setattr(registry, "decode", stumble)
    for _ in range(5):
        peers.report(Connected(node_id=PEER, inbound=True, host="127.0.0.1", port=9735))
        peers.report(Received(node_id=PEER, message=b"\x00\x12\x00\x01\x00\x00"))
        assert peers.take(Hangup) == [Hangup(node_id=PEER)]
        assert "a message of type 18 met a defect: ValueError: a defect" in peers.log
        peers.log.clear()
