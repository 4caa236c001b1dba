"""The networks of NAS-Bench-201 (Dong and Yang, ICLR 2020), running only what reaches the output.

Stem, three stages of N equal cells, a residual block that halves the image between stages, then
batch norm, ReLU, average over the image, linear classifier. In a cell the parameters of every
convolution are there, so `num_params` is the benchmark's own figure, but edges that are not on a
path from input to output are never run: their parameters get no gradient. A node's ReLU and
average pool are computed once for all of its outgoing edges.

Difference: a convolution that only zeros reach is not run, so it gives zeros. The published code
runs it, and after training its batch norm adds a bias per channel. As here, `NasBench201.key` and
the benchmark's canonical string take it for zero.
"""

from collections.abc import Sequence
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.networks.operations import ReductionBlock, average_pool, conv_norm
from raynas.spaces.cell import Edge, live_edges
from raynas.spaces.darts_ops import NOISE
from raynas.spaces.nasbench201 import EDGES, NUM_STAGES

KERNELS = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}
"""Kernel side of each convolution."""

_OUTPUT = 3


class NasBench201Network(nn.Module):
    """The network of one cell.

    Args:
        ops: Op of each edge, in the order of `raynas.spaces.nasbench201.EDGES`.
        channels: Channels of the first stage; each later stage doubles them.
        cells_per_stage: Cells in each stage.
        in_channels: Channels of the images.
        num_classes: Number of logits.

    Weights are drawn by torch's defaults in the order of the modules, so the same state of torch's
    generator gives the same network. They are kept in channels_last order, which is faster.
    """

    def __init__(
        self,
        ops: Sequence[str],
        *,
        channels: int = 16,
        cells_per_stage: int = 5,
        in_channels: int = 3,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        edges = [Edge(*ends, op) for ends, op in zip(EDGES, ops, strict=True)]
        self.stem = conv_norm(in_channels, channels, 3)
        self.body = nn.Sequential()
        for stage in range(NUM_STAGES):
            if stage > 0:
                self.body.append(ReductionBlock(channels, 2 * channels))
                channels *= 2
            self.body.extend(Cell(edges, channels) for _ in range(cells_per_stage))
        self.norm = nn.BatchNorm2d(channels)
        self.classifier = nn.Linear(channels, num_classes)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Map `B x in_channels x H x W` images to `B x num_classes` logits."""
        features = self.body(self.stem(images.contiguous(memory_format=torch.channels_last)))
        pooled = F.relu(self.norm(features)).mean(dim=(2, 3))
        logits: Tensor = self.classifier(pooled)
        return logits


class Cell(nn.Module):
    """A cell whose nodes are sums of their incoming edges; the last node is the output.

    Args:
        edges: All of its edges, by target node.
        channels: Channels of every node.
    """

    def __init__(self, edges: Sequence[Edge], channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleDict(
            {
                _name(edge): conv_norm(channels, channels, KERNELS[edge.op])
                for edge in edges
                if edge.op in KERNELS
            }
        )
        live = live_edges(edges, _OUTPUT)
        self._incoming = {
            target: [edge for edge in live if edge.target == target]
            for target in sorted({edge.target for edge in live})
        }

    def forward(self, images: Tensor) -> Tensor:
        """Return node 3, of the shape of `images`; zeros if no path leads there."""
        nodes = {0: _Node(images)}
        for target, edges in self._incoming.items():
            nodes[target] = _Node(_sum([self._run(edge, nodes[edge.source]) for edge in edges]))
        return nodes[_OUTPUT].value if _OUTPUT in nodes else torch.zeros_like(images)

    def _run(self, edge: Edge, source: "_Node") -> Tensor:
        if edge.op in KERNELS:
            output: Tensor = self.convs[_name(edge)](source.rectified)
            return output
        if edge.op == NOISE:
            return torch.randn_like(source.value)
        return source.pooled if edge.op == "avg_pool_3x3" else source.value


class _Node:
    """A node's value, and what its outgoing edges share; computed when first asked for."""

    def __init__(self, value: Tensor) -> None:
        self.value = value

    @cached_property
    def rectified(self) -> Tensor:
        return F.relu(self.value)

    @cached_property
    def pooled(self) -> Tensor:
        return average_pool(self.value)


def _name(edge: Edge) -> str:
    return f"{edge.source}_{edge.target}"


def _sum(terms: Sequence[Tensor]) -> Tensor:
    total, *rest = terms
    for index, term in enumerate(rest):
        # In place from the second addition on: the first term is still its node's value.
        total = total + term if index == 0 else total.add_(term)
    return total
