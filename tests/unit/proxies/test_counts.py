import copy

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from raynas.proxies.counts import flops, l2_norm, params

Batch = tuple[Tensor, Tensor]


def test_params_counts_every_parameter_once(network: nn.Module, batch: Batch) -> None:
    conv = 3 * 6 * 9 + 6 + 6 * 6 * 9 + 6 * 6 + (6 * 6 * 9 + 6)
    norm, linear = 2 * 2 * 6, 6 * 8 + 8 + 8 * 4 + 4
    assert params(network, *batch) == conv + norm + linear
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    assert params(tied, *batch) == 9 + 3 + 3


def test_flops_are_those_of_torch(network: nn.Module, batch: Batch) -> None:
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        copy.deepcopy(network)(batch[0][:1])
    assert flops(network, *batch) == counter.get_total_flops() // 2


def test_flops_of_grouped_and_strided_convolutions(batch: Batch) -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, groups=3), nn.Conv2d(6, 6, 3, dilation=1), nn.Flatten()
    ).double()
    assert flops(network, *batch) == (3 * 3 * 6 * 1 * 9 + 1 * 1 * 6 * 6 * 9)


def test_l2_norm_leaves_out_biases_and_normalisation(network: nn.Module, batch: Batch) -> None:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1.0)
    sizes = [3 * 6 * 9, 6 * 6 * 9, 6 * 6, 6 * 6 * 9, 6 * 8, 8 * 4]
    assert l2_norm(network, *batch) == pytest.approx(sum(size**0.5 for size in sizes))
