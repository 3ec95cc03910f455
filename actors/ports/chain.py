"""The chain actor's port: a bitcoind, or the embedded chain, by JSON-RPC."""

from __future__ import annotations

from typing import Any

from actors.ports.base import PortHost
from actors.ports.rpc import Bitcoind, RpcError, Unreachable
from protocol import chain
from protocol.bitcoin.transaction import display
from protocol.machine import Answer, Ask

MAX_BLOCKS = 100
FALLBACK_FEERATE_PER_KW = {"regtest": 1000}
MIN_FEERATE_PER_KW = 253


class ChainPort:
    def __init__(self, host: PortHost) -> None:
        self.host = host
        self.rpc = Bitcoind(host.settings.rpc)
        self._best: str | None = None
        self._feerate = FALLBACK_FEERATE_PER_KW.get(host.settings.network, MIN_FEERATE_PER_KW)
        self._away = False

    def flush(self) -> None:
        pass

    def do(self, item: Any) -> None:
        try:
            self._do(item)
            if self._away:
                self._away = False
                self.host.log("the chain backend answers again")
        except Unreachable as error:
            self._best = None
            if not self._away:
                self._away = True
                self.host.log(f"the chain backend does not answer: {error}")
            if isinstance(item, Ask):
                self._refuse(item, "the chain backend does not answer")

    def _do(self, item: Any) -> None:
        match item:
            case chain.Poll():
                self._poll(item)
            case chain.Scan():
                self._scan(item)
            case chain.Fetch():
                raw = self._block(item.height)
                if raw is not None:
                    fetched = chain.Fetched(follower=item.follower, height=item.height, raw=raw)
                    self.host.feed(fetched)
            case chain.Send():
                self._send(item)
            case Ask():
                self._generate(item)

    def _poll(self, item: chain.Poll) -> None:
        best = self.rpc("getbestblockhash")
        newest = display(item.hashes[0]) if item.hashes else None
        if best == newest and best == self._best:
            return
        self._best = best
        height = self.rpc("getblockheader", best)["height"]
        keep = height - 1 if item.height < 0 else self._fork(item)
        blocks = []
        for number in range(keep + 1, min(height, keep + MAX_BLOCKS) + 1):
            raw = self._block(number)
            if raw is None:
                return  # the chain changed under us: the next poll sees it whole
            blocks.append(raw)
        if keep + MAX_BLOCKS < height:
            self._best = None
        self._estimate()
        polled = chain.Polled(keep=keep, blocks=tuple(blocks), feerate_per_kw=self._feerate)
        self.host.feed(polled)

    def _fork(self, item: chain.Poll) -> int:
        """The height of the newest block of ours that is still in the chain."""
        keep = item.height
        for known in item.hashes:
            try:
                if self.rpc("getblockhash", keep) == display(known):
                    break
            except RpcError:
                pass  # the chain is shorter now
            keep -= 1
        return keep

    def _block(self, height: int) -> bytes | None:
        try:
            return bytes.fromhex(self.rpc("getblock", self.rpc("getblockhash", height), 0))
        except RpcError:
            return None

    def _estimate(self) -> None:
        try:
            estimate = self.rpc("estimatesmartfee", 6).get("feerate")
        except RpcError:
            estimate = None
        if estimate is not None:
            self._feerate = max(MIN_FEERATE_PER_KW, int(estimate * 100_000_000 / 4000))

    def _scan(self, item: chain.Scan) -> None:
        for height in range(item.since, item.until + 1):
            raw = self._block(height)
            if raw is not None:
                last = height == item.until
                scanned = chain.Scanned(key=item.key, height=height, raw=raw, last=last)
                self.host.feed(scanned)

    def _send(self, item: chain.Send) -> None:
        try:
            self.rpc("sendrawtransaction", item.raw.hex())
        except RpcError as error:
            # known already, mined already, or a rival was first: the machine sees it in blocks
            if "already" not in str(error) and "missingorspent" not in str(error):
                self.host.log(f"a transaction was not accepted: {str(error)[:200]}")

    def _generate(self, ask: Ask) -> None:
        try:
            count, address = ask.params["count"], ask.params["address"]
            hashes = self.rpc("generatetoaddress", count, address)
        except RpcError as error:
            self._refuse(ask, str(error))
            return
        height = self.rpc("getblockcount")
        self._answer(Answer(id=ask.id, result={"blocks": hashes, "blockheight": height}))

    def _refuse(self, ask: Ask, text: str) -> None:
        self._answer(Answer(id=ask.id, code=-1, text=text))

    def _answer(self, answer: Answer) -> None:
        self.host.hub.out("api", 0, answer)
