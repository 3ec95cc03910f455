"""A message that ends its actor again and again, and a channel that meets a defect of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actors.engine import letters
from actors.engine.driver import Driver
from actors.engine.system import Child, System
from actors.engine.witness import Witness
from actors.testkit.node import sentences
from actors.testkit.node.stories import tale
from actors.tree import NODE
from protocol.channel import machine as channel_machine
from protocol.funding.messages import PeerLost
from protocol.funding.rows import KEYS, KeyIndex
from protocol.machine import Answer, Ask, Log, Moment, Quarantined, Step
from protocol.peer.hosting import MAX_DEFECTS
from protocol.segment import Segment
from protocol.wallet.messages import SentCoins
from storage.errors import Corrupt
from storage.memory import Disk, MemoryStore


class Fragile:
    """Stumbles over questions called "poison" while `well` is False; keeps the others."""

    name = "funding"
    hears = PeerLost | Ask
    keeps = (KEYS,)
    well = False

    def step(self, step: Step, sender: str, item: Any, at: Moment) -> None:
        if item in (POISON, QUESTION) and not self.well:
            raise ValueError("stumbled")
        KEYS.put(step, KeyIndex(next=8))

    def resume(self, step: Step, name: str | None, at: Moment) -> None: ...

    def drain(self, step: Step, at: Moment) -> None: ...

    def wake(self, step: Step, at: Moment) -> None: ...


class Ears:
    """A host that remembers what it was told."""

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.log: list[str] = []

    def out(self, to: str, sequence: int, data: bytes) -> None:
        self.said.append(NODE.decode(data))

    def acknowledge(self, to: str, sequence: int) -> None:
        self.said.append(("ack", sequence))

    def port(self, item: Any) -> None:
        assert isinstance(item, Log)
        self.log.append(item.text)

    def moment(self) -> Moment:
        return Moment(unix_seconds=0.0, entropy=bytes(32))


DEATHS = 3  # by exceptions, in a row

# whose questions have no parameters that it could stumble over
ROUND = ("chain", "wallet", "peers")
POISON, QUESTION, FOOD = PeerLost(peer=b"7"), Ask(id="api/7", method="poison"), PeerLost(peer=b"8")


def _system(machine: Fragile) -> System:
    """A node with this machine in the place of funding's."""
    others = [child for child in NODE.children if child.name != "funding"]
    return System([*others, Child("funding", machine)])


def _life(disk: Disk, machine: Fragile) -> tuple[Driver, Ears]:
    ears = Ears()
    driver = Driver(machine, MemoryStore(disk), _system(machine), ears)
    driver.start()
    return driver, ears


def _die_of_it(disk: Disk, item: Any = POISON) -> None:
    driver, _ = _life(disk, Fragile())
    with pytest.raises(ValueError, match="stumbled"):
        driver.hear("peers", 1, item)


def test_R6_a_message_that_ends_its_actor_is_put_aside_and_the_next_is_heard() -> None:
    disk = Disk()
    for _ in range(DEATHS):
        _die_of_it(disk)

    driver, ears = _life(disk, Fragile())
    driver.hear("peers", 1, POISON)
    driver.hear("peers", 2, FOOD)
    driver.flush()

    assert driver.rows.read("keys") == KeyIndex(next=8)
    assert any(isinstance(item, Quarantined) for item in ears.said)
    assert "put aside PeerLost of peers" in ears.log[0]


def test_what_a_port_reports_is_never_put_aside() -> None:
    """The world is as it is: the same bytes come from it again, and may be right tomorrow."""
    disk = Disk()
    for _ in range(DEATHS + 1):
        driver, _ = _life(disk, Fragile())
        with pytest.raises(ValueError, match="stumbled"):
            driver.hear_port(POISON)
    assert not [key for key in disk.data if key[:2] in (b"q/", b"d/")]

    machine = Fragile()
    machine.well = True
    driver, _ = _life(disk, machine)
    driver.hear_port(POISON)
    assert driver.rows.read("keys") == KeyIndex(next=8)


def test_a_question_that_meets_a_defect_is_answered_and_ends_nobody() -> None:
    """Nothing of its step is taken over, and whatever is heard with it is heard."""
    disk = Disk()
    driver, ears = _life(disk, Fragile())

    driver.hear("api", 0, QUESTION)
    driver.hear("peers", 1, FOOD)
    driver.flush()
    driver.write()

    answers = [(item.id, item.code) for item in ears.said if isinstance(item, Answer)]
    assert answers == [("api/7", -32603)]
    assert "poison" in ears.log[0] and "stumbled" in ears.log[0]
    assert driver.rows.read("keys") == KeyIndex(next=8)
    assert not [key for key in disk.data if key.startswith(b"q/")]


