"""Stand-ins for torch's functions: the same values and first derivatives, right second ones."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from raynas.proxies.second_order import TWICE_DIFFERENTIABLE, batch_norm, conv2d

LAYOUTS = [torch.contiguous_format, torch.channels_last]
CONVOLUTIONS = [
    {},
    {"padding": 1},
    {"stride": 2, "padding": (0, 1)},
    {"dilation": 2, "padding": [2, 2]},
    {"groups": 2},
]


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def images(layout: torch.memory_format = torch.contiguous_format) -> Tensor:
    return normal(2, 4, 5, 5).to(memory_format=layout).requires_grad_()


def value_and_gradients(function: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    output = function(*inputs)
    return [output, *torch.autograd.grad(output.square().sum(), inputs)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("options", CONVOLUTIONS)
@pytest.mark.parametrize("bias", [None, normal(2, seed=2)])
def test_convolution(
    options: dict[str, Any], bias: Tensor | None, layout: torch.memory_format
) -> None:
    inputs = images(layout), normal(2, 4 // options.get("groups", 1), 2, 2, seed=1).requires_grad_()

    def ours(x: Tensor, weight: Tensor) -> Tensor:
        return conv2d(x, weight, bias, **options)

    def torchs(x: Tensor, weight: Tensor) -> Tensor:
        return torch.conv2d(x, weight, bias, **options)

    mine, theirs = (value_and_gradients(function, *inputs) for function in (ours, torchs))
    assert all(map(torch.equal, mine, theirs))
    assert torch.autograd.gradgradcheck(ours, inputs, fast_mode=True)


def test_the_second_derivative_by_one_argument_alone() -> None:
    x, weight = images(), normal(2, 4, 2, 2, seed=1).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: conv2d(x, weight.detach()), x, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda w: conv2d(x.detach(), w), weight, fast_mode=True)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("weight", "bias"),
    [(None, None), (normal(4, seed=3), normal(4, seed=4)), (torch.zeros(4).double(), None)],
)
def test_batch_norm(
    weight: Tensor | None, bias: Tensor | None, layout: torch.memory_format
) -> None:
    x = images(layout)

    def ours(x: Tensor) -> Tensor:
        return batch_norm(x, None, None, weight, bias, training=True, eps=1e-3)

    def torchs(x: Tensor) -> Tensor:
        return F.batch_norm(x, None, None, weight, bias, training=True, eps=1e-3)

    mine, theirs = (value_and_gradients(function, x) for function in (ours, torchs))
    assert all(map(torch.equal, mine, theirs))
    assert torch.autograd.gradgradcheck(ours, x)


def test_batch_norm_of_vectors_and_signals() -> None:
    for shape in ((6, 4), (3, 4, 5)):
        x = normal(*shape).requires_grad_()
        assert torch.autograd.gradgradcheck(lambda x: batch_norm(x, None, None, training=True), x)


def test_torchs_own_runs_where_ours_would_miss_a_derivative() -> None:
    x, mean, var = images(), torch.zeros(4).double(), torch.ones(4).double()
    computed = normal(4, seed=5).requires_grad_() * 1
    calls = {
        "evaluation": batch_norm(x, mean, var),
        "scale": batch_norm(x, None, None, computed, training=True),
        "padding": conv2d(x, normal(2, 4, 3, 3), padding="same"),
        "bias": conv2d(x, normal(4, 4, 3, 3), computed),
        "one image": conv2d(x[0], normal(2, 4, 3, 3)),
    }
    names = {name: type(output.grad_fn).__name__ for name, output in calls.items()}
    assert not [name for name, node in names.items() if node.startswith("_")], names
    ours = conv2d(x, normal(2, 4, 3, 3)), batch_norm(x, None, None, training=True)
    assert all(type(output.grad_fn).__name__.startswith("_") for output in ours)


def test_stand_ins_take_the_arguments_of_what_they_replace() -> None:
    x, weight, mean = images(), normal(2, 4, 3, 3), torch.zeros(4).double()
    conv, norm = TWICE_DIFFERENTIABLE[torch.conv2d], TWICE_DIFFERENTIABLE[F.batch_norm]
    arguments = (x, weight, None, (2, 2), (1, 1), (1, 1), 1)
    assert torch.equal(conv(*arguments), torch.conv2d(*arguments))
    named = {"input": x, "weight": weight, "stride": 2}
    assert torch.equal(conv(**named), torch.conv2d(**named))
    arguments = (x, mean.clone(), mean + 1, mean + 2, mean, True, 0.1, 1e-5)
    assert torch.equal(norm(*arguments), F.batch_norm(*arguments))
