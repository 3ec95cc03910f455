"""What the gossiper keeps: the graph and our own channels on disk, its peers in memory."""

from __future__ import annotations

from protocol.chain.messages import LookUp
from protocol.channel.proof import Half, Side
from protocol.gossip.announce import Policy
from protocol.gossip.messages import Change, PeerUp
from protocol.segment import Segment
from protocol.values import Value
from protocol.wire.gossip import QueryChannelRange, QueryShortChannelIds


class Facts(Value, frozen=True, kw_only=True, tag="facts"):
    """What a monitor has said of a channel of ours; the fields of `OwnChannel`."""

    channel_id: bytes
    scid: bytes
    txid: bytes
    theirs: Side
    their_half: Half | None
    called: bytes
    key_index: int
    capacity_sat: int
    least_msat: int
    most_msat: int


class Own(Value, frozen=True, kw_only=True, tag="own"):
    """A channel of ours: the facts, and what we ask for relaying.

    `theirs`: what the peer asks for, while it is said to us alone. `told_at`: the timestamp of the
    newest update that we said to the peer alone; what everybody hears must be newer.
    """

    facts: Facts
    policy: Policy
    theirs: Policy | None = None
    told_at: int = 0


class Edge(Value, frozen=True, kw_only=True, tag="edge"):
    """An announced channel.

    `ends`: both node ids in ascending order, 66 bytes. `txid`: its funding transaction. `serial`
    rises with every change of the graph. `heard`: unix seconds. `time_0`, `time_1`: timestamps of
    the newest updates, 0 for none. `spent_height`: where its funding output was spent. `barred`:
    it has a feature that we must know for using it, and do not.
    """

    ends: bytes
    txid: bytes
    capacity_sat: int
    serial: int
    heard: int
    time_0: int = 0
    time_1: int = 0
    spent_height: int | None = None
    barred: bool = False

    @property
    def nodes(self) -> tuple[bytes, bytes]:
        """Both ids (33 bytes each), the smaller one first."""
        return self.ends[:33], self.ends[33:]

    @property
    def times(self) -> tuple[int, int]:
        """The timestamps (unix seconds) of the newest updates, by direction; 0 for none."""
        return self.time_0, self.time_1


class Seen(Value, frozen=True, kw_only=True, tag="seen"):
    """Of a node: the timestamp of its newest announcement. `barred`: as in `Edge`."""

    timestamp: int
    barred: bool = False


class Said(Value, frozen=True, kw_only=True, tag="said"):
    """The newest message of its kind, with its type in front."""

    raw: bytes


class Followed(Value, frozen=True, kw_only=True, tag="followed"):
    """The newest block whose spends have been looked at."""

    height: int
    hash: bytes


class Epoch(Value, frozen=True, kw_only=True, tag="epoch"):
    """8 random bytes, made with the store."""

    value: bytes


class Filter(Value, frozen=True, kw_only=True):
    """What a peer wants to hear of others (gossip_timestamp_filter)."""

    first: int
    last: int


class Pending(Value, frozen=True, kw_only=True):
    """Announced, signed, and not looked up on the chain yet.

    `updates`, `nodes`: what was said of it meanwhile, checked; empty for nothing.
    """

    peer: bytes
    raw: bytes
    ends: bytes
    script: bytes
    updates: tuple[bytes, bytes] = (b"", b"")
    nodes: tuple[bytes, bytes] = (b"", b"")


class Relay(Value, frozen=True, kw_only=True):
    """Believed in this batch, to be passed on; not back to `peer`."""

    peer: bytes
    raw: bytes


class Noted(Value, frozen=True, kw_only=True):
    """Something that the router is to hear at the end of the batch."""

    change: Change


class Asked(Value, frozen=True, kw_only=True):
    """A query to a peer whose answer has not come yet; `at`: when it moved last."""

    at: float
    ids: bool


class Sync(Value, frozen=True, kw_only=True):
    """The peer that gives us its graph, since `began`. `wanted`: (scid, flags)."""

    peer: bytes
    began: float
    heard: int = 0
    ranged: bool = False
    wanted: tuple[tuple[bytes, int], ...] = ()


class CatchUp(Value, frozen=True, kw_only=True):
    """What the router must still hear of: `scids`, of which so many are `done`."""

    scids: tuple[bytes, ...]
    done: int = 0


# ---- what is owed to a peer ---------------------------------------------------------------------


class Backlog(Value, frozen=True, kw_only=True):
    """A filter: all channels behind `after` with an update of that time."""

    first: int
    last: int
    after: bytes = b""


