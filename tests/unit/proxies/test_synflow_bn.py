import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from raynas.proxies.synaptic import synflow, synflow_bn

Batch = tuple[Tensor, Tensor]


def flows_by_hand(network: nn.Module) -> list[Tensor]:
    net = copy.deepcopy(network).double().train()
    for parameter in net.parameters():
        parameter.data.abs_()
    net(torch.ones(1, 3, 8, 8, dtype=torch.float64)).sum().backward()
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    used = [m.weight for m in layers if m.weight.grad is not None]
    return [weight.detach() * weight.grad for weight in used]


def test_synflow_bn_from_its_formula(network: nn.Module, batch: Batch) -> None:
    expected = math.log(sum(float(flow.abs().sum()) for flow in flows_by_hand(network)))
    assert synflow_bn(network, *batch) == pytest.approx(expected, rel=1e-10)
    assert synflow_bn(network.eval(), *batch) == pytest.approx(expected, rel=1e-10)
    assert synflow(network, *batch) != pytest.approx(expected, rel=1e-2)


def test_flow_is_not_conserved_through_normalisation(
    batch: Batch, make_network: Callable[..., nn.Module]
) -> None:
    """The signed flow of a layer in front of it cancels: its scale has no effect (Euler)."""

    def make() -> nn.Module:
        norm = nn.BatchNorm2d(4, eps=1e-12)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1, bias=False),
            norm,
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(256, 3),
        )

    network = make_network(make)
    before, after = flows_by_hand(network)
    assert abs(float(before.sum())) < 1e-6 * float(after.sum())
    assert float(before.abs().sum()) > 1e-6 * float(after.sum())


def test_without_normalisation_it_is_synflow(
    batch: Batch, make_network: Callable[..., nn.Module]
) -> None:
    def make() -> nn.Module:
        conv, head = nn.Conv2d(3, 4, 3), nn.Linear(144, 3)
        return nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), head)

    network = make_network(make)
    assert synflow_bn(network, *batch) == synflow(network, *batch)


def test_neither_data_nor_running_statistics_nor_dropout_matter(
    network: nn.Module, batch: Batch
) -> None:
    images, labels = batch
    with_dropout = nn.Sequential(network, nn.Dropout(0.5))
    score = synflow_bn(network, images, labels)
    state = torch.get_rng_state()
    assert synflow_bn(with_dropout, images * 3 - 1, (labels + 1) % 3) == score
    assert torch.equal(torch.get_rng_state(), state)
    network.norm.running_mean.add_(5)
    assert synflow_bn(network, images, labels) == score


def test_channels_of_a_single_value_normalise_to_zero(
    batch: Batch, make_network: Callable[..., nn.Module]
) -> None:
    """Torch refuses them in train mode; all flow ends there, unless a skip leads around it."""

    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 4, 8), nn.BatchNorm2d(4), nn.Flatten())

        def forward(self, images: Tensor) -> Tensor:
            return self.body(images) + images.mean(dim=(1, 2, 3))[:, None]

    network = make_network(Skip)
    assert synflow_bn(network.body, *batch) == -math.inf
    with_head = nn.Sequential(network, nn.Linear(4, 2))
    assert math.isfinite(synflow_bn(with_head, *batch))
