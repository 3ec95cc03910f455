"""Everything that may be said between actors, and what each keeps: names to types, nothing else.

Links and stores carry msgpack with a type tag; only what is listed here can be read from them.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

import msgspec

from protocol import machine
from protocol.chain import items as chain
from protocol.chain import rows as chain_rows
from protocol.channel import items, state
from protocol.funding import items as funding
from protocol.gossip import items as gossip
from protocol.monitor import items as monitor
from protocol.payments import rows
from protocol.router import items as router
from protocol.wallet import items as wallet
from storage.schema import Registry, Schema

ITEMS: tuple[type, ...] = (
    items.Update, items.LearnedPreimage, items.Durable, items.Offer, items.Withdraw,
    items.Settle, items.Held, items.Unheld,
    items.CloseRequest, items.FundingLocked, items.FundingBuried, items.Born,
    items.Ended,
    chain.WatchTx, chain.WatchSpend, chain.Unwatch, chain.Broadcast, chain.GiveUp,
    chain.WouldTake, chain.Verdict, chain.Sent,
    chain.TxConfirmed,
    chain.TxReorged, chain.Spent, chain.Tip, chain.NextBlock, chain.NewBlock, chain.LostBlock,
    wallet.NewScript, wallet.ScriptIs, wallet.ReserveCoins, wallet.CoinsReserved,
    wallet.CoinsRefused, wallet.ReleaseCoins, wallet.SentCoins, wallet.Reservations,
    monitor.Guard, monitor.Guarding, monitor.ChannelUsable, monitor.ChannelEnded,
    monitor.HtlcArrived, monitor.HtlcEnded, monitor.HtlcRefused, monitor.Claim,
    monitor.ClaimKept, monitor.ClaimFound, monitor.SettleKept, monitor.Release,
    monitor.WhatStands, monitor.HtlcStands, monitor.ThatStands,
    monitor.PeerAddress, monitor.Addresses, monitor.Reborn,
    monitor.ForgetUnfunded,
    chain.LookUp, chain.Found,
    gossip.OwnChannel, gossip.OwnChannels, gossip.FromWire, gossip.PeerUp, gossip.PeerDown,
    gossip.ToWire, gossip.WireDrained, gossip.Digested, gossip.Complain,
    gossip.Since, gossip.News, gossip.UpToDate, gossip.OwnTerms,
    router.FindRoutes, router.RoutesFound, router.Learned,
    funding.FromPeer, funding.ToPeer, funding.PeerLost, funding.IsThere, funding.There,
    funding.UnknownChannel, funding.TryLater, gossip.Reconnect,
    machine.Ask, machine.Answer, machine.Quarantined, machine.Abandoned,
    rows.Earned,
)  # fmt: skip
Item: Any = reduce(or_, ITEMS)

_encoder = msgspec.msgpack.Encoder()
_item_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Item)

encode = _encoder.encode


def decode_item(data: bytes) -> Any:
    """Raises `msgspec.MsgspecError` for anything that is not in the vocabulary."""
    return _item_decoder.decode(data)


def _registry(
    *, cold: tuple[str, ...] = (), versions: dict[str, int] | None = None, **kinds: Any
) -> Registry:
    """`versions`: of those kinds that are not as they were first."""
    known = versions or {}
    schemas = {name: Schema(name, kind, known.get(name, 1)) for name, kind in kinds.items()}
    return Registry(schemas, cold)


OUTBOX = Schema("outbox", Item)

SCHEMAS: dict[str, Registry] = {
    "chain": _registry(
        chain=chain_rows.Chain,
        tx=chain_rows.TxWatch,
        spend=chain_rows.SpendWatch,
        send=chain_rows.Pending,
        # those of version 1 had no reason and no owner, and were found under other keys
        versions={"tx": 2, "spend": 2, "send": 2},
    ),
    "wallet": _registry(
        wtx=wallet.WalletTx,
        block=wallet.WalletBlock,
        position=wallet.Position,
        reservation=wallet.Reservation,
        script=wallet.OwnScript,
    ),
    # version 1 was named by its channel's id, which is the peer's to choose
    "funding": _registry(opening=funding.Opening, keys=funding.KeyIndex, versions={"opening": 2}),
    "gossiper": _registry(
        own=gossip.Own,
        edge=gossip.Edge,
        node=gossip.Seen,
        said=gossip.Said,
        followed=gossip.Followed,
        epoch=gossip.Epoch,
        cold=("said",),
    ),
    "router": _registry(page=router.Page, known=router.Known, lore=router.Lore, cold=("page",)),
    "monitors": _registry(
        setup=state.Setup,
        core=state.Core,
        htlc=state.Htlc,
        secret=monitor.Secret,
        offer=items.Offer,
        settle=items.Settle,
        preimage=monitor.Preimage,
        watch=monitor.Watch,
        claim=monitor.KeptClaim,
        address=monitor.PeerAddress,
        closing=monitor.Closing,
        taken=monitor.TakenOutput,
    ),
    "payments": _registry(
        invoice=rows.InvoiceRow,
        hash=rows.Label,
        paid=rows.Label,
        counters=rows.Counters,
        set=rows.PartSet,
        claim=rows.ClaimRow,
        claimed=rows.Label,
        payment=rows.Payment,
        part=rows.Sent,
        forward=rows.Forward,
        owed=rows.Owed,
        channel=rows.ChannelRow,
        terms=rows.TermsRow,
        begun=rows.Begun,
        standing=monitor.HtlcStands,
        event=rows.Event,
        keysend=rows.Keysend,
        early=rows.Early,
    ),
    "peers": Registry({}),
    "api": Registry({}),
}

__all__ = ["ITEMS", "OUTBOX", "SCHEMAS", "decode_item", "encode"]
