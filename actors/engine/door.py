"""The door of a system: other programs ask its actors over a unix socket, `<folder>/door`.

One JSON object a line goes in, {"id": 1, "to": "east", "method": "balance", "params": {}}, and one
comes back: {"id": 1, "result": ...} or {"id": 1, "error": {"code": ..., "message": ...}}. A
question whose actor dies is asked again, of its next incarnation; when the door itself dies,
`ask` does so: what has an effect needs a name of its own in its parameters. Lightning nodes have
another one (`protocol.api`).
"""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import socket
import time
from typing import Any, assert_never

import msgspec

from actors.engine.groups import group_of
from actors.engine.port import PortHost
from actors.engine.sockets import Pipe
from actors.engine.system import Child
from protocol.machine import (
    UNFIT,
    UNKNOWN_METHOD,
    Abandoned,
    Answer,
    Ask,
    Machine,
    Moment,
    Step,
)
from protocol.segment import Segment
from protocol.values import Value

MAX_LINE, MAX_UNREAD, MAX_CLIENTS = 1 << 20, 16 << 20, 100
MAX_NESTED = 200
UNREADABLE = -32600
START_SECONDS = 5.0


class Asked(Value, frozen=True, kw_only=True):
    """From the port: a question of the client `client`."""

    client: int
    id: Any
    to: str
    method: str
    params: dict[str, Any]


class Left(Value, frozen=True, kw_only=True):
    """From the port: this client waits for nothing any more."""

    client: int


class Said(Value, frozen=True, kw_only=True):
    """To the port: the answer."""

    client: int
    id: Any
    answer: Answer


class Open(Value, frozen=True, kw_only=True):
    """A question that is not answered yet."""

    asked: Asked
    ask: Ask


OPEN = Segment("~open", Open)  # by the question's id
LIFE = Segment("~life", str, by=())  # names this life, so that no id is given twice
COUNT = Segment("~count", int, by=())


class Door(Machine):
    """Owns nothing durable."""

    hears = Answer
    reports = Asked | Left
    keeps = ()

    def __init__(self, name: str) -> None:
        self.name = name

    def resume(self, step: Step, name: str | None, at: Moment) -> None:
        if name is None:
            LIFE.put(step, at.entropy.hex()[:12])
            COUNT.put(step, 0)
            return
        for row in OPEN.below(step).values():
            if group_of(row.asked.to) == name:
                step.tell(row.asked.to, row.ask)

    def step(self, step: Step, sender: str, item: Answer | Asked | Left, at: Moment) -> None:
        match item:
            case Asked():
                count = COUNT.need(step) + 1
                COUNT.put(step, count)
                number = f"{self.name}/{LIFE.need(step)}-{count}"
                ask = Ask(id=number, method=item.method, params=item.params)
                OPEN.put(step, Open(asked=item, ask=ask), number)
                step.tell(item.to, ask)
            case Answer():
                row = OPEN.get(step, item.id)
                if row is not None:
                    OPEN.drop(step, item.id)
                    step.do(Said(client=row.asked.client, id=row.asked.id, answer=item))
            case Left():
                for (number,), row in OPEN.below(step).items():
                    if row.asked.client == item.client:
                        OPEN.drop(step, number)
                        step.tell(row.asked.to, Abandoned(id=row.ask.id))
            case _:
                assert_never(item)


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    """What a client may write."""

    to: str
    method: str
    id: int | str | None = None
    params: dict[str, Any] = {}


class _Client:
    def __init__(self, port: DoorPort, sock: socket.socket, number: int) -> None:
        self.port, self.number = port, number
        self._in = bytearray()
        self.pipe = Pipe(port.host.selector, sock, self)

    def received(self, data: bytes) -> None:
        self._in += data
        if not data or len(self._in) > MAX_LINE:
            self.broke("it is gone")
            return
        *lines, rest = bytes(self._in).split(b"\n")
        self._in = bytearray(rest)
        for line in lines:
            if line.strip():
                self.port.line(self, line)

    def sent(self) -> None:
        pass

    def broke(self, reason: str) -> None:
        self.pipe.close()
        if self.port.clients.pop(self.number, None) is not None:
            self.port.host.feed(Left(client=self.number))

    def reply(self, number: Any, answer: Answer) -> None:
        body: dict[str, Any] = {"id": number}
        if answer.code is None:
            body["result"] = answer.result
        else:
            body["error"] = {"code": answer.code, "message": answer.text}
        self.pipe.write(msgspec.json.encode(body) + b"\n")
        self.pipe.flush()
        if self.pipe.waiting > MAX_UNREAD:
            self.broke("it does not read its answers")


