"""A cell that holds every op of every edge: a node is the weighted sum of all that leads to it."""

from collections.abc import Callable, Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from raynas.networks.darts_operations import Operation, Pool
from raynas.spaces.mixture import CellKind
from raynas.supernets.node_sum import NodeSum, State, Weights, joined


class MixedCell(nn.Module):
    """The edges of a cell.

    Args:
        kind: Its edges and ops.
        make: From the name of an op and the number of an edge to a new op.
        channels: Channels of every state, C.
        stride: What edges from the inputs divide the size of the image by.
        partial: Ops read the first C / `partial` of C channels; the others pass by.

    Attributes:
        channels: Likewise.
        partial: Likewise.
        edges: For each edge its ops; edges out of a state have their pools, which have no weights,
            in common.
    """

    def __init__(
        self,
        kind: CellKind,
        make: Callable[[str, int], Operation],
        *,
        channels: int,
        stride: int = 1,
        partial: int = 1,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.channels = channels
        self.stride = stride
        self.partial = partial
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
        states = [self.input_state(images) for images in inputs]
        for node in self.kind.nodes:
            total = NodeSum(drop)
            for edge in self.kind.incoming(node):
                self.add_edge(total, edge, states[self.source(edge)], weights)
            states.append(self.node_state(total, inputs[0]))
        return [state.full for state in states[len(inputs) :]]

    def operation(self, edge: int, op: int) -> Operation:
        """Return an op of an edge."""
        operation = cast(nn.ModuleList, self.edges[edge])[op]
        assert isinstance(operation, Operation)
        return operation

    def source(self, edge: int) -> int:
        """Return the state that an edge comes from."""
        return self.kind.edges[edge][0]

    def input_state(self, images: Tensor) -> State:
        """Return an input as a state."""
        return State(images, stride=self.stride, partial=self.partial)

    def node_state(self, total: NodeSum, like: Tensor) -> State:
        """Return a node as a state; zeros if nothing leads to it.

        Args:
            total: All that leads to it.
            like: An input.
        """
        value = joined(total.sums(), self.channels // self.partial)
        if value is None:
            value = torch.zeros_like(like[:, :, :: self.stride, :: self.stride])
        return State(value, partial=self.partial)

    def add_edge(self, total: NodeSum, edge: int, state: State, weights: Weights) -> None:
        """Add all that an edge passes on of a state."""
        ops = weights.active[edge].nonzero()[0]
        self.add_ops(total, edge, ops, state, weights)
        if len(ops):
            total.add_passed(state, weights, edge)

    def add_ops(
        self, total: NodeSum, edge: int, ops: Iterable[int], state: State, weights: Weights
    ) -> None:
        """Add what some ops of an edge make of a state."""
        for op in ops:
            total.add_op(self.operation(edge, op), state, weights, (edge, op))
