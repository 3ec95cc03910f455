"""A client for bitcoind's JSON-RPC: one kept-alive connection, made again when it breaks."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Sequence
from typing import Any

MAX_COOKIE = 1000  # characters


class RpcError(Exception):
    """bitcoind's own error."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Unreachable(Exception):
    """Nobody answers, or not as bitcoind would."""


class Bitcoind:
    """host, port, and user and password or the path of a cookie file."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self._connection: http.client.HTTPConnection | None = None

    def _credentials(self) -> str:
        if self.options.get("user"):
            pair = f"{self.options['user']}:{self.options.get('password') or ''}"
        else:
            cookie = self.options.get("cookie") or ""
            try:
                with open(cookie, encoding="utf-8") as file:
                    pair = file.read(MAX_COOKIE).strip()
            except FileNotFoundError:
                missing = f"no credentials: {cookie or 'no cookie file'} is missing"
                raise Unreachable(missing) from None
            except (OSError, UnicodeDecodeError) as error:
                why = getattr(error, "strerror", None) or "it is no text"
                raise Unreachable(f"no credentials: {cookie} cannot be read ({why})") from None
        return "Basic " + base64.b64encode(pair.encode()).decode()

    def __call__(self, method: str, *params: Any) -> Any:
        """Raises `RpcError` or `Unreachable`."""
        body = json.dumps({"jsonrpc": "1.0", "id": 0, "method": method, "params": params})
        return self._result(self._post(body))

    def many(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        """The results of some calls in one request. Raises `RpcError` or `Unreachable`."""
        if not calls:
            return []
        rows = [
            {"jsonrpc": "1.0", "id": number, "method": method, "params": list(params)}
            for number, (method, params) in enumerate(calls)
        ]
        replies = self._post(json.dumps(rows))
        if not isinstance(replies, list):
            raise Unreachable("it does not answer batches")
        by_id = {reply.get("id"): reply for reply in replies}
        return [self._result(by_id.get(number, {})) for number in range(len(rows))]

    def _result(self, reply: Any) -> Any:
        if reply.get("error"):
            error = reply["error"]
            raise RpcError(int(error.get("code", 0)), str(error.get("message", "")))
        return reply.get("result")

    def _post(self, body: str) -> Any:
        headers = {"Authorization": self._credentials(), "Content-Type": "application/json"}
        for fresh in (False, True):
            try:
                if self._connection is None or fresh:
                    host, port = self.options["host"], self.options["port"]
                    self._connection = http.client.HTTPConnection(host, port, timeout=8)
                self._connection.request("POST", "/", body, headers)
                response = self._connection.getresponse()
                data = response.read()
                if response.status in (401, 403):
                    raise Unreachable("bitcoind refuses our user and password")
                return json.loads(data)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self._connection = None
                if fresh:
                    raise Unreachable(f"{type(error).__name__}: {error}") from None
        raise AssertionError
