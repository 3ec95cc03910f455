"""Thespian's TCP base made fit for a node. Import this before any other thespian module.

Every socket is on loopback only, nothing is unpickled before its keyed BLAKE2b has been checked,
signals that mean a crash are deadly again, every process dies with its parent, and the death of
the logger no longer takes the admin with it. The library itself is not changed on disk.
"""

from __future__ import annotations

import os

os.environ.setdefault("THESPIAN_BASE_IPADDR", "127.0.0.1")
os.environ.setdefault("THESPIAN_MAX_PENDING_TRANSMITS", "500")
KEY_VARIABLE, FIRST_PID = "DARUMA_ACTOR_KEY", "DARUMA_FIRST_PID"
os.environ.setdefault(KEY_VARIABLE, os.urandom(32).hex())

import ctypes
import gc
import hashlib
import hmac
import logging
import pickle
import signal
import time
from typing import Any

import thespian.system.multiprocCommon as multiproc
import thespian.system.transport as transport
import thespian.system.transport.IPBase as ipbase
import thespian.system.transport.TCPTransport as tcp
from thespian.actors import Actor, ActorSystem
from thespian.system.transport.streamBuffer import ackDataErrMsg, ackMsg

_MAC_SIZE = 16
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_FATAL = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT)
# two acknowledgement frames are constants that the library writes without its serializer
_ACKS = {
    frame.split(b">", 1)[1]: tcp.serializer.loads(frame.split(b">", 1)[1])
    for frame in (ackMsg, ackDataErrMsg)
}


def key() -> bytes:
    return bytes.fromhex(os.environ[KEY_VARIABLE])


def keyed(data: bytes) -> bytes:
    """Keyed BLAKE2b: only processes of this system know the key."""
    return hashlib.blake2b(data, key=key(), digest_size=_MAC_SIZE).digest()


class _Authenticated:
    """A keyed hash in front of every pickle."""

    @staticmethod
    def dumps(value: Any) -> bytes:
        body = pickle.dumps(value, 5)
        return keyed(body) + body

    @staticmethod
    def loads(data: Any) -> Any:
        data = bytes(data)
        if data in _ACKS:
            return _ACKS[data]
        if not hmac.compare_digest(data[:_MAC_SIZE], keyed(data[_MAC_SIZE:])):
            raise ValueError("a frame without a valid key")
        return pickle.loads(data[_MAC_SIZE:])


tcp.serializer = _Authenticated
# the library binds 0.0.0.0, whatever address it publishes
ipbase.IPActorAddress.bindArgs = property(lambda self: (("127.0.0.1", self.bindname[1]),))
# called three times a message, with logging off too: it would print whole messages
transport.TransmitIntent.identify = lambda self: "intent"
transport.ReceiveEnvelope.identify = lambda self: "envelope"
# the admin looks for logDefs when its logger has died; the attribute is logdefs
multiproc.MultiProcAdmin.logDefs = property(lambda self: self.logdefs)


def prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


_forked_by = os.getpid()


def _about_to_fork() -> None:
    global _forked_by
    _forked_by = os.getpid()


os.register_at_fork(before=_about_to_fork)


def die_with_parent() -> None:
    """SIGKILL for this process when its parent dies, or at once when it is dead already."""
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != _forked_by:
        os._exit(1)


def adopt_orphans() -> None:
    """The admin detaches itself by a double fork: make this process its parent all the same."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


def fatal_signals_kill() -> None:
    """The library's Python-level handlers would return into the fault and spin for ever."""
    for number in _FATAL:
        signal.signal(number, signal.SIG_DFL)


_run_admin = multiproc.MultiProcAdmin.run
_start_logger = multiproc.startupASLogger


def _admin_dies_with_us(self: Any) -> Any:
    starter = int(os.environ[FIRST_PID])
    deadline = time.monotonic() + 5
    # only after the middle of the double fork has gone is the starter our parent
    while os.getppid() != starter and time.monotonic() < deadline:
        time.sleep(0.001)
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != starter:
        os._exit(1)
    return _run_admin(self)


def _logger_dies_with_admin(*args: Any) -> Any:
    die_with_parent()
    return _start_logger(*args)


multiproc.MultiProcAdmin.run = _admin_dies_with_us
multiproc.startupASLogger = _logger_dies_with_admin


class _Loopback(tcp.TCPTransport):  # type: ignore[misc]
    pass


class _Base(multiproc.multiprocessCommon):  # type: ignore[misc]
    transportType = _Loopback

    def __init__(self, system: Any, log_definitions: Any = None) -> None:
        system.capabilities["Thespian ActorSystem Name"] = "multiprocTCPBase"
        system.capabilities["Thespian ActorSystem Version"] = 2
        system.capabilities["Thespian Watch Supported"] = True
        super().__init__(system, log_definitions)


def start_system(port: int) -> Any:
    """An actor system of its own. The caller has no database, thread, loop or socket open."""
    adopt_orphans()
    os.environ[FIRST_PID] = str(os.getpid())
    gc.freeze()  # what has been imported stays in pages that all processes share

    class Holder:
        capabilities: dict[str, Any]

    holder = Holder()
    holder.capabilities = {
        "Admin Port": port,
        "Convention Address.IPv4": ("127.0.0.1", port),
        "Process Startup Method": "fork",
    }
    quiet = {"version": 1, "root": {"level": "ERROR", "handlers": []}}
    logging.raiseExceptions = False
    return ActorSystem(_Base(holder, quiet), holder.capabilities, quiet, transientUnique=True)


class Note:
    """The base of every Thespian message: its text never shows its content."""

    __slots__ = ()

    def __str__(self) -> str:
        return type(self).__name__

    __repr__ = __str__


class SafeActor(Actor):  # type: ignore[misc]
    """Dies with its parent, of native crashes, and (not run twice) of its own errors."""

    def __init__(self) -> None:
        super().__init__()
        fatal_signals_kill()
        die_with_parent()

    def receiveMessage(self, message: Any, sender: Any) -> Any:
        """Thespian's; everything goes to `hear`."""
        try:
            return self.hear(message, sender)
        except Exception as error:
            # leaving by an exception would give the same message to the half-changed object
            os.write(2, f"{type(self).__name__} ended: {type(error).__name__}: {error}\n".encode())
            os._exit(1)

    def hear(self, message: Any, sender: Any) -> Any:
        raise AssertionError("every actor hears")
