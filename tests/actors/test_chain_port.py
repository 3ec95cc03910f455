"""The chain actor's port, over a backend of which a test says every answer."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors.engine.table import Table
from actors.ports.chain import ChainPort
from actors.ports.rpc import Bitcoind, RpcError, Unreachable
from protocol.chain import port as chain
from protocol.chain.machine import Machine
from protocol.chain.rows import CHAIN, TXS, Chain, TxWatch
from protocol.machine import Do, Moment, Step

GENESIS = "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"
RAW_BLOCK = bytes(80) + b"\0"
WANTED: Any = {"owner": "funding", "purpose": "k", "raw": b"\1"}


class Backend:
    """bitcoind: a method's answer by its name; an exception is raised."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = {
            "getblockhash": GENESIS,
            "getbestblockhash": GENESIS,
            "getblockheader": {"height": 0},
            "getblock": RAW_BLOCK.hex(),
            "estimatesmartfee": {},
            **answers,
        }

    def __call__(self, method: str, *params: Any) -> Any:
        answer = self.answers[method]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Host:
    """The leaf's loop, which remembers what it was told."""

    def __init__(self, network: str) -> None:
        self.settings = SimpleNamespace(rpc={}, network=network)
        self.fed: list[Any] = []
        self.logged: list[str] = []

    def feed(self, item: Any) -> None:
        self.fed.append(item)

    def log(self, text: str) -> None:
        self.logged.append(text)

    warn = log


def _port(backend: Backend, network: str = "regtest") -> tuple[ChainPort, Host]:
    host = Host(network)
    port = ChainPort(host)  # type: ignore[arg-type]
    port.rpc = backend  # type: ignore[assignment]
    return port, host


@pytest.mark.parametrize(
    ("answer", "feerate_per_kw"),
    [
        ({"feerate": 0.002}, 50_000),
        ({"feerate": 0.0002}, 5_000),
        ({"feerate": 0.00001}, 253),
        ({"feerate": 0.99}, 250_000),
        ({"feerate": "0.002"}, 1_000),
        ({"errors": ["Insufficient data"]}, 1_000),
    ],
)
def test_an_estimate_in_btc_per_1000_vbytes_becomes_satoshi_per_1000_weight(
    answer: Any, feerate_per_kw: int
) -> None:
    port, host = _port(Backend(estimatesmartfee=answer))
    port.do(chain.Poll(height=-1, hashes=()))
    (polled,) = [item for item in host.fed if isinstance(item, chain.Polled)]
    assert polled.feerate_per_kw == feerate_per_kw


def test_a_backend_that_cannot_be_asked_refuses_once_and_is_not_away() -> None:
    port, host = _port(Backend(testmempoolaccept=RpcError(-32601, "Method not found")))
    for _ in range(3):
        port.do(chain.Poll(height=-1, hashes=()))
    port.do(chain.Try(**WANTED))
    port.do(chain.Poll(height=-1, hashes=()))

    answers = [item for item in host.fed if isinstance(item, chain.Tried | chain.Away)]
    assert answers == [chain.Tried(**WANTED, refused="Method not found")]


@pytest.mark.parametrize(
    "order",
    [
        chain.Send(**WANTED),
        chain.Try(**WANTED),
    ],
)
def test_a_backend_that_is_still_starting_is_asked_again(order: Any) -> None:
    warming = RpcError(-28, "Loading block index...")
    port, host = _port(Backend(testmempoolaccept=warming, sendrawtransaction=warming))
    port.do(order)

    assert [type(item) for item in host.fed] == [chain.Away]


def test_what_a_backend_that_was_away_has_not_read_is_asked_for_again() -> None:
    rows = Table()
    rows.set(CHAIN, (), Chain(height=9, hashes=(bytes(32),)))
    watch = TxWatch(owner="funding", reason="1", txid=bytes(32), depth=3, since=4)
    rows.set(TXS, ("funding", "1"), watch)
    step = Step(rows)

    Machine().step(step, "port", chain.Away(reason=""), Moment(unix_seconds=0.0, entropy=bytes(32)))

    scans = [e.item for e in step.effects if isinstance(e, Do) and isinstance(e.item, chain.Scan)]
    assert scans == [chain.Scan(kind="tx", owner="funding", reason="1", since=4, until=9)]


@pytest.mark.parametrize(
    ("cookie", "why"),
    [(None, "is missing"), (b"\xff\xfe", "it is no text"), ("folder", "Is a directory")],
)
def test_a_cookie_that_cannot_be_read_is_no_end(tmp_path: Path, cookie: Any, why: str) -> None:
    """It may be another user's, or bitcoind is just writing it: the backend does not answer."""
    place = tmp_path / ".cookie"
    if cookie == "folder":
        place.mkdir()
    elif cookie is not None:
        place.write_bytes(cookie)
    backend = Bitcoind({"host": "127.0.0.1", "port": 1, "cookie": str(place)})

    with pytest.raises(Unreachable, match=why):
        backend("getbestblockhash")
