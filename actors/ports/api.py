"""The API actor's port: the unix socket, and what the tree of processes can answer itself."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import re
import select
import selectors
import signal
import socket
from typing import Any, assert_never

from actors.engine.port import PortHost
from actors.engine.sockets import Pipe
from actors.ports import descriptors
from actors.tree import NODE
from protocol.api import reading
from protocol.api.port import HungUp, Local, Order, Reply, Request
from protocol.errors import Refusal
from storage.mirror import read_mark

MAX_REQUEST = 4 << 20
_SPACE = re.compile(r"\s*")


def _cut_short(error: json.JSONDecodeError) -> bool:
    """More may make it JSON: it ends in a text, in a word like `true`, or where more is due."""
    tail = error.doc[error.pos :].strip()
    unfinished = any(word.startswith(tail) for word in ("true", "false", "null", "-"))
    return unfinished or "Unterminated" in error.msg or "escape" in error.msg and len(tail) < 7


class Client:
    """One connection: JSON objects in, without a terminator; replies end in two newlines."""

    def __init__(self, port: ApiPort, sock: socket.socket, number: int) -> None:
        self.port, self.number = port, number
        self._in = ""
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self.open_requests = 0
        self._half_closed = False
        self.pipe = Pipe(port.selector, sock, self)

    def received(self, data: bytes) -> None:
        """A client that only closes its sending side (`nc -N`) still wants its answers."""
        if not data:
            self._half_closed = True
            self.port.half_closed.add(self)
            self.flush()
            return
        try:
            self._in += self._utf8.decode(data)
        except UnicodeDecodeError:
            self._bad("the request is not UTF-8")
            return
        self._parse()

    def sent(self) -> None:
        pass

    def broke(self, reason: str) -> None:
        self.close()

    def _parse(self) -> None:
        while True:
            start = _SPACE.match(self._in, 0).end()  # type: ignore[union-attr]
            if start == len(self._in):
                self._in = ""
                return
            try:
                value, end = reading.DECODER.raw_decode(self._in, start)
            except reading.Unfit as unfit:
                self._bad(f"the request cannot be read: {unfit}")
                return
            except json.JSONDecodeError as error:
                if not _cut_short(error) or len(self._in) > MAX_REQUEST:
                    self._bad("the request is not JSON")
                return
            except RecursionError:
                self._bad("the request is nested too deeply")
                return
            self._in = self._in[end:]
            self._request(value)

    def _request(self, value: Any) -> None:
        try:
            number, method, params, wanted = reading.request(value)
        except Refusal as refusal:
            self._bad(str(refusal), reading.identity(value))
            return
        self.open_requests += 1
        request = Request(
            connection=self.number, id=number, method=method, params=params, filter=wanted
        )
        self.port.host.feed(request)

    def _bad(self, text: str, number: Any = None) -> None:
        self._in = ""
        error = {"code": -32600, "message": text}
        self.send({"jsonrpc": "2.0", "id": number, "error": error})
        self.flush()
        self.close()

    def send(self, value: Any) -> None:
        """One JSON value, with the blank line that ends a reply."""
        self.pipe.write(json.dumps(value).encode() + b"\n\n")
        self.port.unwritten.add(self)

    def flush(self) -> None:
        if self._half_closed and not self.open_requests:
            self.pipe.finish()
        else:
            self.pipe.flush()

    @property
    def gone(self) -> bool:
        """It has closed both sides: nobody reads what we would answer."""
        if not self.pipe.open:
            return True
        poll = select.poll()
        poll.register(self.pipe.sock, 0)  # a hang-up is told unasked
        return bool(poll.poll(0))

    def close(self) -> None:
        """What it still waits for is forgotten."""
        self.pipe.close()
        self.port.half_closed.discard(self)
        known = self.port.clients.pop(self.number, None)
        if known is not None and self.open_requests:
            self.port.host.feed(HungUp(connection=self.number))


class ApiPort:
    """The socket `lightning-rpc`: requests of clients in, replies out."""

    def __init__(self, host: PortHost) -> None:
        self.host, self.selector = host, host.selector
        self.clients: dict[int, Client] = {}
        self.unwritten: set[Client] = set()
        self.half_closed: set[Client] = set()
        self._most = descriptors.clients()
        self._count = 0
        self.path = os.path.join(host.folder, "lightning-rpc")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        os.chmod(self.path, 0o600)
        self._listener.listen(128)
        self._listener.setblocking(False)
        self.selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _accept(self, _mask: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            self._make_place()
            return
        if len(self.clients) >= self._most and not self._make_place():
            sock.close()
            return
        self._count += 1
        self.clients[self._count] = Client(self, sock, self._count)

    def _make_place(self) -> bool:
        """The client that has been there longest without a question leaves."""
        idle = next((one for one in self.clients.values() if not one.open_requests), None)
        if idle is not None:
            idle.close()
        return idle is not None

    def do(self, item: Order) -> None:
        match item:
            case Reply():
                self._reply(item)
            case Local():
                self._local(item.request, item.values)
            case _:
                assert_never(item)

    def flush(self) -> None:
        unwritten, self.unwritten = self.unwritten, set()
        for client in unwritten:
            client.flush()
        for client in [client for client in self.half_closed if client.gone]:
            client.close()

    def _reply(self, reply: Reply) -> None:
        client = self.clients.get(reply.connection)
        if client is None:
            return
        client.open_requests -= 1
        shown: dict[str, Any] = {"jsonrpc": "2.0", "id": reply.id}
        if reply.code is not None:
            shown["error"] = {"code": reply.code, "message": reply.text}
            if reply.data is not None:
                shown["error"]["data"] = reply.data
        else:
            shown["result"] = reply.result
        client.send(shown)

    # ---- stop, tree, kill ----

    def _local(self, request: Request, values: dict[str, Any]) -> None:
        match request.method:
            case "tree":
                actors = {"actors": self._tree()}
                if request.filter is not None:
                    actors = reading.filtered(actors, request.filter)
                self._answer(request, {"result": actors})
            case "stop":
                self._answer(request, {"result": "Shutdown complete"})
                self.flush()
                os.kill(self.host.settings.first_pid, signal.SIGTERM)
            case "kill":
                self._answer(request, self._kill(values["name"]))

    def _answer(self, request: Request, answer: dict[str, Any]) -> None:
        self._reply(Reply(connection=request.connection, id=request.id, **answer))

    def _tree(self) -> list[dict[str, Any]]:
        directory = self.host.directory
        rows = _system_rows(self.host.settings)
        rows += [dict(row) for row in (directory.tree if directory else ())]
        return [self._row(row) for row in rows]

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        """In the order in which people want to read it."""
        name = row["name"]
        durable = name in NODE.order and NODE.child(name).durable
        store = os.path.join(self.host.folder, "stores", name)
        mark = read_mark(os.path.join(self.host.folder, "marks", f"{name}.mark"))
        return {
            "name": name,
            "parent": row["parent"],
            "pid": row["pid"],
            "generation": row.get("generation", 1),
            "restarts": row.get("restarts", 0),
            "commits": mark.commits if mark is not None else 0,
            "store_bytes": _size(store) if durable else 0,
            "store": store if durable else None,
            "role": row["role"],
            "started": row["started"],
        }

    def _kill(self, name: str) -> dict[str, Any]:
        if self.host.settings.network != "regtest":
            return {"code": -1, "text": "kill is for regtest only"}
        for row in self._tree():
            if row["name"] == name == "node":
                return {"code": -32602, "text": "the node itself ends by `stop`: kill an actor"}
            if row["name"] == name:
                if row["pid"] == os.getpid():
                    self.flush()
                self.host.log(f"kills {name} (pid {row['pid']}), as asked for")
                os.kill(row["pid"], signal.SIGKILL)
                return {"result": {"name": name, "pid": row["pid"]}}
        return {"code": -32602, "text": f"no actor is called {name[:40]!r}: see tree"}


def _size(folder: str) -> int:
    total = 0
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            total += entry.stat().st_size
    return total


def _system_rows(settings: Any) -> list[dict[str, Any]]:
    """The processes above the leaves, from where they wrote themselves down."""
    path = os.path.join(settings.folder, "run", "system.json")
    with contextlib.suppress(OSError, ValueError), open(path) as file:
        rows: list[dict[str, Any]] = json.load(file)
        return rows
    return []
