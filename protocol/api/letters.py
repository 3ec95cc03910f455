"""`listdeadletters` and `retrydeadletter`: messages that ended an actor again and again."""

from __future__ import annotations

from typing import Any

from protocol.errors import Refusal

UNKNOWN = -32602


def ask_all(values: dict[str, Any], answers: list[Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Every actor knows its own; what the API put aside, which keeps nothing, the log tells."""
    groups = dict.fromkeys(name.partition("-")[0] for name in values["~actors"])
    return [(name, "listdeadletters", {}) for name in groups if name != "api"]


def listed(values: dict[str, Any], answers: list[Any]) -> dict[str, Any]:
    """`listdeadletters`: those of all actors, the oldest first."""
    rows = [row for found in answers for row in found]
    return {"deadletters": sorted(rows, key=lambda row: (row["put_aside_at"], row["id"]))}


def ask_one(values: dict[str, Any], answers: list[Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Raises `Refusal`."""
    actor, slash, _ = values["id"].partition("/")
    if not slash or actor not in values["~actors"] or actor == "api":
        raise Refusal("id: not one of listdeadletters", code=UNKNOWN)
    return [(actor, "retrydeadletter", {"id": values["id"]})]
