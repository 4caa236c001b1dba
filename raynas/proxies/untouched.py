"""Run a network without touching it, and hear the calls it makes.

Proxies must leave a network exactly as they found it: no batch statistic updated, no gradient
stored, no mode switched, no random number drawn. So passes run on stand-ins for its parameters and
buffers, and layers are recognised by the torch function that is called, not by hooks on modules:
a module, ``F.relu`` and a method of the tensor are all the same to it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

CONVOLUTIONS: frozenset[Any] = frozenset({torch.conv1d, torch.conv2d, torch.conv3d})
"""Functions with weight `C_out x C_in x …` and output channels on axis 1."""

LINEAR: frozenset[Any] = frozenset({F.linear})
"""Functions with weight `C_out x C_in` and output channels on the last axis."""

RELUS: frozenset[Any] = frozenset(
    {F.relu, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_}
)

NORMALISATIONS: frozenset[Any] = frozenset(
    {F.batch_norm, torch.batch_norm, F.group_norm, F.layer_norm, F.instance_norm}
)


def argument(args: tuple[Any, ...], kwargs: Mapping[str, Any], index: int, name: str) -> Any:
    """Return an argument of a call, however it was passed."""
    return args[index] if len(args) > index else kwargs[name]


def run_untouched(
    network: nn.Module,
    images: Tensor,
    *,
    training: bool,
    parameter: Callable[[Tensor], Tensor] = lambda value: value,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Return the logits `B x classes`, the network and the images being left as they were.

    Args:
        network: Where it returns a tuple (auxiliary heads), the first is the logits.
        images: `B x C x H x W`.
        training: Whether to run in train mode.
        parameter: Maps each parameter (detached) to what stands in for it.
        dtype: Floating-point type of the stand-ins; None for the network's own.
    """

    def cast(value: Tensor) -> Tensor:
        return value.to(dtype) if dtype and value.is_floating_point() else value

    state = {name: _leaf(cast(parameter(p.detach()))) for name, p in network.named_parameters()}
    state |= {name: cast(b.detach().clone()) for name, b in network.named_buffers()}
    with _mode(network, training):
        # A copy of the images, so that a first layer that works in place may.
        output = functional_call(network, state, (images.clone(),))
    logits = output[0] if isinstance(output, tuple | list) else output
    assert isinstance(logits, Tensor)
    return logits


def _leaf(value: Tensor) -> Tensor:
    return value.requires_grad_() if value.is_floating_point() else value


@contextmanager
def _mode(network: nn.Module, training: bool) -> Iterator[None]:
    before = [(module, module.training) for module in network.modules()]
    network.train(training)
    try:
        yield
    finally:
        for module, mode in before:
            module.training = mode
