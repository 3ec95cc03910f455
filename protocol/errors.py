"""The ways in which something can be wrong, told apart by whose fault it is."""


class ProtocolError(Exception):
    """Anything below; its text is one sentence for a person and carries no secret."""


class PeerFault(ProtocolError):
    """The peer broke a rule: `fatal` fails the channel (`error`), else a `warning` is sent."""

    def __init__(self, text: str, *, fatal: bool = True) -> None:
        super().__init__(text)
        self.fatal = fatal


class Malformed(PeerFault):
    """Bytes that are not what they claim to be (too short, not canonical, unknown even type)."""


class Refusal(ProtocolError):
    """A request that we decline; `code` is Core Lightning's JSON-RPC error code.

    `final`: asking again later would not help either.
    """

    def __init__(self, text: str, *, code: int = -1, final: bool = False) -> None:
        super().__init__(text)
        self.code, self.final = code, final
