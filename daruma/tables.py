"""Results as tables, for people at a terminal.

Nothing that is copied from a screen is ever cut: an id, a hash, an invoice, an address stands
whole, on a line of its own where the table has no room for it.
"""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

MOST_ITEMS = 4  # of a list of plain values; -J shows all
LONGEST_COLUMN = 24  # what is longer is no column: it stands below its row, whole


def show(result: Any, console: Console | None = None) -> None:
    """A list of records becomes a table, a record a list of names and values."""
    console = console or Console()
    if isinstance(result, dict):
        lists = {name: rows for name, rows in result.items() if _is_table(rows)}
        for name, value in result.items():
            if name not in lists:
                _line(console, name, value)
        for name, rows in lists.items():
            _rows(console, name, rows)
    elif _is_table(result):
        _rows(console, "", result)
    elif isinstance(result, list):
        for value in result:
            _line(console, "", value)
    else:
        _line(console, "", result)


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _line(console: Console, name: str, value: Any, indent: str = "") -> None:
    """One name and its value: the terminal may wrap it, what is copied is whole all the same."""
    text = f"{indent}{name}  {_cell(value)}" if name else f"{indent}{_cell(value)}"
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _rows(console: Console, title: str, rows: list[dict[str, Any]]) -> None:
    """A table of what is short; below it, for each row, what is long."""
    columns = _columns(rows, console.width - 6)
    rest = [name for name in _names(rows) if name not in columns]
    if columns:
        numbered = [{"#": number, **row} for number, row in enumerate(rows, 1)]
        shown = ["#", *columns] if rest else columns
        console.print(
            rows_table(title, [{name: row.get(name) for name in shown} for row in numbered])
        )
    elif title:
        console.print(title, markup=False)
    for number, row in enumerate(rows, 1):
        for place, name in enumerate([name for name in rest if name in row]):
            mark = f"#{number}" if place == 0 else ""
            _line(console, name, row[name], indent=f"{mark:5}")


def _names(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _columns(rows: list[dict[str, Any]], width: int) -> list[str]:
    """The short fields, from the left, as many as there is room for."""
    found: list[str] = []
    room = width - 1
    for name in _names(rows):
        values = [row.get(name) for row in rows]
        if any(isinstance(value, dict | list) for value in values):
            continue
        longest = max(len(name), *(len(_cell(value)) for value in values))
        if longest > LONGEST_COLUMN:
            continue
        if room < longest + 3:
            break
        room -= longest + 3
        found.append(name)
    return found


def rows_table(title: str, rows: list[dict[str, Any]]) -> Table:
    """All fields of the first row as columns; nothing is cut, a cell wraps."""
    table = Table(title=title or None)
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(escape(_cell(row.get(name))) for name in rows[0]))
    return table


def _cell(value: Any) -> str:
    """As text on one line; what a peer has written cannot move the terminal's cursor."""
    if isinstance(value, list) and len(value) > MOST_ITEMS and not _is_table(value):
        return f"{len(value)} of them, the last: {_cell(value[-1])}"
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False)
    text = "" if value is None else str(value)
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
