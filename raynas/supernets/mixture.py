"""How a supernet's ops are mixed in one forward pass: weights, and which ops are run at all."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Active = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """Weights of the ops of each kind of cell, `E x O` a kind.

    Which ops run is known on the host, so that a GPU is never asked whether a weight is zero.

    Attributes:
        weights: `E x O` a kind, on the supernet's device, with or without gradient. Of ops that are
            not active they are ignored.
        active: `E x O` a kind: whether the op is run. An edge with no active op adds nothing to its
            node.
        edge_weights: `E` a kind, what the whole edge is multiplied by (PC-DARTS); None: 1.
    """

    weights: tuple[Tensor, ...]
    active: tuple[Active, ...]
    edge_weights: tuple[Tensor, ...] | None = None

    def without_op(self, kind: int, edge: int, op: int) -> "Mixture":
        """Return the mixture with one op left out; the others keep their weights as they are."""
        return self._without(kind, edge, op)

    def without_edge(self, kind: int, edge: int) -> "Mixture":
        """Return the mixture with a whole edge left out."""
        return self._without(kind, edge, slice(None))

    def _without(self, kind: int, edge: int, op: int | slice) -> "Mixture":
        active = list(self.active)
        active[kind] = active[kind].copy()
        active[kind][edge, op] = False
        return replace(self, active=tuple(active))

    def detach(self) -> "Mixture":
        """Return the mixture without gradients."""
        edges = self.edge_weights
        return replace(
            self, weights=_detached(self.weights), edge_weights=edges and _detached(edges)
        )


def _detached(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(tensor.detach() for tensor in tensors)
