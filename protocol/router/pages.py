"""The graph as rows, some thousand channels each, and back: arrays as they are, without loops
over policies."""

from __future__ import annotations

import numpy as np

from protocol.machine import Step
from protocol.router.graph import COLUMNS, Graph
from protocol.router.items import Page

CHANNELS_A_PAGE = 4096


def save(step: Step, graph: Graph) -> None:
    """All pages anew; those that hold nothing any more go."""
    places = graph.places()
    count = 0
    for start in range(0, len(places), CHANNELS_A_PAGE):
        part = places[start : start + CHANNELS_A_PAGE]
        page = Page(
            scids=b"".join(scid for scid, _ in part),
            ends=b"".join(graph.ends_of(place) for _, place in part),
            columns=graph.columns_of([place for _, place in part]),
        )
        key = f"page/{count:04}"
        count += 1
        if step.get(key) != page:
            step.put(key, page)
    for key in step.scan("page/"):
        if int(key.removeprefix("page/")) >= count:
            step.drop(key)


def load(step: Step) -> Graph:
    graph = Graph()
    for page in step.scan("page/").values():
        scids = [page.scids[at : at + 8] for at in range(0, len(page.scids), 8)]
        ends = [
            (page.ends[at : at + 33], page.ends[at + 33 : at + 66])
            for at in range(0, len(page.ends), 66)
        ]
        columns = np.frombuffer(page.columns, "<i8").reshape(len(COLUMNS), len(scids), 2)
        graph.add_page(scids, ends, columns)
    return graph
