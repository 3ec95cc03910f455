"""Talks to a running node over its socket."""

from __future__ import annotations

import itertools
import json
import socket
from typing import Any

_numbers = itertools.count(1)


class RpcError(Exception):
    """The node has refused: its code (Core Lightning's), its sentence, and `data`."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(str(error.get("message", "")))
        self.error = error
        self.code = int(error.get("code", -1))


class NotRunning(Exception):
    """One sentence for a person."""


class Client:
    """One connection for each call, as most clients do."""

    def __init__(self, path: str, timeout: float | None = None) -> None:
        self.path, self.timeout = path, timeout

    def call(self, method: str, params: Any = None, timeout: float | None = None) -> Any:
        """Raises `RpcError`, `NotRunning`, or `TimeoutError`."""
        request = {
            "jsonrpc": "2.0",
            "id": f"daruma:{method}#{next(_numbers)}",
            "method": method,
            "params": params if params is not None else {},
        }
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout if timeout is not None else self.timeout)
            try:
                sock.connect(self.path)
            except PermissionError:
                raise NotRunning(
                    f"you may not use {self.path}: ask as the user whose node it is"
                ) from None
            except OSError:
                raise NotRunning(
                    f"no node answers at {self.path}: start it with `daruma start`"
                ) from None
            sock.sendall(json.dumps(request).encode())
            data = b""
            while b"\n\n" not in data:
                more = sock.recv(1 << 16)
                if not more:
                    raise NotRunning("the node closed the connection before it answered")
                data += more
        reply = json.loads(data)
        if "error" in reply:
            raise RpcError(reply["error"])
        return reply["result"]

    def __getattr__(self, method: str) -> Any:
        if method.startswith("_"):
            raise AttributeError(method)
        return lambda *args, **named: self.call(method, list(args) if args else named)
