"""NAS-Bench-201 networks written straight from the paper: one module per edge, all of them run.

One thing is not the paper's: zeros stay zeros, also through a convolution's batch norm (which would
add its bias).
"""

import pytest
import torch
from torch import Tensor, nn
from toys import one_thread as one_thread

SOURCES_OF_NODE = {1: (0,), 2: (0, 1), 3: (0, 1, 2)}


class Zero(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images * 0.0


def operation(op: str, channels: int) -> nn.Module:
    if op == "none":
        return Zero()
    if op == "skip_connect":
        return nn.Identity()
    if op == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return relu_conv_norm(channels, channels, {"nor_conv_1x1": 1, "nor_conv_3x3": 3}[op], 1)


def relu_conv_norm(in_channels: int, out_channels: int, kernel: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
    )


class StraightCell(nn.Module):
    def __init__(self, ops: tuple[str, ...], channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleList(operation(op, channels) for op in ops)

    def forward(self, images: Tensor) -> Tensor:
        nodes, is_zero = [images], [False]
        edges = iter(self.edges)
        for sources in SOURCES_OF_NODE.values():
            terms, zeros = [], []
            for source in sources:
                edge = next(edges)
                zeros.append(is_zero[source] or isinstance(edge, Zero))
                terms.append(edge(nodes[source]) * (0.0 if zeros[-1] else 1.0))
            nodes.append(torch.stack(terms).sum(dim=0))
            is_zero.append(all(zeros))
        return nodes[-1]


class StraightReduction(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = relu_conv_norm(channels, 2 * channels, 3, 2)
        self.second = relu_conv_norm(2 * channels, 2 * channels, 3, 1)
        conv = nn.Conv2d(channels, 2 * channels, 1, bias=False)
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, 2), conv)

    def forward(self, images: Tensor) -> Tensor:
        return self.shortcut(images) + self.second(self.first(images))


class StraightNetwork(nn.Sequential):
    """Parameters and buffers come in the same order as those of `NasBench201Network`."""

    def __init__(
        self,
        ops: tuple[str, ...],
        *,
        channels: int,
        cells_per_stage: int,
        in_channels: int,
        num_classes: int,
    ) -> None:
        stem = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        layers: list[nn.Module] = [stem, nn.BatchNorm2d(channels)]
        for stage in range(3):
            if stage:
                layers.append(StraightReduction(channels))
                channels *= 2
            layers += [StraightCell(ops, channels) for _ in range(cells_per_stage)]
        layers += [nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        super().__init__(*layers, nn.Linear(channels, num_classes))


@pytest.fixture
def straight() -> type[StraightNetwork]:
    return StraightNetwork
