import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.proxies.trace import Need, TracedProxy, trace

Batch = tuple[Tensor, Tensor]
EVERYTHING = Need.WEIGHT_GRADS | Need.CHANNEL_SALIENCY | Need.INPUT_GRADS | Need.CODES


def test_the_forward_pass_runs_once(network: nn.Module, batch: Batch) -> None:
    calls = []
    network.register_forward_hook(lambda *_: calls.append(1))
    trace(network, *batch, EVERYTHING)
    assert len(calls) == 1


def test_parts_do_not_depend_on_what_else_is_needed(network: nn.Module, batch: Batch) -> None:
    whole = trace(network, *batch, EVERYTHING)
    alone = trace(network, *batch, Need.WEIGHT_GRADS)
    assert all(map(torch.equal, whole.weight_grads, alone.weight_grads))
    alone = trace(network, *batch, Need.INPUT_GRADS)
    assert torch.equal(whole.input_grad, alone.input_grad)
    assert alone.agreement is None
    assert not alone.weight_grads
    assert torch.equal(whole.agreement, trace(network, *batch, Need.CODES).agreement)
    alone = trace(network, *batch, Need.CHANNEL_SALIENCY)
    assert all(map(torch.equal, whole.channel_saliency, alone.channel_saliency))


def test_agreement_counts_equal_codes(network: nn.Module, batch: Batch) -> None:
    agreement = trace(network, *batch, Need.CODES).agreement
    units = 6 * 8 * 8 + 6 * 8 * 8 + 8
    assert agreement.diagonal().tolist() == [units] * 12
    assert torch.equal(agreement, agreement.T)
    assert torch.equal(agreement, agreement.round())
    assert 0 <= float(agreement.min()) < units


def test_a_dead_branch_has_no_gradient_but_its_weight_is_there(
    network: nn.Module, batch: Batch
) -> None:
    result = trace(network, *batch, Need.WEIGHT_GRADS)
    assert len(result.weights) == 6
    moved = [bool(grad.any()) for grad in result.weight_grads]
    assert moved == [True, False, True, True, True, True]  # in the order they are called


def test_frozen_parameters_are_scored_like_others(network: nn.Module, batch: Batch) -> None:
    expected = trace(network, *batch, Need.WEIGHT_GRADS).weight_grads
    network.requires_grad_(False)
    with torch.no_grad():
        frozen = trace(network, *batch, Need.WEIGHT_GRADS).weight_grads
    assert len(frozen) == len(expected) == 6
    assert all(map(torch.equal, frozen, expected))


def test_a_shared_layer_counts_once(batch: Batch, make_network: Callable[..., nn.Module]) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, images: Tensor) -> Tensor:
            return self.conv(F.relu(self.conv(images))).mean(dim=(2, 3))

    result = trace(make_network(Twice).double(), *batch, EVERYTHING)
    assert len(result.weights) == len(result.weight_grads) == 1
    assert len(result.channel_saliency) == 2


def test_auxiliary_heads_are_ignored(network: nn.Module, batch: Batch) -> None:
    class WithHead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = network
            self.head = nn.Linear(192, 4).double()

        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return self.body(images), self.head(images.flatten(1))

    plain = trace(network, *batch, Need.INPUT_GRADS)
    headed = trace(WithHead(), *batch, Need.INPUT_GRADS)
    assert torch.equal(plain.input_grad, headed.input_grad)


def test_dead_networks_are_found(dead_network: nn.Module, batch: Batch) -> None:
    assert not trace(dead_network, *batch, EVERYTHING).alive
    shown = TracedProxy(lambda _: 1.0)
    assert shown(dead_network, *batch) == -math.inf
    assert TracedProxy(lambda _: 1.0, counts_dead=True)(dead_network, *batch) == 1.0


def test_a_network_cut_off_from_its_images_is_dead(network: nn.Module, batch: Batch) -> None:
    class CutOff(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = network

        def forward(self, images: Tensor) -> Tensor:
            return self.body(images.detach())

    assert not trace(CutOff(), *batch, EVERYTHING).alive


def test_rounding_of_equal_logits_is_not_life(batch: Batch) -> None:
    class Rounding(nn.Module):
        def __init__(self, size: float) -> None:
            super().__init__()
            self.size = size

        def forward(self, images: Tensor) -> Tensor:
            return 1 + self.size * images.flatten(1)[:, :3].tanh()

    assert not trace(Rounding(1e-8), *batch, Need.NOTHING).alive
    assert trace(Rounding(1e-4), *batch, Need.NOTHING).alive


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nothing_but_finite_scores_and_minus_infinity_comes_out(
    value: float, network: nn.Module, batch: Batch
) -> None:
    assert TracedProxy(lambda _: value)(network, *batch) == -math.inf
