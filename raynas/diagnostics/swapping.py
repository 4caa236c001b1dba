"""Swap two edges in every cell of a supernet, or two layers in every stage of a network.

Wang et al., "Rethinking Architecture Selection in Differentiable NAS", ICLR 2021, §4; thesis table
2.1. If a network estimates the same features again and again, as a residual network does, it hardly
matters which of its parts does so where.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from torch import nn

from raynas.diagnostics.chain import Chain
from raynas.spaces.mixture import CellKind
from raynas.supernets.mixed_cell import MixedCell
from raynas.supernets.supernet import CellStage, Supernet


def swappable(cell: MixedCell) -> list[tuple[int, int]]:
    """Return the pairs of edges whose mixed ops divide the size of the image by the same."""
    kind = cell.kind
    strides = [cell.stride if source not in kind.nodes else 1 for source, _ in kind.edges]
    count = kind.num_edges
    return [(a, b) for a in range(count) for b in range(a + 1, count) if strides[a] == strides[b]]


def swapped_kind(kind: CellKind, first: int, second: int) -> CellKind:
    """Return a kind in which two edges have changed places.

    An edge is its row: its ops and its mixing weights. So the two rows stay, and lead where the
    other led.
    """
    edges = list(kind.edges)
    edges[first], edges[second] = edges[second], edges[first]
    return replace(kind, edges=tuple(edges))


@contextmanager
def edges_swapped(supernet: Supernet, rng: np.random.Generator) -> Iterator[None]:
    """Swap two edges of equal stride, drawn at random, in each cell of a supernet for a while."""
    cells = [stage.mixed for stage in supernet.stages if isinstance(stage, CellStage)]
    kinds = [cell.kind for cell in cells]
    for cell in cells:
        pairs = swappable(cell)
        if pairs:
            cell.kind = swapped_kind(cell.kind, *pairs[int(rng.integers(len(pairs)))])
    try:
        yield
    finally:
        for cell, kind in zip(cells, kinds, strict=True):
            cell.kind = kind


@contextmanager
def layers_swapped(chain: Chain, rng: np.random.Generator) -> Iterator[None]:
    """Swap two layers, drawn at random, in each stage of a network for a while."""
    before = [list(stage) for stage in chain.stages_of_layers()]
    for stage, layers in zip(chain.stages_of_layers(), before, strict=True):
        first, second = sorted(rng.choice(len(layers), size=2, replace=False).tolist())
        layers = list(layers)
        layers[first], layers[second] = layers[second], layers[first]
        _put(stage, layers)
    try:
        yield
    finally:
        for stage, layers in zip(chain.stages_of_layers(), before, strict=True):
            _put(stage, layers)


def _put(stage: nn.Sequential, layers: Sequence[nn.Module]) -> None:
    for place, layer in enumerate(layers):
        stage[place] = layer
