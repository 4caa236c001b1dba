import copy
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.proxies.synaptic import synflow

Batch = tuple[Tensor, Tensor]


def chain() -> nn.Module:
    """A bias-free chain without skips."""
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, bias=False),
        nn.ReLU(),
        nn.Conv2d(5, 4, 3, stride=2, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 3, bias=False),
    )


def flow_per_layer(network: nn.Module) -> list[float]:
    net = copy.deepcopy(network).double()
    for parameter in net.parameters():
        parameter.data.abs_()
    net(torch.ones(1, 3, 8, 8, dtype=torch.float64)).sum().backward()
    return [float((p.detach() * p.grad).sum()) for p in net.parameters()]


def test_flow_is_conserved_through_a_bias_free_chain(
    make_network: Callable[..., nn.Module], batch: Batch
) -> None:
    """Every layer carries R itself (Tanaka et al., theorem 2), so the sum is layers * R."""
    network = make_network(chain)
    flows = flow_per_layer(network)
    assert flows == pytest.approx([flows[0]] * 3, rel=1e-12)
    score = synflow(network, *batch)
    assert score == pytest.approx(math.log(3 * flows[0]), rel=1e-12)
    with torch.no_grad():
        network[0].weight.mul_(-10)  # R and so every layer's share grows tenfold
    assert synflow(network, *batch) == pytest.approx(score + math.log(10), rel=1e-6)


def test_batch_normalisation_and_data_do_not_matter(
    network: nn.Module, batch: Batch, make_network: Callable[..., nn.Module]
) -> None:
    images, labels = batch
    score = synflow(network, images, labels)
    assert synflow(network, images * 3 - 1, (labels + 1) % 3) == score
    with torch.no_grad():
        for norm in (network.stem[1], network.norm):
            norm.weight.mul_(0.1)
            norm.running_mean.add_(5)
    assert synflow(network, images, labels) == score


def test_synflow_of_a_network_with_skips_by_hand(network: nn.Module, batch: Batch) -> None:
    net = copy.deepcopy(network)
    for parameter in net.parameters():
        parameter.data.abs_()
    x = net.stem[0](torch.ones(1, 3, 8, 8, dtype=torch.float64))
    y = F.avg_pool2d(net.left(x) + net.right(x) + x + 1, 2).mean(dim=(2, 3))
    net.classifier(net.hidden(y)).sum().backward()
    layers = (net.stem[0], net.left, net.right, net.hidden, net.classifier)
    total = sum(float((layer.weight.detach() * layer.weight.grad).sum()) for layer in layers)
    assert synflow(network, *batch) == pytest.approx(math.log(total), rel=1e-12)


@pytest.mark.parametrize(
    "norm",
    [nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4)],
)
def test_every_normalisation_is_bypassed(
    norm: nn.Module, batch: Batch, make_network: Callable[..., nn.Module]
) -> None:
    def make(middle: nn.Module) -> nn.Module:
        conv, head = nn.Conv2d(3, 4, 3), nn.Linear(144, 3)
        return nn.Sequential(conv, middle, nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), head)

    with_norm = make_network(lambda: make(norm))
    without = make_network(lambda: make(nn.Identity()))
    assert synflow(with_norm, *batch) == synflow(without, *batch)


def test_a_deep_network_does_not_overflow(
    batch: Batch, make_network: Callable[..., nn.Module]
) -> None:
    def make() -> nn.Module:
        layers = [nn.Linear(64, 64, bias=False) for _ in range(60)]
        network = nn.Sequential(nn.Flatten(), nn.Linear(192, 64), *layers)
        for layer in layers:
            layer.weight.data.mul_(20)
        return network

    assert 100 < math.log10(math.e) * synflow(make_network(make), *batch) < 308


def test_single_precision_networks_are_scored_in_double(network: nn.Module, batch: Batch) -> None:
    single = copy.deepcopy(network).float()
    expected = synflow(copy.deepcopy(single).double(), *batch)
    assert synflow(single, batch[0].float(), batch[1]) == expected


def test_frozen_networks_and_no_grad_do_not_matter(network: nn.Module, batch: Batch) -> None:
    expected = synflow(network, *batch)
    network.requires_grad_(False)
    with torch.no_grad():
        assert synflow(network, *batch) == expected
