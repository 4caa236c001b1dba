import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.proxies.counts import depth
from raynas.spaces.nasbench201 import EDGES, NasBench201
from raynas.spaces.space import TaskShape

Batch = tuple[Tensor, Tensor]


def test_stem_branch_hidden_and_classifier(network: nn.Module, batch: Batch) -> None:
    """Branches in parallel count once; neither what leads nowhere nor what comes from nowhere."""
    assert depth(network, *batch) == 4


def test_a_network_without_layers_has_depth_zero_and_a_dead_one_none(
    batch: Batch, dead_network: nn.Module
) -> None:
    assert depth(nn.Flatten(), *batch) == 0
    assert depth(dead_network, *batch) == -math.inf


class Branches(nn.Module):
    """Two paths of layers, joined by a sum."""

    def __init__(self, left: int, right: int) -> None:
        super().__init__()
        self.left = nn.Sequential(*[nn.Conv2d(3, 3, 3, padding=1) for _ in range(left)])
        self.right = nn.Sequential(*[nn.Conv2d(3, 3, 1) for _ in range(right)])

    def forward(self, images: Tensor) -> Tensor:
        return (self.left(images) + self.right(images)).mean(dim=(2, 3))


@pytest.mark.parametrize(("left", "right"), [(0, 0), (1, 0), (2, 5), (5, 2), (3, 3)])
def test_the_longer_branch_counts(left: int, right: int, batch: Batch) -> None:
    assert depth(Branches(left, right).double(), *batch) == max(left, right)


def test_layers_that_no_image_reaches_do_not_count(batch: Batch) -> None:
    class Prompted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.prompt = nn.Sequential(*[nn.Linear(3, 3) for _ in range(4)])
            self.layer = nn.Linear(3, 3)

        def forward(self, images: Tensor) -> Tensor:
            constant = self.prompt(torch.ones(3, dtype=images.dtype))
            return self.layer(images.mean(dim=(2, 3)) + constant)

    assert depth(Prompted().double(), *batch) == 1


def test_a_layer_counts_as_often_as_it_is_called(batch: Batch) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, images: Tensor) -> Tensor:
            for _ in range(3):
                images = F.relu(self.conv(images), inplace=True)
            return images.mean(dim=(2, 3))

    assert depth(Recurrent().double(), *batch) == 3


def test_tokens_signals_and_frozen_layers_count(
    batch: Batch, make_network: Callable[..., nn.Module]
) -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token, self.signal = nn.Linear(64, 5), nn.Conv1d(3, 2, 3)
            self.constant = torch.ones(4, 6, dtype=torch.float64)

        def forward(self, images: Tensor) -> Tensor:
            x = self.signal(self.token(images.flatten(2)))
            return F.linear(x.flatten(1), self.constant)  # a weight that is no parameter

    network = make_network(Mixed).double().requires_grad_(False)
    assert depth(network, *batch) == 3


def test_thousands_of_layers_do_not_exhaust_the_stack(batch: Batch) -> None:
    layers = [nn.Linear(3, 3) for _ in range(1500)]
    for layer in layers:
        nn.init.eye_(layer.weight)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), *layers).double()
    assert depth(network, *batch) == 1500


def longest_by_hand(ops: tuple[str, ...]) -> int | None:
    """Convolutions on the longest of a cell's four paths without `none`, None if there is none."""
    on_edge = dict(zip(EDGES, ops, strict=True))
    paths = [(0, *inner, 3) for n in range(3) for inner in itertools.combinations((1, 2), n)]
    lengths = [
        sum("conv" in on_edge[edge] for edge in itertools.pairwise(path))
        for path in paths
        if all(on_edge[edge] != "none" for edge in itertools.pairwise(path))
    ]
    return max(lengths) if lengths else None


def test_depth_of_cells_of_nasbench201() -> None:
    space, task = NasBench201(channels=2, cells_per_stage=1), TaskShape(3, 8, 4)
    images = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    rng = np.random.default_rng(0)
    found = set()
    for _ in range(25):
        architecture = space.sample(rng)
        cell = longest_by_hand(space.ops(architecture))
        expected = -math.inf if cell is None else 1 + 3 * cell + 2 * 2 + 1
        assert depth(space.build(architecture, task), images, torch.arange(3)) == expected
        found.add(cell)
    assert len(found) >= 4
