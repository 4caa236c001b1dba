import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raynas.proxies.ntk import ntk
from raynas.proxies.trace import Need, trace

Batch = tuple[Tensor, Tensor]


def kernel_by_hand(network: nn.Module, images: Tensor) -> np.ndarray:
    """One forward pass of the batch, one backward pass per image, as in the public code."""
    net = copy.deepcopy(network)
    logits = net(images)
    rows = []
    for image in range(len(images)):
        net.zero_grad()
        logits[image : image + 1].backward(torch.ones_like(logits[:1]), retain_graph=True)
        layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        grads = [m.weight.grad for m in layers if m.weight.grad is not None]
        rows.append(torch.cat([grad.flatten() for grad in grads]).numpy())
    return np.stack(rows) @ np.stack(rows).T


def test_ntk_from_one_backward_pass_per_image(network: nn.Module, batch: Batch) -> None:
    eigenvalues = np.linalg.eigvalsh(kernel_by_hand(network, batch[0]))
    condition = eigenvalues[-1] / eigenvalues[0]
    assert 1 < condition < 1e9
    assert ntk(network, *batch) == pytest.approx(-math.log(condition), rel=1e-8)


def test_an_images_gradient_passes_through_the_statistics_of_the_batch(
    network: nn.Module, batch: Batch
) -> None:
    whole = trace(network, *batch, Need.TANGENT_KERNEL).tangent_kernel
    half = trace(network, batch[0][:6], batch[1][:6], Need.TANGENT_KERNEL).tangent_kernel
    assert np.allclose(whole, kernel_by_hand(network, batch[0]), rtol=1e-10)
    assert not np.allclose(whole[:6, :6], half, rtol=1e-3)


def linear(make_network: Callable[..., nn.Module]) -> nn.Module:
    return make_network(lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 4))).double()


def test_the_kernel_of_a_linear_network_is_that_of_its_images(
    batch: Batch, make_network: Callable[..., nn.Module]
) -> None:
    """J_i holds image i once for each of the 4 logits; and scale is no matter to the score."""
    images, labels = batch
    network = linear(make_network)
    flat = images.flatten(1)
    kernel = trace(network, images, labels, Need.TANGENT_KERNEL).tangent_kernel
    assert np.allclose(kernel, 4 * flat @ flat.T, rtol=1e-12)
    expected = -2 * math.log(np.linalg.cond(flat.numpy()))
    assert ntk(network, images, labels) == pytest.approx(expected, rel=1e-10)
    assert ntk(network, 7 * images, labels) == pytest.approx(expected, rel=1e-10)


def test_images_of_one_direction_beat_none_and_orthogonal_ones_are_best(
    make_network: Callable[..., nn.Module],
) -> None:
    labels = torch.arange(6) % 3
    orthogonal = torch.eye(6, 192, dtype=torch.float64).view(6, 3, 8, 8)
    assert ntk(linear(make_network), orthogonal, labels) == pytest.approx(0.0, abs=1e-12)
    assert ntk(linear(make_network), orthogonal + 0.5, labels) < -1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_singular_kernels_score_minus_infinity(
    network: nn.Module, batch: Batch, dtype: torch.dtype
) -> None:
    """An image twice; fewer weights than images; no weights at all."""
    images, labels = batch[0].to(dtype), batch[1]
    twice = torch.cat([images[:6], images[:6]])
    assert ntk(network.to(dtype), twice, labels) == -math.inf
    few = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert ntk(few.to(dtype), images, labels) == -math.inf
    assert ntk(nn.Flatten(), images, labels) == -math.inf


def test_single_precision_comes_close(network: nn.Module, batch: Batch) -> None:
    expected = ntk(network, *batch)
    single = ntk(network.float(), batch[0].float(), batch[1])
    assert single == pytest.approx(expected, rel=1e-3)


def test_single_precision_gradients_still_tell_small_eigenvalues(
    make_network: Callable[..., nn.Module],
) -> None:
    """A condition number of 1e8, which rounding of the kernel itself to float32 would drown."""
    images = torch.eye(3, 192).view(3, 3, 8, 8)
    images[1] = images[0] + 2e-4 * images[1]
    network = linear(make_network)
    expected = ntk(network, images.double(), torch.arange(3))
    assert -math.log(1e9) < expected < -math.log(1e7)
    assert ntk(network.float(), images, torch.arange(3)) == pytest.approx(expected, rel=1e-4)