class Later(Fragile):
    """Hears a question when its batch ends, and stumbles over it."""

    def __init__(self) -> None:
        self.waiting: list[Ask] = []
        self.heard = 0

    def step(self, step: Step, sender: str, item: Any, at: Moment) -> None:
        self.heard += 1
        if self.heard > 1:
            raise ValueError("stumbled")
        self.waiting.append(item)

    def drain(self, step: Step, at: Moment) -> None:
        while self.waiting:
            step.hear_again(self.waiting.pop())


def test_a_question_that_is_heard_again_costs_itself() -> None:
    driver, ears = _life(Disk(), Later())

    driver.hear("api", 0, QUESTION)
    driver.settle()

    assert [item.code for item in ears.said if isinstance(item, Answer)] == [-32603]


OLD = Segment("old", KeyIndex, cold=True)


class Reader(Fragile):
    """Reads a row that the disk does not give back whole."""

    keeps = (KEYS, OLD)  # type: ignore[assignment]

    def step(self, step: Step, sender: str, item: Any, at: Moment) -> None:
        OLD.get(step, "x")


def test_a_row_that_is_damaged_is_no_fault_of_the_message() -> None:
    """Who asks is told; whatever else needs the row ends the actor with that sentence, and is never
    put aside for it."""
    disk = Disk()
    disk.data[b"r/old/x"] = b"1 what is left of it"
    driver, ears = _life(disk, Reader())
    driver.hear("api", 0, QUESTION)
    driver.flush()
    (answer,) = [item for item in ears.said if isinstance(item, Answer)]
    assert answer.code == -1 and "restore the store from a backup" in answer.text

    for _ in range(DEATHS + 1):
        driver, _ = _life(disk, Reader())
        with pytest.raises(Corrupt):
            driver.hear("peers", 1, FOOD)
    assert not [key for key in disk.data if key[:2] in (b"q/", b"d/")]


NOT_KEPT = Segment("nothing_of_ours", KeyIndex, by=())


class Clumsy(Fragile):
    """Puts a row, tells somebody, and then something that nobody can write."""

    def step(self, step: Step, sender: str, item: Any, at: Moment) -> None:
        KEYS.put(step, KeyIndex(next=7))
        step.deliver("wallet", SentCoins(purpose="9"))
        if item.method == "row":
            NOT_KEPT.put(step, KeyIndex(next=1))
        elif item.method == "told":
            step.deliver("wallet", SentCoins(purpose="\ud800"))
        elif item.method == "to nobody":
            step.deliver("walet", SentCoins(purpose="9"))
        elif item.method == "not heard":
            step.tell("wallet", PeerLost(peer=b"9"))
        elif item.method == "addressed":
            step.deliver(
                "monitors", Ask(id="funding/1", method="m", params={"channel_id": "no hex"})
            )


@pytest.mark.parametrize("what", ["row", "told", "addressed", "to nobody", "not heard"])
def test_nothing_of_a_step_that_cannot_be_written_is_taken_over(what: str) -> None:
    disk, ears = Disk(), Ears()
    driver = Driver(Clumsy(), MemoryStore(disk), _system(Clumsy()), ears)
    driver.start()
    before = dict(disk.data)

    driver.hear("api", 0, Ask(id="api/1", method=what))
    driver.flush()
    driver.write()

    assert [item.code for item in ears.said if isinstance(item, Answer)] == [-32603]
    assert driver.rows.read("keys") is None and not driver.outbox.waiting
    assert disk.data == before
    driver.hear("api", 0, Ask(id="api/2", method="well"))
    driver.flush()
    assert driver.rows.read("keys") == KeyIndex(next=7)
    assert list(driver.outbox.waiting["wallet"]) == [1]


@pytest.mark.parametrize(
    "role", ["chain", "wallet", "funding", "gossiper", "router", "monitors", "peers", "payments"]
)
def test_every_actor_answers_a_question_that_it_stumbles_over(role: str) -> None:
    """Parameters that no reader of the API lets through: as if one had forgotten to look."""
    world = tale.begin()
    alice = world.nodes["alice"]
    life = alice.drivers[role]
    methods = ["nonsense", "pay", "invoice", "setchannel", "getroute", "getroutes", "connect"]
    methods += ["close", "fundchannel", "listpays", "newaddr", "waitinvoice", "listchannels"]
    bad: dict[str, Any] = {"id": 7, "amount_msat": {}, "bolt11": 9, "label": []}
    for method in methods:
        world.ask(alice, role, method, number=method, short_channel_id=7, **bad)
    sentences.until(world, lambda: "nonsense" in alice.answers, "it is answered")
    assert alice.answers["nonsense"].code == -32601

    world.advance()
    assert alice.drivers[role] is life
    refused = [answer.code for answer in alice.answers.values() if answer.code == -32603]
    assert refused or role in ROUND


