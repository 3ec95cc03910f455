"""Segments: the only way to a row, in a step, in a table and on the disk."""

from __future__ import annotations

from typing import Any

import pytest

from actors.engine.cold import ROW, WARM, Cold
from actors.engine.keeps import Keeps
from actors.engine.table import Table
from protocol.machine import Step
from protocol.segment import AnySegment, Segment
from protocol.values import Value
from storage.errors import TooNew
from storage.memory import Disk, MemoryStore


class Coin(Value, frozen=True, kw_only=True):
    amount_sat: int


class Stamp(Value, frozen=True, kw_only=True):
    amount_sat: int


COINS = Segment("coin", Coin, by=(bytes, int))
NEWEST = Segment("newest", Coin, by=())
SEEN = Segment("~seen", Coin)
STAMPS = Segment("stamp", Stamp, by=(str, str))
OLD = Segment("old", Coin, by=(bytes, int), cold=True)
A, B = b"\xaa", b"\xbb"


def _coin(amount_sat: int) -> Coin:
    return Coin(amount_sat=amount_sat)


def _table() -> Table:
    rows = Table()
    step = Step(rows)
    for number in (10, 9, 2):
        COINS.put(step, _coin(number), A, number)
    COINS.put(step, _coin(1), B, 1)
    NEWEST.put(step, _coin(2))
    rows.apply(step.changed_rows)
    return rows


def test_a_step_sees_what_it_has_done_and_the_table_does_not() -> None:
    rows = _table()
    step = Step(rows)
    COINS.put(step, _coin(5), A, 3)
    COINS.drop(step, A, 9)
    NEWEST.drop(step)

    # numbers stand in the order of numbers
    assert list(COINS.below(step, A)) == [(A, 2), (A, 3), (A, 10)]
    assert sorted(COINS.each(step)) == sorted(COINS.below(step).items())
    assert COINS.get(step, A, 9) is None and NEWEST.get(step) is None
    with pytest.raises(KeyError, match="newest"):
        NEWEST.need(step)

    later = Step(rows)
    assert list(COINS.below(later, A)) == [(A, 2), (A, 9), (A, 10)]
    assert NEWEST.need(later) == _coin(2)

    rows.apply(step.changed_rows)
    assert list(COINS.below(Step(rows))) == [(A, 2), (A, 3), (A, 10), (B, 1)]


def test_rows_of_one_channel_are_found_without_a_look_at_the_others() -> None:
    """The box of a first part is handed out as it is."""
    rows = _table()

    box = rows.below(COINS, (A,))

    assert box is rows.below(COINS, (A,)) and len(box) == 3
    assert rows.below(COINS, (b"\xcc",)) == {}


def test_what_is_raised_undoes_what_was_done_inside() -> None:
    step = Step(_table())
    COINS.put(step, _coin(7), B, 7)
    with pytest.raises(ZeroDivisionError), step.all_or_nothing():
        COINS.put(step, _coin(8), B, 8)
        COINS.put(step, _coin(70), B, 7)
        step.log("nobody hears of it")
        raise ZeroDivisionError

    assert COINS.below(step, B) == {(B, 1): _coin(1), (B, 7): _coin(7)}
    assert not step.effects


def test_a_twin_and_its_original_go_their_own_ways() -> None:
    rows = _table()
    twin = rows.fork(Cold(None, Keeps(())))
    for table, amount_sat in ((rows, 100), (twin, 200)):
        step = Step(table)
        COINS.put(step, _coin(amount_sat), A, 2)
        SEEN.put(step, _coin(amount_sat), "x")
        table.apply(step.changed_rows)

    for table, amount_sat in ((rows, 100), (twin, 200)):
        assert COINS.get(Step(table), A, 2) == SEEN.get(Step(table), "x") == _coin(amount_sat)
        assert len(COINS.below(Step(table))) == 4


def test_keys_are_text_on_the_disk_and_read_back() -> None:
    keeps = Keeps((COINS, NEWEST, STAMPS))
    one: list[tuple[AnySegment, tuple[Any, ...], Value, str]] = [
        (COINS, (A, 2**64 - 1), _coin(1), f"coin/aa/{2**64 - 1}"),
        (NEWEST, (), _coin(2), "newest"),
        (STAMPS, ("x", "with/slashes/"), Stamp(amount_sat=3), "stamp/x/with/slashes/"),
    ]
    for segment, key, row, place in one:
        written, data = keeps.written(segment, key, row)
        assert written == place and data is not None
        assert keeps.read(place, data) == (segment, key, row)
        assert keeps.written(segment, key, None) == (place, None)


