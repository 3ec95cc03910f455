"""Golden records: one stored row of every kind and version, as bytes and as readable JSON.

`python -m tests.storage.golden` makes the missing ones from the kit's story; it never changes one
that is there. A row kind that changes its shape gets a new version and an upgrade, and its old
golden file stays until the release that no longer reads it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import msgspec

from actors.engine.groups import group_of
from actors.testkit.node.stories import diamond, parts, public, tale
from actors.testkit.node.world import World
from actors.tree import NODE
from protocol.payments.rows import EarlyHtlc, Keysend, Standing
from protocol.router.liquidity import Learnt
from protocol.router.messages import Limit
from tests.kit import enforcing

FOLDER = Path(__file__).parent.parent / "snapshots"
MESSAGES = FOLDER / "messages.json"


def kinds() -> list[tuple[str, str, int]]:
    """(actor, row kind, current version) of everything that is stored."""
    return [
        (actor, name, schema.version)
        for actor, registry in NODE.keeps.items()
        for name, schema in registry
    ]


def said() -> dict[str, dict[str, bool]]:
    """Of all messages, and of what they are made of, the tag and the fields; True are those that
    have to be there. Each may stand in an outbox, or among the dead letters."""
    found: dict[str, dict[str, bool]] = {}
    for child in NODE.children:
        _shapes(child.all_heard, found)
    return dict(sorted(found.items()))


def _shapes(kind: Any, found: dict[str, dict[str, bool]]) -> None:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        tag = str(kind.__struct_config__.tag)
        if tag in found:
            return
        fields = msgspec.structs.fields(kind)
        found[tag] = {field.name: field.required for field in fields}
        for field in fields:
            _shapes(field.type, found)
    for inner in get_args(kind):
        _shapes(inner, found)


def plain(value: Any) -> Any:
    def hexed(item: Any) -> Any:
        if isinstance(item, bytes):
            return item.hex()
        if isinstance(item, dict):
            return {str(key): hexed(one) for key, one in item.items()}
        if isinstance(item, list | tuple):
            return [hexed(one) for one in item]
        return item

    return hexed(msgspec.to_builtins(value, builtin_types=(bytes,)))


def path(actor: str, kind: str, version: int) -> Path:
    return FOLDER / f"{actor}-{kind}-v{version}.bin"


def _rows(world: World) -> dict[tuple[str, str], bytes]:
    found: dict[tuple[str, str], bytes] = {}
    for node in world.nodes.values():
        for actor, disk in node.disks.items():
            for key, data in disk.data.items():
                if key[:2] == b"r/":
                    kind = key[2:].decode().partition("/")[0]
                    found.setdefault((group_of(actor), kind), data)
    return found


def rare() -> dict[tuple[str, str], bytes]:
    """Rows of kinds that no story meets."""
    limit = Limit(scid=bytes(range(8)), direction=1, amount_msat=5_000)
    onion = bytes(range(256)) * 5 + bytes(86)
    made: dict[tuple[str, str], Any] = {
        ("payments", "keysend/1"): Keysend(payment_hash=bytes(range(32))),
        ("payments", f"early/{'01' * 32}/7"): EarlyHtlc(
            amount_msat=1_000, payment_hash=bytes(range(32)), cltv_expiry=144, onion=onion
        ),
        ("payments", f"standing/{'01' * 32}/7"): Standing(
            origin="ab/1/1", channel_id=bytes(32), amount_msat=1_000, cltv_expiry=144
        ),
        ("router", "liquidity"): Learnt(known=((limit, False, 1_700_000_000.0),)),
    }
    return {
        (actor, place.partition("/")[0]): NODE.keeps[actor].encode(place, row)
        for (actor, place), row in made.items()
    }


def collect() -> dict[tuple[str, str], bytes]:
    """Rows of every kind that the stories meet, at whatever moment they exist."""
    found = rare()
    told = [tale.story(), parts.story(), public.story(), diamond.line(), diamond.claim(2)]
    for story in (*told, enforcing.story(upstream=False)):
        world = story.begin()

        def look(now: World) -> bool:
            for key, data in _rows(now).items():
                found.setdefault(key, data)
            return False

        for say in story.sentences:
            step = world.step

            def watched(step: Any = step, world: World = world) -> bool:
                look(world)
                return bool(step())

            world.step = watched  # type: ignore[method-assign]
            say(world)
            world.step = step  # type: ignore[method-assign]
        look(world)
    return found


def make() -> None:
    FOLDER.mkdir(exist_ok=True)
    found = collect()
    for actor, kind, version in kinds():
        target = path(actor, kind, version)
        data = found.get((actor, kind))
        if target.exists() or data is None:
            continue
        target.write_bytes(data)
        value = NODE.keeps[actor].decode(kind, data)
        target.with_suffix(".json").write_text(json.dumps(plain(value), indent=1) + "\n")
        print("made", target.name)
    before = json.loads(MESSAGES.read_text()) if MESSAGES.exists() else {}
    MESSAGES.write_text(json.dumps({**said(), **before}, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    make()
