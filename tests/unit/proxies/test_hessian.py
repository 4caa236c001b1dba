import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.proxies.hessian import grasp
from raynas.proxies.trace import Need, trace

Batch = tuple[Tensor, Tensor]


def layer_weights(network: nn.Module) -> list[Tensor]:
    return [m.weight for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def by_double_backpropagation(network: nn.Module, batch: Batch) -> float:
    images, labels = batch
    net = copy.deepcopy(network)
    F.cross_entropy(net(images), labels).backward(create_graph=False)
    values = [None if w.grad is None else w.grad.clone() for w in layer_weights(net)]
    net.zero_grad()
    used = [w for w, value in zip(layer_weights(net), values, strict=True) if value is not None]
    grads = torch.autograd.grad(F.cross_entropy(net(images), labels), used, create_graph=True)
    stopped = [value for value in values if value is not None]
    sum((value * grad).sum() for value, grad in zip(stopped, grads, strict=True)).backward()
    return sum(float((-w * w.grad).sum().detach()) for w in used)


def half_squared_gradient(network: nn.Module, batch: Batch, scale: float) -> float:
    images, labels = batch
    net = copy.deepcopy(network)
    with torch.no_grad():
        for weight in layer_weights(net):
            weight.mul_(scale)
    F.cross_entropy(net(images), labels).backward()
    return sum(0.5 * float(w.grad.square().sum()) for w in layer_weights(net) if w.grad is not None)


def test_grasp_by_double_backpropagation(network: nn.Module, batch: Batch) -> None:
    expected = by_double_backpropagation(network, batch)
    assert abs(expected) > 1e-3
    assert grasp(network, *batch) == pytest.approx(expected, rel=1e-10)


def test_grasp_is_how_the_gradient_grows_as_weights_shrink(
    network: nn.Module, batch: Batch
) -> None:
    step = 1e-5
    shrunk, grown = (half_squared_gradient(network, batch, 1 + s) for s in (-step, step))
    assert grasp(network, *batch) == pytest.approx((shrunk - grown) / (2 * step), rel=1e-6)


def test_grasp_of_a_linear_classifier_from_its_hessian(
    batch: Batch, make_network: Callable[..., nn.Module]
) -> None:
    images, labels = batch[0][:, :, :2, :2], batch[1]
    network = make_network(lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 3))).double()
    weight = network[1].weight.detach().flatten()

    def loss(flat: Tensor) -> Tensor:
        return F.cross_entropy(
            F.linear(images.flatten(1), flat.view(3, 12), network[1].bias), labels
        )

    hessian = torch.autograd.functional.hessian(loss, weight)
    gradient = torch.autograd.functional.jacobian(loss, weight)
    expected = -float((weight @ hessian @ gradient).detach())
    assert grasp(network, images, labels) == pytest.approx(expected, rel=1e-10)


class Conditional(nn.Module):
    """Scale and kernel are computed from weights, and so is what follows a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding="same")
        self.scale = nn.Linear(3, 4)
        self.head = nn.Conv2d(4, 3, 3, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        scale = self.scale(images.mean(dim=(0, 2, 3)))
        x = F.batch_norm(self.conv(images), None, None, weight=scale, training=True)
        return F.conv2d(x.tanh(), self.head.weight, scale[:3], stride=2).mean(dim=(2, 3))


def test_scales_and_biases_that_are_computed_are_differentiated(
    batch: Batch, make_network: Callable[..., nn.Module]
) -> None:
    network = make_network(Conditional).double()
    expected = by_double_backpropagation(network, batch)
    assert grasp(network, *batch) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("train", [True, False])
def test_memory_format_and_mode_do_not_matter(
    network: nn.Module, batch: Batch, train: bool
) -> None:
    expected = grasp(network, *batch)
    last = batch[0].to(memory_format=torch.channels_last)
    network.train(train).to(memory_format=torch.channels_last)
    assert grasp(network, last, batch[1]) == pytest.approx(expected, rel=1e-10)


def test_dead_branches_have_no_curvature(network: nn.Module, batch: Batch) -> None:
    result = trace(network, *batch, Need.CURVATURE)
    moved = [bool(product.any()) for product in result.hessian_grads]
    assert moved == [True, False, True, True, True, True]


def test_a_gradient_that_does_not_depend_on_weights_has_no_curvature(batch: Batch) -> None:
    """The weight is called, but the logits are the images."""

    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(192, 2).double()

        def forward(self, images: Tensor) -> Tensor:
            self.layer(images.flatten(1))
            return images.flatten(1)[:, :4]

    assert grasp(Idle(), *batch) == 0.0
    assert grasp(nn.Flatten(), *batch) == 0.0


def test_curvature_changes_nothing_else_and_costs_no_forward_pass(
    network: nn.Module, batch: Batch
) -> None:
    calls: list[int] = []
    network.register_forward_hook(lambda *_: calls.append(1))
    others = ~Need.CURVATURE
    first, second = trace(network, *batch, others), trace(network, *batch, others | Need.CURVATURE)
    assert len(calls) == 2
    assert not first.hessian_grads
    assert len(second.hessian_grads) == len(second.weights)
    for part in ("weight_grads", "channel_saliency"):
        assert all(map(torch.equal, getattr(first, part), getattr(second, part))), part
    for part in ("input_grad", "agreement", "tangent_kernel"):
        assert torch.equal(getattr(first, part), getattr(second, part)), part
    assert not any(t.requires_grad for t in [*second.weight_grads, *second.hessian_grads])