def test_a_row_in_the_wrong_place_is_an_error_where_it_is_written() -> None:
    keeps = Keeps((COINS, STAMPS))
    wrong: list[tuple[AnySegment, tuple[Any, ...], Any, str]] = [
        (NEWEST, (), _coin(1), "not kept"),
        (Segment("coin", Coin, by=(bytes, int)), (A, 1), _coin(1), "not kept"),
        (COINS, (A, 1), Stamp(amount_sat=1), "does not keep a Stamp"),
        (COINS, ("aa", 1), _coin(1), "has the parts"),
        (COINS, (A,), _coin(1), "has the parts"),
        (COINS, (A, True), _coin(1), "has the parts"),
        (STAMPS, ("x/y", "z"), Stamp(amount_sat=1), "slash"),
    ]
    for segment, key, row, text in wrong:
        with pytest.raises(TypeError, match=text):
            keeps.written(segment, key, row)
    _, data = keeps.written(COINS, (A, 1), _coin(1))
    assert data is not None
    with pytest.raises(TooNew, match="does not know"):
        Keeps(()).read("coin/aa/1", data)


def test_cold_rows_are_read_from_the_disk_as_the_step_has_left_them() -> None:
    """Below a part of a key too; what is not written yet stands before what is."""
    keeps = Keeps((OLD,))
    store = MemoryStore(Disk())
    rows = Table(Cold(store, keeps), keeps.segments)
    on_disk: dict[bytes, bytes | None] = {}
    for key in ((A, 1), (A, 2), (A, 12), (B, 1)):
        place, on_disk_value = keeps.written(OLD, key, _coin(key[1]))
        on_disk[ROW + place.encode()] = on_disk_value
    store.commit(on_disk)
    assert OLD.get(Step(rows), A, 12) == _coin(12) and OLD.get(Step(rows), A, 3) is None
    assert list(OLD.below(Step(rows), A)) == [(A, 1), (A, 2), (A, 12)]
    assert OLD.below(Step(rows), A, 1) == {(A, 1): _coin(1)}

    step = Step(rows)
    OLD.drop(step, A, 1)
    OLD.put(step, _coin(20), A, 2)
    OLD.put(step, _coin(3), A, 3)
    wanted = {(A, 2): _coin(20), (A, 3): _coin(3), (A, 12): _coin(12)}
    assert OLD.below(step, A) == wanted

    rows.apply(step.changed_rows)
    assert OLD.below(Step(rows), A) == wanted and OLD.get(Step(rows), A, 1) is None
    assert rows.shown("old").keys() == {"old/aa/2", "old/aa/3", "old/aa/12", "old/bb/1"}
    assert dict(OLD.each(Step(rows))) == wanted | {(B, 1): _coin(1)}
    rows.written()
    assert list(OLD.below(Step(rows))) == [(A, 1), (A, 2), (A, 12), (B, 1)], "nothing is kept"


def test_the_last_cold_rows_that_were_written_are_at_hand() -> None:
    """So many, and no more: what has changed is what is looked at next."""
    keeps = Keeps((OLD,))
    disk = Disk()
    store = MemoryStore(disk)
    rows = Table(Cold(store, keeps), keeps.segments)

    def write(number: int, coin: Coin | None) -> None:
        rows.set(OLD, (A, number), coin)
        place, data = keeps.written(OLD, (A, number), coin)
        store.commit({ROW + place.encode(): data})
        rows.written()

    for number in range(WARM):
        write(number, _coin(number))
    write(1, _coin(100))
    write(2, None)
    write(WARM, _coin(WARM))
    in_memory = [rows.get(OLD, (A, number)) for number in (0, 1, 2, 3)]
    assert in_memory == [_coin(0), _coin(100), None, _coin(3)]

    disk.data.clear()
    assert rows.get(OLD, (A, 0)) is None, "the oldest is looked up"
    assert rows.get(OLD, (A, 1)) == _coin(100) and rows.get(OLD, (A, WARM)) == _coin(WARM)
