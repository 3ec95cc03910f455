"""Crash a story at every point, by branching: run it once, and start each crash from a copy.

A story is a list of sentences (functions of a world) that may be said again at any time: each
first looks how far things have come. So a world that was copied in the middle of a sentence goes
on by saying that sentence again.

Points of a world that is about to deliver a message:
    kill    the receiver dies with the message in its hands
    commit  the delivery leads to durable writes: the writer, or its whole node, dies before or
            after each of them; so it does where an actor wakes by itself, and where a batch is
            written that waited for company
    other   what else the world has to offer there (`World.disturbances`): a connection breaks
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from actors.testkit.fingerprint import fingerprint
from actors.testkit.world import Head, World

SPARSE = 16

Sentence = Callable[[Any], None]
Make = Callable[[], Any]


@dataclass(frozen=True)
class Point:
    """Where a branch left the undisturbed story: `at` counts deliveries."""

    at: int
    what: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.at}:{'/'.join(self.what)}"


@dataclass
class Report:
    """What an exploration has found."""

    points: int = 0
    survived: int = 0
    repeats: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"points tried {self.points}, survived {self.survived}, "
            f"repeats saved {self.repeats}, failed {len(self.failures)}"
        )


@dataclass
class Story:
    """Sentences, and what must be true at the end of every history."""

    begin: Callable[[], Any]
    sentences: list[Sentence]
    check: Callable[[Any], None]

    def go_on(self, world: World, sentence: int) -> None:
        """The rest of the story from this sentence on, and its check."""
        for say in self.sentences[sentence:]:
            say(world)
        world.settle()
        self.check(world)


class Search:
    """Histories of one story, each to its end or until it meets a state from which the story is
    known to end well: at the beginning of a sentence, with everything at rest."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.good: set[tuple[int, bytes]] = set()
        self.report = Report()

    def undisturbed(self) -> None:
        """The states that the story itself passes."""
        world = self.story.begin()
        self.go_on(world, 0)
        _without_defect(world)

    def tried(self, name: str, make: Make, sentence: int) -> None:
        """A crash, the rest of its sentence, and what follows."""
        self.report.points += 1
        try:
            world = make()
            self.story.sentences[sentence](world)
            self.go_on(world, sentence + 1)
            _without_defect(world)
            self.report.survived += 1
        except Exception as error:  # a failing point is a finding, not the end of the search
            self.report.failures.append((name, f"{type(error).__name__}: {error}"))

    def go_on(self, world: World, sentence: int) -> None:
        """The rest of the story, or as much of it as is new."""
        path: list[tuple[int, bytes]] = []
        while sentence < len(self.story.sentences):
            world.settle()
            place = (sentence, fingerprint(world))
            if place in self.good:
                self.report.repeats += 1
                self.good.update(path)
                return
            path.append(place)
            self.story.sentences[sentence](world)
            sentence += 1
        world.settle()
        self.story.check(world)
        self.good.update(path)


def _without_defect(world: Any) -> None:
    """A defect that costs a question, or a connection, is one all the same."""
    for node in world.nodes.values():
        assert not node.defects, f"{node.name}: {node.defects[0]}"


def branches(story: Story) -> Iterator[tuple[Point, Make, int]]:
    """Every point of the undisturbed story: (point, makes a world that crashes next, sentence)."""
    world = story.begin()
    found: list[tuple[Point, Make, int]] = []
    for number, say in enumerate(story.sentences):
        observe(world, number, found)
        say(world)
        yield from found
        found.clear()
    world.look = None
    world.settle()
    story.check(world)


def observe(world: World, sentence: int, found: list[tuple[Point, Make, int]]) -> None:
    """From now on each delivery of this world, and each wake, adds its points to `found`."""

    def look(now: World, head: Head | None) -> Callable[[], None]:
        at, before, commits = now.deliveries, _plain(now), dict(now.commits)

        def after() -> None:
            written = {key: n for key, n in now.commits.items() if n != commits.get(key, 0)}
            for what, make in _crashes(before, head, commits, written):
                found.append((Point(at, what), make, sentence))

        return after

    world.look = look


def _plain(world: World) -> World:
    """A copy that nobody watches, before the delivery that is about to be."""
    twin = world.copy()
    twin.look = None
    return twin


def _crashes(
    before: World,
    head: Head | None,
    commits: dict[tuple[str, str], int],
    written: dict[tuple[str, str], int],
) -> Iterator[tuple[tuple[str, ...], Make]]:
    """The worlds are copied when they are asked for: most searches want one of many."""
    for (node, role), last in written.items():
        for number in range(commits.get((node, role), 0) + 1, last + 1):
            for when in ("before", "after"):
                for victim in ("actor", "node"):
                    crash = (node, role, number, when, victim)
                    yield ("commit", *map(str, crash)), partial(_at_commit, before, crash)
    if head is None:
        return
    _, kind, key = head
    for what, disturb in before.disturbances(kind, key):
        yield what, partial(_disturbed, before, disturb)
    if not written:
        node, role = before.receiver(kind, key)
        if role in before.nodes[node].drivers:
            yield ("kill", node, role), partial(_kill, before, node, role)


def _at_commit(before: World, crash: tuple[str, str, int, str, str]) -> World:
    twin = before.copy()
    twin.crash = crash
    return twin


def _disturbed(before: World, disturb: Callable[[Any], None]) -> World:
    twin = before.copy()
    disturb(twin)
    return twin


def _kill(before: World, node: str, role: str) -> World:
    twin = before.copy()
    twin.kill(twin.nodes[node], role)
    return twin


def explore(story: Story, *, share: int = 0, shares: int = 1) -> Report:
    """Depth 1; `share` of `shares` takes every n-th point, for several processes."""
    search = Search(story)
    search.undisturbed()
    for number, (point, make, sentence) in enumerate(branches(story)):
        if number % shares == share:
            search.tried(str(point), make, sentence)
    return search.report


def first_failure(story: Story) -> Report:
    """Depth 1 until a point fails, which shows that a rule is needed: some points from everywhere,
    then others, until there are no more."""
    search = Search(story)
    search.undisturbed()
    for share in range(SPARSE):
        for number, (point, make, sentence) in enumerate(branches(story)):
            if number % SPARSE == share:
                search.tried(str(point), make, sentence)
                if search.report.failures:
                    return search.report
    return search.report
