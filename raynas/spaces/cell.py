"""Cells as directed acyclic graphs whose edges carry operations and whose nodes are sums."""

from collections.abc import Sequence
from dataclasses import dataclass

NONE = "none"
"""The op that passes nothing on."""


@dataclass(frozen=True, slots=True)
class Edge:
    """An operation from one node to a later one: ``0 <= source < target``."""

    source: int
    target: int
    op: str


def live_edges(edges: Sequence[Edge], output: int) -> list[Edge]:
    """Return the edges that lie on a path from node 0 to node `output`, in the given order.

    An edge with op `NONE` lies on no path. All other edges contribute nothing to the output:
    either zero flows into them, or nothing reads what they compute.
    """
    passing = sorted((e for e in edges if e.op != NONE), key=lambda e: e.target)
    fed = {0}
    for edge in passing:
        if edge.source in fed:
            fed.add(edge.target)
    read = {output}
    for edge in reversed(passing):
        if edge.target in read:
            read.add(edge.source)
    return [e for e in edges if e.op != NONE and e.source in fed and e.target in read]