class Late(Fragile):
    """Stumbles over what it has heard when the batch is over."""

    def step(self, step: Step, sender: str, item: Any, at: Moment) -> None:
        if item == POISON:
            KEYS.put(step, KeyIndex(next=666))
        elif not self._stumbles(step):
            KEYS.put(step, KeyIndex(next=item.peer[0]))

    def drain(self, step: Step, at: Moment) -> None:
        if self._stumbles(step):
            raise ValueError("stumbled")

    @staticmethod
    def _stumbles(step: Step) -> bool:
        row = KEYS.get(step)
        return row is not None and row.next == 666


def test_what_a_batch_leads_to_is_held_against_the_message_that_does_it() -> None:
    """First against the last of its batch, for nobody knows better; then each is alone."""
    disk = Disk()
    batch = (FOOD, POISON, PeerLost(peer=b"9"))
    for life in range(1 + DEATHS):
        driver, ears = _life(disk, Late())
        with pytest.raises(ValueError, match="stumbled"):
            for number, item in enumerate(batch, 1):
                driver.hear("peers", number, item)
            driver.flush()
        assert life or driver.letters.suspects.keys() == {driver.letters.digest("peers", batch[2])}

    driver, ears = _life(disk, Late())
    for number, item in enumerate(batch, 1):
        driver.hear("peers", number, item)
    driver.flush()

    assert driver.rows.read("keys") == KeyIndex(next=ord("9"))
    assert "put aside PeerLost of peers" in ears.log[0] and len(driver.letters.letters) == 1
    assert not driver.letters.suspects, "the last one was innocent"


def test_what_was_heard_to_its_end_is_on_record_no_more(tmp_path: Path) -> None:
    """Whoever is killed later was not killed by it."""
    Witness(str(tmp_path), "funding").hearing("ab" * 16)  # a life that ended without a word
    witness = Witness(str(tmp_path), "funding")
    driver = Driver(Fragile(), MemoryStore(Disk()), _system(Fragile()), Ears(), witness=witness)
    driver.start()
    driver.hear("peers", 1, FOOD)
    assert Witness(str(tmp_path), "funding").accused

    driver.hear("peers", 2, FOOD)
    driver.flush()
    assert not Witness(str(tmp_path), "funding").accused


def test_a_suspect_that_does_not_come_again_is_forgotten() -> None:
    """It was volatile. Else all that is heard would be looked at for ever."""
    disk = Disk()
    _die_of_it(disk)
    driver, _ = _life(disk, Fragile())
    later = letters.CAREFUL_SECONDS + 1.0
    assert driver.letters.watched("peers", FOOD, later - 2.0, driver._stage)

    assert driver.letters.watched("peers", FOOD, later, driver._stage) == ""
    driver.settle()

    assert not _life(disk, Fragile())[0].letters.suspects


def test_only_failures_in_a_row_count() -> None:
    disk = Disk()
    for _ in range(DEATHS - 1):
        _die_of_it(disk)
    machine = Fragile()
    machine.well = True
    driver, _ = _life(disk, machine)
    driver.hear("peers", 1, POISON)
    driver.flush()
    driver.write()

    driver, _ = _life(disk, Fragile())
    with pytest.raises(ValueError, match="stumbled"):
        driver.hear("peers", 2, POISON)


def test_a_defect_ends_one_channels_life_and_not_its_neighbours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """alice stumbles over all that bob says on his channel; carol's payments go on."""
    world = tale.begin()
    world.node("carol")
    alice, bob, carol = (world.nodes[name] for name in ("alice", "bob", "carol"))
    bad = sentences.open_channel(alice, bob, 1_000_000)
    good = sentences.open_channel(alice, carol, 1_100_000)
    hear = channel_machine.hear_peer

    def stumble(turn: Any, message: Any) -> None:
        if turn.channel.id.hex() == bad and turn.channel.setup.we_opened:
            raise ValueError("a defect")
        hear(turn, message)

    monkeypatch.setattr(channel_machine, "hear_peer", stumble)
    for _ in range(MAX_DEFECTS + 2):
        world.cut(alice, bob)
        world.advance(30)

    assert sentences.live(alice, bad) is None, "it rests"
    sentences.pay(alice, carol, 5_000_000, "to carol")
    assert carol.row("monitors", f"core/{good}").ours_msat == 5_000_000
    monkeypatch.undo()
    world.kill(alice)
    sentences.until(world, lambda: sentences.usable(alice, bad), "a new start heals it")
    sentences.pay(alice, bob, 5_000_000, "to bob")
