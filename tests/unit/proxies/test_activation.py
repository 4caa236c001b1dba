import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.proxies.activation import naswot

Batch = tuple[Tensor, Tensor]


def log_det(codes: list[np.ndarray]) -> float:
    kernel = sum(c @ c.T + (1 - c) @ (1 - c).T for c in codes)
    sign, value = np.linalg.slogdet(kernel)
    assert sign == 1
    return float(value)


def codes_by_hand(network: nn.Module, images: Tensor) -> list[np.ndarray]:
    """The pre-activations of the fixture's network, written down once more."""
    net = copy.deepcopy(network)
    with torch.no_grad():
        x = net.stem(images)
        shared = x.clamp(min=0)
        before = net.norm(net.left(shared) + net.right(shared))
        y = F.avg_pool2d(before.clamp(min=0) + x + 1, 2).mean(dim=(2, 3))
        pre_activations = [x, before, net.hidden(y)]
    return [(p > 0).numpy().reshape(len(images), -1).astype(float) for p in pre_activations]


def test_naswot_is_the_log_determinant_of_codes_on_a_path(network: nn.Module, batch: Batch) -> None:
    """The dead branches' ReLUs are left out; modules, functions and methods all count."""
    expected = log_det(codes_by_hand(network, batch[0]))
    assert naswot(network, *batch) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "relu",
    [
        F.relu,
        torch.relu,
        torch.relu_,
        torch.Tensor.relu,
        torch.Tensor.relu_,
        nn.ReLU(inplace=True),
        lambda x: F.relu(x, inplace=True),
        lambda x: F.relu(input=x),
    ],
)
def test_every_way_to_call_relu_is_heard(relu: Callable[[Tensor], Tensor], batch: Batch) -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(192, 64)

        def forward(self, images: Tensor) -> Tensor:
            return relu(self.layer(images.flatten(1)))

    torch.manual_seed(0)
    network = Network().double()
    before = network.layer(batch[0].flatten(1)).detach()
    assert naswot(network, *batch) == pytest.approx(
        log_det([(before > 0).numpy() * 1.0]), rel=1e-12
    )


def test_a_shared_relu_and_a_repeated_one_score_alike(batch: Batch) -> None:
    """Even if the first of the repeated ones leads nowhere."""

    class Network(nn.Module):
        def __init__(self, shared: bool) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.shared = shared
            self.stem = nn.Conv2d(3, 4, 3)
            self.first, self.second = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)

        def forward(self, images: Tensor) -> Tensor:
            x = self.stem(images)
            F.relu(x)
            once = F.relu(x)
            again = once if self.shared else F.relu(x)
            return F.relu(self.first(once) + self.second(again)).mean(dim=(2, 3))

    network = Network(shared=True).double()
    assert naswot(network, *batch) == naswot(Network(shared=False).double(), *batch)
    with torch.no_grad():
        x = network.stem(batch[0])
        last = network.first(x.relu()) + network.second(x.relu())
    codes = [(p > 0).numpy().reshape(12, -1) * 1.0 for p in (x, last)]
    assert naswot(network, *batch) == pytest.approx(log_det(codes), rel=1e-12)


def test_the_memory_format_does_not_matter(network: nn.Module, batch: Batch) -> None:
    images, labels = batch
    last = images.to(memory_format=torch.channels_last)
    channels_last = copy.deepcopy(network).to(memory_format=torch.channels_last)
    expected = naswot(network, images, labels)
    assert naswot(channels_last, last, labels) == pytest.approx(expected, rel=1e-12)


def test_equal_codes_and_no_relu_score_minus_infinity(batch: Batch, network: nn.Module) -> None:
    images, labels = batch
    twice = torch.cat([images[:6], images[:6]])
    assert naswot(network, twice, labels) == -math.inf
    assert naswot(nn.Flatten(), images, labels) == -math.inf
    for copied in range(11):  # one pair: rounding leaves an eigenvalue of either sign
        pair = images.clone()
        pair[copied + 1] = pair[copied]
        assert naswot(network, pair, labels) == -math.inf


def test_a_relu_on_the_images_themselves_counts(batch: Batch) -> None:
    images = batch[0]
    network = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten())
    kept = images.clone()
    expected = log_det([(images > 0).numpy().reshape(12, -1) * 1.0])
    assert naswot(network, *batch) == pytest.approx(expected, rel=1e-12)
    assert torch.equal(images, kept)
