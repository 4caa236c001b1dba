"""A cell that holds every op of every edge: a node is the weighted sum of all that leads to it."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from raynas.networks.cell_network import drop_path
from raynas.networks.darts_operations import Identity, Operation
from raynas.spaces.mixture import CellKind
from raynas.supernets.mixture import Mixture


class MixedCell(nn.Module):
    """The edges of a cell.

    Args:
        kind: Its edges and ops.
        number: Number of the kind in mixtures.
        make: From the name of an op and the number of an edge to a new op.
        stride: What edges from the inputs divide the size of the image by.
    """

    def __init__(
        self,
        kind: CellKind,
        number: int,
        make: Callable[[str, int], Operation],
        *,
        stride: int = 1,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.kind = kind
        self.number = number
        self.edges = nn.ModuleList(
            nn.ModuleList(make(op, edge) for op in ops) for edge, ops in enumerate(kind.ops)
        )

    def forward(
        self, inputs: Sequence[Tensor], mixture: Mixture, drop: float = 0.0
    ) -> list[Tensor]:
        """Return the inputs and the nodes."""
        states = list(inputs)
        for node in self.kind.nodes:
            total: Tensor | None = None
            for edge in self.kind.incoming(node):
                for term in self._terms(edge, states[self.kind.edges[edge][0]], mixture, drop):
                    total = term if total is None else total + term
            states.append(self._zeros(inputs[0]) if total is None else total)
        return states

    def _terms(self, edge: int, source: Tensor, mixture: Mixture, drop: float) -> list[Tensor]:
        terms = []
        weights = mixture.weights[self.number][edge]
        if mixture.edge_weights is not None:
            weights = weights * mixture.edge_weights[self.number][edge]
        for op, operation in enumerate(self.edges[edge]):
            if mixture.active[self.number][edge, op]:
                assert isinstance(operation, Operation)
                output = operation(source.relu() if operation.on_rectified else source)
                if not isinstance(operation, Identity):
                    output = drop_path(output, drop)
                terms.append(weights[op] * output)
        return terms

    def _zeros(self, images: Tensor) -> Tensor:
        return torch.zeros_like(images[:, :, :: self.stride, :: self.stride])
