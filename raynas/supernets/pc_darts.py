"""PC-DARTS: a part of the channels goes through the mixed ops, and edges are weighed too.

Xu et al., "PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search", ICLR
2020.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from raynas.config import Section
from raynas.supernets.config import SupernetTrainingConfig
from raynas.supernets.decisions import Decisions
from raynas.supernets.method import Method


class PcDartsOptions(Section):
    """Options of `PcDarts`.

    Attributes:
        partial: K: the first 1 / K of the channels go through the mixed ops.
        normalise_edges: Whether the edges into a node are weighed by a softmax of their own.
    """

    partial: int = Field(4, ge=1)
    normalise_edges: bool = True


class PcDarts(Method):
    """PC-DARTS with the published settings.

    Attributes:
        edge_alphas: What the weights of edges are the softmax of, `E` a kind.
    """

    Options = PcDartsOptions
    options: PcDartsOptions
    frozen_share: ClassVar[float] = 0.3  # 15 of 50 epochs

    edge_alphas: list[nn.Parameter]

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Settings of the paper's search on CIFAR-10."""
        return {"batch_size": 256, "lr": 0.1, "min_lr": 0.0, "alpha_lr": 6e-4}

    @property
    def partials(self) -> tuple[int, ...]:
        """K: one of K channels goes through the mixed ops."""
        return (self.options.partial,)

    def begin(
        self,
        decisions: Decisions,
        config: SupernetTrainingConfig,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        """Make the parameters, those of edges too."""
        super().begin(decisions, config, generator, device)
        self.edge_alphas = [
            nn.Parameter(self.initial((kind.num_edges,), generator).to(device))
            for kind in self.kinds
            if self.options.normalise_edges
        ]

    @property
    def parameters(self) -> Sequence[nn.Parameter]:
        """α of ops, then of edges."""
        return [*self.alphas, *self.edge_alphas]

    def edge_weights(self) -> list[Tensor] | None:
        """Return a softmax over the edges into each node, `E` a kind (eq. 4)."""
        if not self.options.normalise_edges:
            return None
        weights = []
        for kind, alpha in zip(self.kinds, self.edge_alphas, strict=True):
            parts = [alpha[list(kind.incoming(node))].softmax(dim=0) for node in kind.nodes]
            weights.append(torch.cat(parts))  # edges are numbered by node
        return weights
