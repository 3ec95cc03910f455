"""bitcoind's JSON-RPC over HTTP, for the subset that a node and its tests use."""

from __future__ import annotations

import base64
import hmac
import json
import os
import secrets
import signal
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from daruma.embedded.chain import EmbeddedChain
from daruma.embedded.kernel import Reject
from protocol.bitcoin import script
from protocol.bitcoin.transaction import (
    Outpoint,
    Transaction,
    display,
    from_display,
    parse,
    parse_block,
    serialize,
)
from protocol.errors import Malformed
from storage import files

MAX_BODY = 16 << 20
# the chain has no locks of its own: one request at a time
LOCK = threading.Lock()
MISC, INVALID_ADDRESS, DESERIALIZE, UNKNOWN = -1, -5, -22, -32601


class Methods:
    """One Python method for each RPC, by its name."""

    def __init__(self, chain: EmbeddedChain) -> None:
        self.chain = chain
        self.stopping = False

    def call(self, name: str, params: list[Any]) -> Any:
        """bitcoind's method of this name. Raises `Reject`."""
        method: Callable[..., Any] | None = getattr(self, f"rpc_{name}", None)
        if method is None:
            raise Reject("Method not found", UNKNOWN)
        try:
            return method(*params)
        except TypeError:
            raise Reject(f"{name}: wrong parameters", MISC) from None

    def rpc_getblockcount(self) -> int:
        return self.chain.height

    def rpc_getbestblockhash(self) -> str:
        return display(self.chain.active[-1])

    def rpc_getblockhash(self, height: int) -> str:
        return display(self.chain.block_at(height))

    def rpc_getblockchaininfo(self) -> dict[str, Any]:
        chain = self.chain
        return {
            "chain": "regtest",
            "blocks": chain.height,
            "headers": chain.height,
            "bestblockhash": display(chain.active[-1]),
            "mediantime": chain.median_time(),
            "verificationprogress": 1,
            "initialblockdownload": False,
            "warnings": ["embedded regtest; not a network"],
        }

    def rpc_getnetworkinfo(self) -> dict[str, Any]:
        return {"version": 0, "subversion": "/daruma-embedded/", "relayfee": 0.00001,
                "connections": 0, "networkactive": False}  # fmt: skip

    def _known(self, block_hash: str) -> bytes:
        raw = self.chain.raw.get(from_display(block_hash))
        if raw is None:
            raise Reject("Block not found", INVALID_ADDRESS)
        return raw

    def rpc_getblockheader(self, block_hash: str, verbose: bool = True) -> Any:
        raw = self._known(block_hash)
        if not verbose:
            return raw[:80].hex()
        block = parse_block(raw)
        active = block.hash in self.chain.active
        height = self.chain.active.index(block.hash) if active else -1
        confirmations = self.chain.height - height + 1 if active else -1
        return {
            "hash": display(block.hash),
            "confirmations": confirmations,
            "height": height,
            "time": block.time,
            "previousblockhash": display(block.previous),
            "nTx": len(block.transactions),
        }

    def rpc_getblock(self, block_hash: str, verbosity: int = 1) -> Any:
        raw = self._known(block_hash)
        if not verbosity:
            return raw.hex()
        txids = [display(tx.txid) for tx in parse_block(raw).transactions]
        return self.rpc_getblockheader(block_hash) | {"tx": txids}

    def _tx(self, raw: str) -> Transaction:
        try:
            return parse(bytes.fromhex(raw))
        except (ValueError, Malformed):
            raise Reject("TX decode failed", DESERIALIZE) from None

    def rpc_sendrawtransaction(self, raw: str, maxfeerate: Any = None) -> str:
        tx = self._tx(raw)
        if tx.txid not in self.chain.mempool.entries:
            self.chain.submit([tx])
        return display(tx.txid)

    def rpc_testmempoolaccept(self, raws: list[str]) -> list[dict[str, Any]]:
        tx = self._tx(raws[0])
        row: dict[str, Any] = {"txid": display(tx.txid)}
        try:
            entry = self.chain.submit([tx], keep=False)[0]
            fees = {"base": entry.fee_sat / 1e8}
            return [row | {"allowed": True, "vsize": entry.vsize, "fees": fees}]
        except Reject as reject:
            return [row | {"allowed": False, "reject-reason": str(reject)}]

    def rpc_submitpackage(self, raws: list[str]) -> dict[str, Any]:
        package = [self._tx(raw) for raw in raws]
        if len(package) > 2:
            raise Reject("package-too-many-transactions", -25)
        try:
            self.chain.submit(package)
        except Reject as reject:
            return {"package_msg": str(reject), "tx-results": {}}
        results = {display(tx.txid): {"txid": display(tx.txid)} for tx in package}
        return {"package_msg": "success", "tx-results": results}

    def rpc_getrawtransaction(
        self, txid: str, verbose: Any = False, block_hash: str | None = None
    ) -> Any:
        wanted = from_display(txid)
        entry = self.chain.mempool.entries.get(wanted)
        tx = entry.tx if entry is not None else None
        found = from_display(block_hash) if block_hash else self.chain.where.get(wanted)
        if tx is None and found is not None:
            block = parse_block(self.chain.raw[found])
            tx = next((one for one in block.transactions if one.txid == wanted), None)
        if tx is None:
            raise Reject("No such mempool or blockchain transaction", INVALID_ADDRESS)
        raw = serialize(tx).hex()
        return {"txid": txid, "hex": raw} if verbose else raw

    def rpc_gettxout(self, txid: str, n: int, include_mempool: bool = True) -> Any:
        point = Outpoint(from_display(txid), n)
        if include_mempool and point in self.chain.mempool.spenders:
            return None
        coin = self.chain.coins.get(point)
        if coin is None:
            return None
        confirmations = self.chain.height - (coin.height or 0) + 1
        return {
            "bestblock": display(self.chain.active[-1]),
            "confirmations": confirmations,
            "value": coin.out.amount_sat / 1e8,
            "scriptPubKey": {"hex": coin.out.script.hex()},
            "coinbase": coin.coinbase,
        }

    def rpc_getrawmempool(self, verbose: bool = False) -> Any:
        entries = self.chain.mempool.entries
        if not verbose:
            return [display(txid) for txid in entries]
        return {
            display(txid): {"vsize": entry.vsize, "fees": {"base": entry.fee_sat / 1e8}}
            for txid, entry in entries.items()
        }

    def rpc_getmempoolinfo(self) -> dict[str, Any]:
        return {"loaded": True, "size": len(self.chain.mempool.entries), "mempoolminfee": 0.00001}

    def rpc_estimatesmartfee(self, blocks: int, mode: str = "") -> dict[str, Any]:
        return {"errors": ["Insufficient data or no feerate found"], "blocks": blocks}

    def rpc_generatetoaddress(self, count: int, address: str, tries: int = 0) -> list[str]:
        form = script.from_address(address, "regtest")
        if form is None:
            raise Reject("Error: Invalid address", INVALID_ADDRESS)
        return [display(block_hash) for block_hash in self.chain.generate(count, form)]

    def rpc_invalidateblock(self, block_hash: str) -> None:
        self.chain.invalidate(from_display(block_hash))

    def rpc_reconsiderblock(self, block_hash: str) -> None:
        self.chain.invalid.discard(from_display(block_hash))

    def rpc_stop(self) -> str:
        self.stopping = True
        return "daruma chain stopping"


