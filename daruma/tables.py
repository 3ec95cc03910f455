"""Results as tables, for people at a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def show(result: Any, console: Console | None = None) -> None:
    """A list of records becomes a table, a record a list of names and values."""
    console = console or Console()
    if isinstance(result, dict):
        lists = {name: rows for name, rows in result.items() if _is_table(rows)}
        plain = {name: value for name, value in result.items() if name not in lists}
        if plain:
            console.print(_record(plain))
        for name, rows in lists.items():
            console.print(rows_table(name, rows))
    elif _is_table(result):
        console.print(rows_table("", result))
    else:
        console.print(result, markup=False)


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _record(values: dict[str, Any]) -> Table:
    table = Table(show_header=False)
    for name, value in values.items():
        table.add_row(name, escape(_cell(value)))
    return table


def rows_table(title: str, rows: list[dict[str, Any]]) -> Table:
    """As many columns as fit, from the left."""
    columns = [name for name, value in rows[0].items() if not isinstance(value, dict | list)]
    table = Table(title=title or None)
    room = Console().width
    shown: list[list[str]] = []
    for name in columns:
        cells = [_cell(row.get(name)) for row in rows]
        room -= 3 + max(map(len, [name, *cells]))
        if shown and room < 1:
            break
        table.add_column(name)
        shown.append(cells)
    for line in zip(*shown, strict=True):
        table.add_row(*map(escape, line))
    return table


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    long_word = len(text) > 66 and " " not in text
    return text[:30] + "..." + text[-8:] if long_word else text
