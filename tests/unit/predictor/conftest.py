"""Cells of NAS-Bench-201 with a planted accuracy, some to learn from and others to rank."""

import numpy as np
import pytest

from raynas.proposing.random import draw_new
from raynas.spaces.cell import Edge, live_edges
from raynas.spaces.nasbench201 import EDGES, OPS, NasBench201

WORTH = dict(zip(OPS, (0.0, 0.2, 0.5, 1.0, 0.1), strict=True))


class PlantedCells:
    """360 cells of different functions: 60 to learn from, 300 to rank."""

    def __init__(self):
        self.space = NasBench201()
        drawn = draw_new(self.space, set(), 360, np.random.default_rng(0))
        self.trained, self.unseen = drawn[:60], drawn[60:]

    def quality(self, cells):
        """What the ops on live edges are worth together, at most 1."""
        return np.array([self._quality(cell) for cell in cells])

    def _quality(self, cell):
        edges = [Edge(*ends, op) for ends, op in zip(EDGES, self.space.ops(cell), strict=True)]
        return sum(WORTH[edge.op] for edge in live_edges(edges, 3)) / len(EDGES)

    def graphs(self, cells):
        return [self.space.graph(cell) for cell in cells]


@pytest.fixture(scope="session")
def planted():
    return PlantedCells()
