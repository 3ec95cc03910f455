"""The chain actor's port: a bitcoind, or the embedded chain, by JSON-RPC."""

from __future__ import annotations

from typing import Any, assert_never

from actors.engine.port import PortHost
from actors.ports.rpc import Bitcoind, RpcError, Unreachable
from protocol.bitcoin import units
from protocol.bitcoin.transaction import display, from_display
from protocol.chain import port as chain
from protocol.chain.messages import LookUp, Output, OutputsFound
from protocol.machine import Answer, Ask
from protocol.networks import CHAIN_HASH

MAX_BLOCKS, MAX_BYTES = 100, 8 << 20  # of one turn, which must be shorter than a heartbeat
BLOCKS_KEPT = 32  # their transaction ids, for look-ups
NOT_NOW = frozenset({-28, -9, -10})  # warming up, no peers, still downloading: ask again
FALLBACK_FEERATE_PER_KW = {"regtest": 1000}


class ChainPort:
    """Asks the backend what the machine wants to know, and tells when it is away."""

    def __init__(self, host: PortHost) -> None:
        self.host = host
        self.rpc = Bitcoind(host.settings.rpc)
        self._best: str | None = None
        self._feerate = FALLBACK_FEERATE_PER_KW.get(host.settings.network, units.MIN_FEERATE_PER_KW)
        self._away = self._known = False
        self._txids: dict[int, list[str]] = {}

    def flush(self) -> None:
        pass

    def do(self, item: chain.Order) -> None:
        try:
            self._do(item)
            if self._away:
                self._away = False
                self.host.feed(chain.Away(reason=""))
                self.host.log("the chain backend answers again")
        except (Unreachable, RpcError) as error:
            self._best = None
            if not self._away:
                self._away = True
                self.host.feed(chain.Away(reason=str(error)[:200]))
                self.host.warn(f"the chain backend does not answer: {error}; waiting for it")
            if isinstance(item, Ask):
                self._refuse(item, "the chain backend does not answer")
            if isinstance(item, LookUp):
                unknown = tuple(Output(scid=scid, unknown=True) for scid in item.scids)
                self.host.feed(OutputsFound(outputs=unknown))

    def _do(self, item: chain.Order) -> None:
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
                refused = self._refused("sendrawtransaction", item.raw.hex())
                self.host.feed(
                    chain.Submitted(
                        owner=item.owner, purpose=item.purpose, raw=item.raw, refused=refused
                    )
                )
            case chain.Try():
                self.host.feed(
                    chain.Tried(
                        owner=item.owner,
                        purpose=item.purpose,
                        raw=item.raw,
                        refused=self._try(item),
                    )
                )
            case LookUp():
                self.host.feed(OutputsFound(outputs=self._outputs(item)))
            case Ask():
                self._generate(item)
            case _:
                assert_never(item)

    def _poll(self, item: chain.Poll) -> None:
        if not self._known:
            self._check_chain()
        best = self.rpc("getbestblockhash")
        newest = display(item.hashes[0]) if item.hashes else None
        if best == newest and best == self._best:
            return
        self._best = best
        height = self.rpc("getblockheader", best)["height"]
        keep = height - 1 if item.height < 0 else self._fork(item)
        if keep < item.height:
            self._txids.clear()
        blocks = []
        for number in range(keep + 1, min(height, keep + MAX_BLOCKS) + 1):
            raw = self._block(number)
            if raw is None:
                return  # the chain changed under us: the next poll sees it whole
            blocks.append(raw)
            if sum(map(len, blocks)) > MAX_BYTES:
                break
        if keep + len(blocks) < height:
            self._best = None
        self._estimate()
        polled = chain.Polled(
            asked=item.height, keep=keep, blocks=tuple(blocks), feerate_per_kw=self._feerate
        )
        self.host.feed(polled)

    def _check_chain(self) -> None:
        genesis = self.rpc("getblockhash", 0)
        network = self.host.settings.network
        if genesis != display(bytes.fromhex(CHAIN_HASH[network])):
            raise Unreachable(f"it follows another chain than {network} (genesis {genesis[:16]})")
        self._known = True

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
        if isinstance(estimate, int | float):
            self._feerate = units.bounded_feerate(units.per_kw_of_btc_per_kvb(estimate))

    def _scan(self, item: chain.Scan) -> None:
        for height in range(item.since, item.until + 1):
            raw = self._block(height)
            if raw is not None:
                last = height == item.until
                scanned = chain.Scanned(
                    kind=item.kind,
                    owner=item.owner,
                    reason=item.reason,
                    height=height,
                    raw=raw,
                    last=last,
                )
                self.host.feed(scanned)

    def _outputs(self, item: LookUp) -> tuple[Output, ...]:
        """Two batches of questions: which transactions those are, and what is unspent of them."""
        places = {scid: self._txid(scid) for scid in item.scids}
        known = [scid for scid, txid in places.items() if txid]
        asked = [
            ("gettxout", (places[scid], int.from_bytes(scid[6:], "big"), False)) for scid in known
        ]
        coins = dict(zip(known, self.rpc.many(asked), strict=True))
        return tuple(self._output(scid, places[scid], coins.get(scid)) for scid in item.scids)

    def _txid(self, scid: bytes) -> str | None:
        height, index = int.from_bytes(scid[:3], "big"), int.from_bytes(scid[3:6], "big")
        if height not in self._txids:
            try:
                txids = self.rpc("getblock", self.rpc("getblockhash", height), 1)["tx"]
            except RpcError:
                return None  # the chain is shorter, or the block is pruned
            while len(self._txids) >= BLOCKS_KEPT:
                del self._txids[next(iter(self._txids))]
            self._txids[height] = txids
        txids = self._txids[height]
        return txids[index] if index < len(txids) else ""

    @staticmethod
    def _output(scid: bytes, txid: str | None, coin: Any) -> Output:
        if not txid or coin is None:
            return Output(scid=scid, unknown=txid is None)
        return Output(
            scid=scid,
            txid=from_display(txid),
            script=bytes.fromhex(coin["scriptPubKey"]["hex"]),
            amount_sat=units.sat_of_btc(coin["value"]),
        )

    def _refused(self, method: str, *params: Any) -> str:
        """Why the backend refuses a transaction; empty when it takes it, or has it already."""
        try:
            self.rpc(method, *params)
        except RpcError as error:
            if error.code in NOT_NOW:
                raise
            return "" if "already" in str(error) else str(error)[:200] or "it does not say why"
        return ""

    def _try(self, item: chain.Try) -> str:
        try:
            row = self.rpc("testmempoolaccept", [item.raw.hex()])[0]
        except RpcError as error:
            if error.code in NOT_NOW:
                raise
            return str(error)[:200] or "it does not say why"
        why = str(row.get("reject-reason") or "it does not say why")[:200]
        return "" if row.get("allowed") or "already" in why else why

    def _generate(self, ask: Ask) -> None:
        try:
            count, address = ask.params["count"], ask.params["address"]
            hashes = self.rpc("generatetoaddress", count, address)
        except RpcError as error:
            self._refuse(ask, str(error))
            return
        height = self.rpc("getblockcount")
        answer = Answer(id=ask.id, result={"blocks": hashes, "blockheight": height})
        self.host.feed(chain.Generated(answer=answer, height=height))

    def _refuse(self, ask: Ask, text: str) -> None:
        self.host.feed(chain.Generated(answer=Answer(id=ask.id, code=-1, text=text), height=0))
