"""A cell that holds every op of every edge: a node is the weighted sum of all that leads to it."""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from raynas.networks.darts_operations import Operation, Pool
from raynas.spaces.mixture import CellKind
from raynas.supernets.fused import NodeSum, State, Weights


class MixedCell(nn.Module):
    """The edges of a cell.

    Args:
        kind: Its edges and ops.
        make: From the name of an op and the number of an edge to a new op.
        stride: What edges from the inputs divide the size of the image by.

    Attributes:
        edges: For each edge its ops; edges out of a state have their pools, which have no weights,
            in common.
    """

    def __init__(
        self, kind: CellKind, make: Callable[[str, int], Operation], *, stride: int = 1
    ) -> None:
        super().__init__()
        self.kind = kind
        self.stride = stride
        pools: dict[tuple[int, str], Pool] = {}

        def shared(op: str, edge: int) -> Operation:
            operation = make(op, edge)
            if isinstance(operation, Pool):
                return pools.setdefault((kind.edges[edge][0], op), operation)
            return operation

        self.edges = nn.ModuleList(
            nn.ModuleList(shared(op, edge) for op in ops) for edge, ops in enumerate(kind.ops)
        )

    def forward(self, inputs: Sequence[Tensor], weights: Weights, drop: float) -> list[Tensor]:
        """Return the values of the nodes.

        Args:
            inputs: Values of the states that are no nodes.
            weights: Of this kind of cell.
            drop: Probability with which the output of an op is dropped.
        """
        states = [State(images) for images in inputs]
        for node in self.kind.nodes:
            total = NodeSum(drop)
            for edge in self.kind.incoming(node):
                self._add(edge, states[self.kind.edges[edge][0]], weights, total)
            value = total.total()
            states.append(State(self._zeros(inputs[0]) if value is None else value))
        return [state.value for state in states[len(inputs) :]]

    def _add(self, edge: int, state: State, weights: Weights, total: NodeSum) -> None:
        for op in weights.active[edge].nonzero()[0]:
            operation = cast(nn.ModuleList, self.edges[edge])[op]
            assert isinstance(operation, Operation)
            total.add_op(operation, state, weights, (edge, op))

    def _zeros(self, images: Tensor) -> Tensor:
        return torch.zeros_like(images[:, :, :: self.stride, :: self.stride])