def serve(chain: EmbeddedChain, port: int, credentials: str) -> HTTPServer:
    """A server on loopback that answers one request after another; kept-alive connections too."""
    methods = Methods(chain)
    expected = "Basic " + base64.b64encode(credentials.encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # headers and body in one segment: two would wait 40 ms for each other
        wbufsize = -1
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            if size > MAX_BODY:
                self._send(413, b"")
                return
            body = self.rfile.read(size)
            given = self.headers.get("Authorization") or ""
            if not hmac.compare_digest(given.encode(), expected.encode()):
                self._send(401, b"")
                return
            status, reply = answer(methods, body)
            self._send(status, reply)
            if methods.stopping:
                os.kill(os.getpid(), signal.SIGTERM)

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

    return _Server(("127.0.0.1", port), Handler)


class _Server(HTTPServer):
    """Many kept-alive connections, one request at a time: the chain has no locks."""

    request_queue_size = 64
    allow_reuse_address = True

    def process_request(self, request: Any, client_address: Any) -> None:
        work = threading.Thread(target=self._one, args=(request, client_address), daemon=True)
        work.start()

    def _one(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError:
            pass  # the client has gone
        finally:
            self.shutdown_request(request)


def answer(methods: Methods, body: bytes) -> tuple[int, bytes]:
    """-> HTTP status and JSON, as bitcoind gives them; a batch is a list of requests."""
    try:
        request = json.loads(body)
    except ValueError:
        request = None
    if isinstance(request, list):
        return 200, json.dumps([_reply(methods, one)[1] for one in request]).encode()
    status, reply = _reply(methods, request)
    return status, json.dumps(reply).encode()


def _reply(methods: Methods, request: Any) -> tuple[int, dict[str, Any]]:
    number = None
    try:
        number = request.get("id")
        params = request.get("params") or []
        with LOCK:
            result = methods.call(request["method"], list(params))
        return 200, {"result": result, "error": None, "id": number}
    except Reject as reject:
        error = {"code": reject.code, "message": str(reject)}
        return 500, {"result": None, "error": error, "id": number}
    except (ValueError, KeyError, AttributeError, TypeError):
        error = {"code": -32700, "message": "Parse error"}
        return 500, {"result": None, "error": error, "id": number}


def cookie(folder: str) -> str:
    """A fresh cookie file (mode 0600), as bitcoind writes it; -> user:password."""
    path = os.path.join(folder, ".cookie")
    credentials = f"__cookie__:{secrets.token_hex(32)}"
    files.replace(path, credentials)
    return credentials