class DoorPort:
    """Listens for the programs of whoever runs the system, and for nobody else."""

    def __init__(self, host: PortHost) -> None:
        self.host = host
        self.clients: dict[int, _Client] = {}
        self._count = 0
        path = _path(host.folder)
        if os.path.lexists(path):
            os.unlink(path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        os.chmod(path, 0o600)
        self._listener.listen(MAX_CLIENTS)
        self._listener.setblocking(False)
        host.selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _accept(self, _mask: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        if len(self.clients) >= MAX_CLIENTS:
            sock.close()
            return
        self._count += 1
        self.clients[self._count] = _Client(self, sock, self._count)

    def line(self, client: _Client, line: bytes) -> None:
        """One bounded reader: what it lets through is a question to somebody who hears such."""
        try:
            if max(line.count(b"["), line.count(b"{")) > MAX_NESTED:  # it cannot be nested deeper
                raise RecursionError("there are too many lists or objects in it")
            read = msgspec.json.decode(line, type=_Line)
        except (msgspec.MsgspecError, RecursionError) as error:
            refused = Answer(id="", code=UNREADABLE, text=f"the question cannot be read: {error}")
            client.reply(None, refused)
            return
        if read.to == "tree":
            client.reply(read.id, Answer(id="", result=self._tree()))
            return
        ask = Ask(id="", method=read.method, params=read.params)
        try:
            self.host.system.check(read.to, ask)
        except TypeError as error:
            client.reply(read.id, Answer(id="", code=UNKNOWN_METHOD, text=str(error)))
            return
        try:
            self.host.system.written(ask)
        except TypeError:
            text = "a number has more than 64 bits, or a text is no Unicode"
            client.reply(read.id, Answer(id="", code=UNFIT, text=text))
            return
        asked = Asked(
            client=client.number, id=read.id, to=read.to, method=read.method, params=read.params
        )
        self.host.feed(asked)

    def _tree(self) -> list[dict[str, Any]]:
        directory = self.host.directory
        return [] if directory is None else list(directory.tree)

    def do(self, item: Said) -> None:
        client = self.clients.get(item.client)
        if client is not None:
            client.reply(item.id, item.answer)

    def flush(self) -> None:
        pass


DOOR = Child("door", Door, port=f"{__name__}:DoorPort")


class Refused(Exception):
    """An answer with an error: `code`, and what happened."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


def ask(folder: str, to: str, method: str, /, *, timeout_s: float = 30.0, **params: Any) -> Any:
    """Ask an actor of the system that runs in `folder`, and wait for the answer. While nobody
    answers it is asked again; where no system runs, for some seconds only. Raises `Refused`, or
    `TimeoutError`."""
    deadline = time.monotonic() + timeout_s
    seen_at = time.monotonic()
    question = json.dumps({"id": 1, "to": to, "method": method, "params": params}).encode()
    while time.monotonic() < deadline:
        try:
            return _once(folder, question, deadline)
        except OSError:
            if _runs(folder):
                seen_at = time.monotonic()
            if time.monotonic() - seen_at > START_SECONDS:
                text = f"no system runs in {folder}: start it, or give the folder that it runs in"
                raise TimeoutError(text) from None
            time.sleep(0.02)  # the system, or its door, is being started again
    raise TimeoutError(f"{to} has not answered within {timeout_s:.0f} s")


def _once(folder: str, question: bytes, deadline: float) -> Any:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(max(0.01, deadline - time.monotonic()))
        sock.connect(_path(folder))
        sock.sendall(question + b"\n")
        data = b""
        while not data.endswith(b"\n"):
            more = sock.recv(1 << 16)
            if not more:
                raise ConnectionResetError
            data += more
    reply = json.loads(data)
    if "error" in reply:
        raise Refused(reply["error"]["code"], reply["error"]["message"])
    return reply["result"]


def _runs(folder: str) -> bool:
    """Whether anybody holds the folder's lock (`actors.engine.root`)."""
    try:
        with open(os.path.join(folder, "lock")) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # held; or it cannot be looked at, and then nobody knows
    return False


def _path(folder: str) -> str:
    return os.path.join(folder, "door")