class Ids(Value, frozen=True, kw_only=True):
    """Channels asked for by their ids; then their nodes, each once; then the end."""

    query: QueryShortChannelIds
    scids: tuple[bytes, ...]
    flags: tuple[int, ...]
    known_chain: bool
    done: int = 0
    nodes: tuple[bytes, ...] | None = None


class Range(Value, frozen=True, kw_only=True):
    """The ids of all channels in some blocks, behind `after`. `wants`: what of each."""

    query: QueryChannelRange
    wants: int
    after: bytes = b""
    reached: int = 0


Job = Backlog | Ids | Range


class Owed(Value, frozen=True, kw_only=True):
    """`waits`: something is on the wire, and the rest follows when it has left."""

    jobs: tuple[Job, ...] = ()
    waits: bool = False


class ScidOrder(Value, frozen=True, kw_only=True):
    """All channels, ascending, as of a moment."""

    made_at: float
    names: tuple[bytes, ...]


# ---- where they stand ----------------------------------------------------------------------------

OWN = Segment("own", Own, by=(bytes,))  # by channel id
# by short channel id (8 bytes); beside version 1 the updates stood under other keys
EDGES = Segment("edge", Edge, by=(bytes,))
NODES = Segment("node", Seen, by=(bytes,))  # by node id (33 bytes)
SAID = Segment("said", Said, by=(bytes,), cold=True)  # announcements, by either of these
UPDATES = Segment("update", Said, by=(bytes, int), cold=True)  # by channel and direction
FOLLOWED = Segment("followed", Followed, by=())
EPOCH = Segment("epoch", Epoch, by=())

KEEPS = (OWN, EDGES, NODES, SAID, UPDATES, FOLLOWED, EPOCH)

# by peer
UP = Segment("~up", PeerUp, by=(bytes,))
ASKED_FOR_NEWS = Segment("~asked_for_news", bool, by=(bytes,))
ASKED = Segment("~asked", Asked, by=(bytes,))
WISHES = Segment("~wishes", tuple[bytes, ...], by=(bytes,))  # channels to ask it for
DEAF = Segment("~deaf", bool, by=(bytes,))  # has not answered to the end
FILTERS = Segment("~filter", Filter, by=(bytes,))
OWED = Segment("~owed", Owed, by=(bytes,))
READY = Segment("~ready", bool, by=(bytes,))  # the next turn may be given
STRIKES = Segment("~strikes", int, by=(bytes,))  # channels announced that do not exist
DIGESTED = Segment("~digested", int, by=(bytes,))  # bytes dealt with, and not yet said so
KEPT = Segment("~kept", tuple[bytes, ...], by=(bytes,))  # updates of channels we do not know yet
OFF = Segment("~off", bool, by=(bytes,))  # away for so long that our channels say so
AWAY = Segment("~away", float, by=(bytes,))  # since when
SILENT = Segment("~silent", int, by=(bytes,))  # how often it was asked for its policy

# by short channel id
PENDING = Segment("~pending", Pending, by=(bytes,))
EARLY = Segment("~early", Pending, by=(bytes,))  # not deep enough yet
RIVALS = Segment("~rival", Pending, by=(bytes,))  # another announcement of the same place
ABSENT = Segment("~absent", bool, by=(bytes,))  # (or with 8 bytes of a false script behind it)
CHANNEL = -1
NEWS = Segment("~news", Noted, by=(bytes, int))  # or node id; and direction, or `CHANNEL`

LOBBY = Segment("~lobby", bytes, by=(bytes,))  # a node -> the pending channel it waits with
DEGREES = Segment("~degree", int, by=(bytes,))  # channels of a node
KEEPERS = Segment("~keeper", str, by=(bytes,))  # which monitor has a channel of ours
HEARD = Segment("~heard", bool)  # monitors that have said all of theirs
RELAYS = Segment("~relay", Relay, by=(int,))  # in the order in which they were believed
RELAYED = Segment("~relayed", int, by=())
SERIAL = Segment("~serial", int, by=())
SYNC = Segment("~sync", Sync, by=())
SYNCED = Segment("~synced", float, by=())  # when the last round began
LOOKUP = Segment("~lookup", LookUp, by=())
ORDER = Segment("~order", ScidOrder, by=())
CATCH_UP = Segment("~catch_up", CatchUp, by=())
CHECKED = Segment("~checked", float, by=())  # when our own channels were compared
TICKED = Segment("~ticked", float, by=())
