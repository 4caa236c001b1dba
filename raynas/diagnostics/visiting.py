"""Look into a supernet's cells in a forward pass: their states, and what ops make of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from raynas.supernets.bilevel import Bilevel
from raynas.supernets.curvature import alone
from raynas.supernets.mixed_cell import MixedCell
from raynas.supernets.mixture import Mixture
from raynas.supernets.node_sum import NodeSum, State, Weights
from raynas.supernets.supernet import CellStage, Supernet, stage_of, weights_of
from raynas.supernets.training import SupernetTraining
from raynas.supernets.workers import Alone


@contextmanager
def train_mode(training: SupernetTraining) -> Iterator[Bilevel]:
    """Run a supernet in train mode with w frozen, leaving no trace in its norms."""
    bilevel = Bilevel(training.supernet, training.config.placement(), Alone())
    with alone(bilevel):
        yield bilevel


@dataclass(frozen=True, slots=True, eq=False)
class Visit:
    """A cell in a forward pass.

    Attributes:
        kind: Number of its kind.
        cell: Its edges.
        states: Its inputs and nodes.
        ones: Weights of 1 for every op.
        active: Which ops are run, by edge.
    """

    kind: int
    cell: MixedCell
    states: list[State]
    ones: Weights
    active: list[list[int]]

    def outputs(self, edge: int) -> dict[int, Tensor]:
        """Return what each op that is run makes of the edge's source; not what is 0 anyway."""
        found = {}
        for op in self.active[edge]:
            total = NodeSum()
            self.cell.add_ops(total, edge, [op], self.states[self.cell.source(edge)], self.ones)
            output = total.sums().mixed
            if output is not None:
                found[op] = output
        return found


def cells_of(supernet: Supernet, images: Tensor, mixture: Mixture) -> Iterator[Visit]:
    """Yield every cell of a supernet as a batch of images passes through it.

    Args:
        supernet: In the mode it is to run in.
        images: `B x C x H x W`.
        mixture: Weights of the ops, and which are run.
    """
    weights = weights_of(supernet, mixture)
    rows = tuple(torch.ones_like(row) for row in mixture.weights)
    ones = weights_of(supernet, Mixture(rows, mixture.active))
    carried = supernet.begin(images)
    for stage in map(stage_of, supernet.stages):
        if not isinstance(stage, CellStage):
            carried = stage(carried, weights, 0.0)
            continue
        inputs = [images for images in stage.inputs(carried) if images is not None]
        cell, own = stage.mixed, weights[stage.number]
        states = [cell.input_state(images) for images in inputs]
        for node in cell.kind.nodes:
            total = NodeSum()
            for edge in cell.kind.incoming(node):
                cell.add_edge(total, edge, states[cell.source(edge)], own)
            states.append(cell.node_state(total, inputs[0]))
        active = [row.nonzero()[0].tolist() for row in own.active]
        yield Visit(stage.number, cell, states, ones[stage.number], active)
        carried = stage.outputs(carried, [state.full for state in states[len(inputs) :]])
