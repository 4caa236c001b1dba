"""Gradient proxies against straight-line versions that run a pass of their own."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.proxies.gradient import fisher, grad_norm, plain, snip

Batch = tuple[Tensor, Tensor]


def weights_and_gradients(network: nn.Module, batch: Batch) -> list[tuple[Tensor, Tensor]]:
    images, labels = batch
    fresh = copy.deepcopy(network)
    F.cross_entropy(fresh(images), labels).backward()
    pairs = []
    for module in fresh.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.weight.grad is not None:
            pairs.append((module.weight.detach(), module.weight.grad))
    return pairs


def test_snip_is_the_sum_of_weight_times_gradient(network: nn.Module, batch: Batch) -> None:
    expected = sum(float((w * g).abs().sum()) for w, g in weights_and_gradients(network, batch))
    assert snip(network, *batch) == pytest.approx(expected, rel=1e-12)


def test_snip_is_the_gradient_of_a_mask(batch: Batch) -> None:
    images, labels = batch
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).double()
    mask = torch.ones_like(network[1].weight, requires_grad=True)
    logits = F.linear(images.flatten(1), network[1].weight * mask, network[1].bias)
    F.cross_entropy(logits, labels).backward()
    assert snip(network, images, labels) == pytest.approx(float(mask.grad.abs().sum()), rel=1e-12)


def test_grad_norm_adds_the_norms_of_layers(network: nn.Module, batch: Batch) -> None:
    pairs = weights_and_gradients(network, batch)
    expected = sum(float(g.pow(2).sum().sqrt()) for _, g in pairs)
    together = math.sqrt(sum(float(g.pow(2).sum()) for _, g in pairs))
    assert grad_norm(network, *batch) == pytest.approx(expected, rel=1e-12)
    assert expected > 1.1 * together > 0


def test_plain_keeps_the_sign(network: nn.Module, batch: Batch) -> None:
    expected = sum(float((w * g).sum()) for w, g in weights_and_gradients(network, batch))
    assert plain(network, *batch) == pytest.approx(expected, rel=1e-9)


def test_fisher_per_channel(network: nn.Module, batch: Batch) -> None:
    images, labels = batch
    fresh = copy.deepcopy(network)
    outputs: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        output.retain_grad()
        outputs[module] = output
        return output * 1  # what follows may work in place

    for module in fresh.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(keep)
    F.cross_entropy(fresh(images), labels).backward()
    expected = 0.0
    for module, output in outputs.items():
        if output.grad is None:
            continue
        for channel in range(output.shape[1]):
            product = output[:, channel] * output.grad[:, channel]
            per_image = [float(product[n].sum().detach()) for n in range(len(images))]
            delta = 0.5 * sum(v * v for v in per_image) / len(images)
            expected += delta * module.weight[channel].numel()
    assert fisher(network, images, labels) == pytest.approx(expected, rel=1e-10)


def test_fisher_does_not_mind_a_layer_overwritten_in_place(
    batch: Batch, make_network: Callable[..., nn.Module]
) -> None:
    def make(inplace: bool) -> nn.Module:
        relu = nn.ReLU(inplace=inplace)
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 5), relu, nn.Linear(5, 3)).double()

    overwritten, kept = (fisher(make_network(lambda i=i: make(i)), *batch) for i in (True, False))
    assert overwritten == pytest.approx(kept, rel=1e-12)
    assert kept > 0


def test_fisher_of_linear_layers_over_tokens(
    batch: Batch, make_network: Callable[..., nn.Module]
) -> None:
    """A linear layer on `B x L x C` has its channels last: it is a convolution of kernel 1."""

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 4)

        def forward(self, images: Tensor) -> Tensor:
            return self.layer(images.flatten(2).mT).square().mean(dim=1)

    class Pointwise(Tokens):
        def forward(self, images: Tensor) -> Tensor:
            weight = self.layer.weight[:, :, None, None]
            return F.conv2d(images, weight, self.layer.bias).square().mean(dim=(2, 3))

    tokens, pointwise = make_network(Tokens).double(), make_network(Pointwise).double()
    assert fisher(tokens, *batch) == pytest.approx(fisher(pointwise, *batch), rel=1e-12)


def test_gradient_proxies_scale_as_their_formulas(
    batch: Batch, make_network: Callable[..., nn.Module]
) -> None:
    """Doubling a weight in front of batch normalisation halves its gradient (but for epsilon)."""

    def make() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, bias=False),
            nn.BatchNorm2d(4, eps=1e-12),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        ).double()

    network, doubled = make_network(make), make_network(make)
    with torch.no_grad():
        doubled[0].weight.mul_(2)
    assert snip(doubled, *batch) == pytest.approx(snip(network, *batch), rel=1e-9)
    assert grad_norm(doubled, *batch) == pytest.approx(grad_norm(network, *batch) / 2, rel=1e-9)


def test_a_network_without_weights_has_nothing_to_add_up(batch: Batch) -> None:
    for proxy in (snip, grad_norm, plain, fisher):
        assert proxy(nn.Flatten(), *batch) == 0.0
