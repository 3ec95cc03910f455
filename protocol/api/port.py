"""What goes between the API machine and its port."""

from __future__ import annotations

from typing import Any

from protocol.values import Value


class Request(Value, frozen=True, kw_only=True):
    """From the port: one JSON-RPC request of a connection."""

    connection: int
    id: Any
    method: str
    params: Any
    filter: Any = None


class Reply(Value, frozen=True, kw_only=True):
    """To the port: exactly one for each `Request`."""

    connection: int
    id: Any
    result: Any = None
    code: int | None = None
    text: str = ""
    data: Any = None


class HungUp(Value, frozen=True, kw_only=True):
    """From the port: the client of this connection is gone, with requests that are open."""

    connection: int


class Local(Value, frozen=True, kw_only=True):
    """To the port: a method that it answers itself."""

    request: Request
    values: dict[str, Any]


Order = Reply | Local  # all that the machine may want of it
