"""Type number to message class; the one place where peer bytes become a message."""

from __future__ import annotations

from protocol.errors import Malformed
from protocol.wire import closing, commitment, gossip, opening, setup
from protocol.wire.message import Message

CLASSES: dict[int, type[Message]] = {
    cls.TYPE: cls
    for cls in (
        setup.Warning_, setup.Init, setup.Error, setup.Ping, setup.Pong,
        opening.OpenChannel, opening.AcceptChannel, opening.FundingCreated,
        opening.FundingSigned, opening.ChannelReady,
        commitment.UpdateAddHtlc, commitment.UpdateFulfillHtlc, commitment.UpdateFailHtlc,
        commitment.UpdateFailMalformedHtlc, commitment.CommitmentSigned,
        commitment.RevokeAndAck, commitment.UpdateFee, commitment.ChannelReestablish,
        closing.Shutdown, closing.ClosingSigned, closing.ClosingComplete, closing.ClosingSig,
        gossip.AnnouncementSignatures,
    )
}  # fmt: skip

# BOLT 7, but announcement_signatures: for the gossiper, which reads the bytes as they came
GOSSIP = frozenset({256, 257, 258, 261, 262, 263, 264, 265})


def decode(data: bytes) -> Message | None:
    """The message, or None for one that may be ignored. Raises `Malformed`.

    BOLT 1: "upon receiving a message of odd, unknown type: MUST ignore"; even: close.
    """
    # BOLT 1: "type: a 2-byte big-endian field indicating the type of message"
    if len(data) < 2:
        raise Malformed("a message has at least two bytes")
    kind = int.from_bytes(data[:2], "big")
    cls = CLASSES.get(kind)
    if cls is not None:
        return cls.decode(data[2:])
    if kind % 2 or kind in GOSSIP:
        return None
    raise Malformed(f"unknown even message type {kind}")
