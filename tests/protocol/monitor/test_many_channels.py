"""What happens to one channel costs the same however many there are: no other's rows are read."""

from __future__ import annotations

from typing import Any

import pytest

from actors.engine.table import Table
from protocol.channel.messages import AddHtlc, Durable, LearnedPreimage, Update
from protocol.monitor.messages import Guard
from protocol.monitor.rows import CORES, HTLCS, SETUPS, WATCHES
from tests.kit.benches import HEIGHT, TIP, bench
from tests.kit.pair import Pair

MANY = 1_000


def test_an_update_of_one_channel_reads_and_writes_no_others_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair, monitor = Pair(), bench("monitors")
    pair.offer(pair.alice, 50_000_000)
    pair.run()
    channel = pair.alice.disk
    monitor.hear("chain", TIP)
    monitor.hear("funding", Guard(channel=channel, since=HEIGHT), durable=True)
    for number in range(MANY):
        cid = number.to_bytes(4, "big") * 8
        for segment in (SETUPS, CORES, WATCHES):
            row: Any = monitor.driver.rows.get(segment, (channel.id,))
            monitor.driver.rows.set(segment, (cid,), row)
        for htlc in channel.htlcs.values():
            monitor.driver.rows.set(HTLCS, (cid, htlc.side, htlc.id), htlc)
    touched: set[Any] = set()
    written: set[bytes] = set(monitor.disk.data)
    get, below = Table.get, Table.below

    def seen_get(self: Table, segment: Any, key: Any) -> Any:
        touched.add(key)
        return get(self, segment, key)

    def seen_below(self: Table, segment: Any, prefix: Any) -> Any:
        found = below(self, segment, prefix)
        touched.update(found)
        return found

    monkeypatch.setattr(Table, "get", seen_get)
    monkeypatch.setattr(Table, "below", seen_below)
    core = channel.core.but(update_id=channel.core.update_id + 1)
    update = Update(channel_id=channel.id, update_id=core.update_id, core=core)
    monitor.hear("peers", update)
    assert monitor.take(Durable)
    fact = LearnedPreimage(channel_id=channel.id, htlc_id=0, preimage=bytes(32))
    monitor.hear("peers", fact)
    wish = AddHtlc(
        channel_id=channel.id, origin="ab/1/1", amount_msat=1000, payment_hash=bytes(32),
        cltv_expiry=HEIGHT + 30, last_height=HEIGHT + 30, onion=bytes(1366),
    )  # fmt: skip
    monitor.hear("payments", wish, durable=True)

    # whose they are: a channel's, or of one row for the whole actor
    others = {key for key in touched if key and key[0] != channel.id}
    assert touched and not others
    changed = {key for key in monitor.disk.data if key not in written}
    assert all(channel.id.hex().encode() in key for key in changed if key.startswith(b"r/"))
