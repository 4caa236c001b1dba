import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raynas.proxies.jacobian import jacob_cov

Batch = tuple[Tensor, Tensor]


def test_jacob_cov_from_its_formula(network: nn.Module, batch: Batch) -> None:
    images = batch[0].clone().requires_grad_()
    copy.deepcopy(network)(images).backward(torch.ones(12, 4, dtype=torch.float64))
    correlation = np.corrcoef(images.grad.reshape(12, -1).numpy())
    values = np.linalg.eigvalsh(correlation)
    expected = -np.sum(np.log(values + 1e-5) + 1 / (values + 1e-5))
    assert jacob_cov(network, *batch) == pytest.approx(expected, rel=1e-9)


def test_an_image_without_gradient_scores_minus_infinity(batch: Batch) -> None:
    class BlindToOne(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen = (torch.arange(len(images)) > 0).double()[:, None]
            return images.flatten(1)[:, :4].square() * seen

    assert jacob_cov(BlindToOne(), *batch) == -math.inf


def test_a_linear_network_responds_to_all_images_alike(
    batch: Batch, make_network: Callable[..., nn.Module], network: nn.Module
) -> None:
    linear = make_network(lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 4)).double())
    score = jacob_cov(linear, *batch)
    assert math.isfinite(score)
    assert score == pytest.approx(-11 * (math.log(1e-5) + 1e5) - math.log(12) - 1 / 12, rel=1e-3)
    assert score < jacob_cov(network, *batch)
