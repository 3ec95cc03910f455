"""A peer that accepts a channel and does no more than it must: a test sees every message."""

from __future__ import annotations

import os
from typing import Any

from daruma.playground import NodeProcess
from protocol.bitcoin.transaction import Outpoint
from protocol.channel.state import Channel
from protocol.crypto.keys import ChannelSecrets
from protocol.features import OUR_INIT, Features
from protocol.funding import establishment
from protocol.funding.policy import OpeningPolicy
from protocol.wire.commitment import ChannelReestablish
from protocol.wire.message import Message
from protocol.wire.opening import ChannelReady, FundingCreated, FundingSigned, OpenChannel
from tests.kit.stranger import Stranger

# no gossip: only what belongs to the channel is said
FEATURES: Features = OUR_INIT - {7, 11}


class Accepter:
    """One channel, over as many connections as it takes. `ready`: the points of channel_ready."""

    def __init__(self, node: NodeProcess) -> None:
        self.node = node
        self.secret = os.urandom(32)
        self.secrets = ChannelSecrets(os.urandom(32), 1)
        self.ready: list[bytes] = []
        self.channel: Channel | None = None
        self.connect()

    def connect(self) -> None:
        self.line = Stranger(self.node, self.secret)
        self.line.init(FEATURES)

    @property
    def id(self) -> str:
        from protocol.crypto import secp

        return secp.public_key(self.secret).hex()

    def hear(self, kind: type[Message]) -> Any:
        """The next message of this kind; every channel_ready is noted on the way."""
        while True:
            message = self.line.hear()
            if isinstance(message, ChannelReady):
                self.ready.append(message.second_per_commitment_point)
            if isinstance(message, kind):
                return message

    def accept(self) -> None:
        """From open_channel to funding_signed."""
        asked: OpenChannel = self.hear(OpenChannel)
        party = establishment.our_party(OpeningPolicy(), self.secrets, asked.funding_satoshis)
        accepted = establishment.accept_channel(
            temporary_id=asked.temporary_channel_id,
            depth=1,
            kind=frozenset({12, 22}),
            party=party,
            first_point=self.secrets.commitment_point(0),
            upfront=b"",
        )
        self.line.say(accepted)
        created: FundingCreated = self.hear(FundingCreated)
        channel = establishment.first_channel(
            opened=asked,
            accepted=accepted,
            funding=Outpoint(created.funding_txid, created.funding_output_index),
            we_opened=False,
            peer=bytes.fromhex(self.node.id),
            key_index=1,
            ours=party,
            minimum_depth=1,
        )
        self.channel = establishment.check_first(channel, self.secrets, created.signature)
        signature = establishment.sign_first(self.channel, self.secrets)
        self.line.say(FundingSigned(channel_id=self.channel.id, signature=signature))

    def reestablish(self) -> None:
        """Nothing was ever committed to after the first commitment."""
        assert self.channel is not None
        self.line.say(
            ChannelReestablish(
                channel_id=self.channel.id,
                next_commitment_number=1,
                next_revocation_number=0,
                your_last_per_commitment_secret=bytes(32),
                my_current_per_commitment_point=self.secrets.commitment_point(0),
            )
        )

    def say_ready(self) -> None:
        assert self.channel is not None
        point = self.secrets.commitment_point(1)
        self.line.say(ChannelReady(channel_id=self.channel.id, second_per_commitment_point=point))
