"""The graph as rows, some thousand channels each, and back: arrays as they are, without loops
over policies."""

from __future__ import annotations

import numpy as np

from protocol.machine import Step
from protocol.router.graph import COLUMNS, Graph
from protocol.router.rows import PAGES, Page

CHANNELS_A_PAGE = 4096


def save(step: Step, graph: Graph, before: int) -> int:
    """All pages anew, in place of so many; -> how many there are now."""
    places = graph.places()
    count = 0
    for start in range(0, len(places), CHANNELS_A_PAGE):
        part = places[start : start + CHANNELS_A_PAGE]
        page = Page(
            scids=b"".join(scid for scid, _ in part),
            ends=b"".join(graph.ends_of(place) for _, place in part),
            columns=graph.columns_of([place for _, place in part]),
        )
        PAGES.put(step, page, count)
        count += 1
    for number in range(count, before):
        PAGES.drop(step, number)
    return count


def load(step: Step, count: int) -> Graph:
    """The graph from `count` pages."""
    graph = Graph()
    for number in range(count):
        page = PAGES.need(step, number)
        scids = [page.scids[at : at + 8] for at in range(0, len(page.scids), 8)]
        ends = [
            (page.ends[at : at + 33], page.ends[at + 33 : at + 66])
            for at in range(0, len(page.ends), 66)
        ]
        columns = np.frombuffer(page.columns, "<i8").reshape(len(COLUMNS), len(scids), 2)
        graph.add_page(scids, ends, columns)
    return graph
