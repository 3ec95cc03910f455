"""Restart from every combination of what each disk had: some of a claim written, some not.

A story is run once while every durable write is recorded: the disk after it, and which writes of
others it follows from (each message carries that along). A combination of versions is possible if
nothing on any of the disks follows from something that is on none: these are started, and have to
end well. The others can only be made by putting an old copy back: these have to be refused, for the
mark beside the store is newer. Many of them show also in what the actors have heard of each other.

    python -m actors.testkit.node.subsets 2      all combinations of a claim over two channels
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from actors.engine.host import Gap
from actors.testkit.explore import Story
from actors.testkit.node.node import Node
from actors.testkit.node.stories import diamond
from actors.testkit.node.world import Link, World
from storage.errors import Stale
from storage.memory import Disk
from storage.store import Mark

Actor = tuple[str, str]
Clock = dict[Actor, int]
USER: Actor = ("", "user")


class Version(NamedTuple):
    """A disk after one write, and the writes (actor -> how many) that it follows from."""

    number: int
    disk: Disk
    after: Clock


class Recorded(World):
    """A world that keeps every version of every disk."""

    def begin(self) -> None:
        self.knows: dict[Actor, Clock] = {}
        self.carried: dict[int, Clock] = {}
        self.versions: dict[Actor, list[Version]] = {}
        for node in self.nodes.values():
            for role, disk in node.disks.items():
                number = self.commits.get((node.name, role), 0)
                self.versions[node.name, role] = [Version(number, disk.copy(), {})]

    def _known_to(self, actor: Actor) -> Clock:
        return self.knows.setdefault(actor, {})

    def post(self, link: Link, frame: tuple[str, int, bytes]) -> None:
        """A frame carries what its sender knows."""
        super().post(link, frame)
        sender = USER if link[1] == "api" else (link[0], link[1])
        self.carried[self._ticket] = dict(self._known_to(sender))

    def answered(self, node: Any, role: str, item: Any) -> None:
        """Who asks is one person: what follows from an answer follows from its write."""
        super().answered(node, role, item)
        self._merge(USER, self._known_to((node.name, role)))

    def _wire_order(self, node: Node, item: Any) -> None:
        before = self._ticket
        super()._wire_order(node, item)
        if self._ticket != before:
            self.carried[self._ticket] = dict(self._known_to((node.name, "peers")))

    def _deliver_link(self, key: Link) -> None:
        self._learn((key[0], key[2]), self.links[key][0][0])
        super()._deliver_link(key)

    def _deliver_wire(self, key: tuple[str, str]) -> None:
        self._learn((key[1], "peers"), self.wires[key][0][0])
        super()._deliver_wire(key)

    def _learn(self, actor: Actor, ticket: int) -> None:
        self._merge(actor, self.carried.get(ticket, {}))

    def _merge(self, actor: Actor, more: Clock) -> None:
        known = self._known_to(actor)
        for other, number in more.items():
            known[other] = max(known.get(other, 0), number)

    def committed(self, node: str, role: str, when: str) -> None:
        """One more version of this disk, and what its writer knew of the others."""
        super().committed(node, role, when)
        if when == "after":
            number = self.commits[node, role]
            known = self._known_to((node, role))
            known[node, role] = number
            disk = self.nodes[node].disks[role].copy()
            self.versions[node, role].append(Version(number, disk, dict(known)))


@dataclass
class Report:
    """`possible` combinations were run, `refused` are the others; `noticed` of these also when
    the marks were put back too."""

    possible: int = 0
    survived: int = 0
    refused: int = 0
    noticed: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"combinations possible {self.possible}, survived {self.survived}; "
            f"impossible and refused {self.refused}, {self.noticed} of them even with old marks; "
            f"failed {len(self.failures)}"
        )


def record(story: Story) -> tuple[World, dict[Actor, list[Version]]]:
    """-> the world before the story, and all versions of all disks until its end."""
    world = story.begin()
    before = world.copy()
    world.__class__ = Recorded
    assert isinstance(world, Recorded)
    world.begin()
    story.go_on(world, 0)
    return before, world.versions


def fits(versions: dict[Actor, Version]) -> bool:
    return all(
        other not in versions or versions[other].number >= number
        for version in versions.values()
        for other, number in version.after.items()
    )


def completed(
    chosen: dict[Actor, Version], all_versions: dict[Actor, list[Version]]
) -> dict[Actor, Version]:
    """With the newest version of every other disk that fits to these."""
    found = {actor: versions[-1] for actor, versions in all_versions.items()} | chosen
    while True:
        late = [
            actor
            for actor, version in found.items()
            if actor not in chosen
            and any(found[o].number < n for o, n in version.after.items() if o in found)
        ]
        if not late:
            return found
        for actor in late:
            versions = all_versions[actor]
            found[actor] = versions[versions.index(found[actor]) - 1]


def needed(
    chosen: dict[Actor, Version], all_versions: dict[Actor, list[Version]]
) -> dict[Actor, Version]:
    """The oldest versions, not older than these, that were ever there together."""
    found = dict(chosen)
    while True:
        wanted = {
            other: number
            for version in found.values()
            for other, number in version.after.items()
            if other in found and found[other].number < number
        }
        if not wanted:
            return found
        for actor, number in wanted.items():
            found[actor] = next(v for v in all_versions[actor] if v.number >= number)


def combinations(
    all_versions: dict[Actor, list[Version]], actors: list[Actor]
) -> Iterator[dict[Actor, Version]]:
    """Every choice of one version for each of these actors."""
    for picked in itertools.product(*(all_versions[actor] for actor in actors)):
        yield dict(zip(actors, picked, strict=True))


def restarted(before: World, versions: dict[Actor, Version], first: str) -> World:
    """Every node dies at once, and finds these disks; the one called `first` is up before the
    others. Raises what a driver or a store raises."""
    world = before.copy()
    for (name, role), version in versions.items():
        world.nodes[name].disks[role] = version.disk.copy()
    for node in sorted(world.nodes.values(), key=lambda node: node.name != first):
        world.kill(node)
    world.settle()
    return world


def every(story: Story, node: str, roles: list[str], *, share: int = 0, shares: int = 1) -> Report:
    """All combinations of the versions of these actors of one node."""
    before, all_versions = record(story)
    report = Report()
    actors = [(node, role) for role in roles]
    for number, chosen in enumerate(combinations(all_versions, actors)):
        if number % shares != share:
            continue
        name = "/".join(str(version.number) for version in chosen.values())
        versions = completed(chosen, all_versions)
        if fits(versions):
            report.possible += 1
            try:
                story.go_on(restarted(before, versions, node), 0)
                report.survived += 1
            except Exception as error:
                report.failures.append((name, f"{type(error).__name__}: {error}"))
            continue
        marks = {a: v.disk.mark for a, v in needed(chosen, all_versions).items()}
        if _is_refused(before, versions, node, marks):
            report.refused += 1
            report.noticed += _is_refused(before, versions, node, {})
        else:
            report.failures.append((name, "an impossible combination was not refused"))
    return report


def _is_refused(
    before: World, versions: dict[Actor, Version], node: str, marks: dict[Actor, Mark]
) -> bool:
    """`marks`: what stands beside the stores of `node`, if that was not put back too."""
    put_back = {}
    for actor, version in versions.items():
        disk = version.disk.copy()
        disk.mirror = marks.get(actor, disk.mirror)
        put_back[actor] = version._replace(disk=disk)
    try:
        restarted(before, put_back, node)
    except (Gap, Stale):
        return True
    return False


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("channels", type=int, choices=(2, 3))
    options = parser.parse_args()
    roles = ["payments", *(f"monitors-{number}" for number in range(1, 4))]
    began = time.monotonic()
    report = every(diamond.claim(options.channels), "bob", roles)
    for name, text in report.failures[:20]:
        print(name, text)
    print(f"{report}; {time.monotonic() - began:.0f} s")
    raise SystemExit(bool(report.failures))


if __name__ == "__main__":
    main()
