"""What a network costs before it is trained: parameters, multiply-accumulates."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from raynas.spaces.space import TaskShape


def num_params(module: nn.Module) -> int:
    """Return the number of parameters, shared ones counted once."""
    return sum(parameter.numel() for parameter in module.parameters())


@torch.no_grad()
def flops(module: nn.Module, task: TaskShape) -> int:
    """Return the multiply-accumulates of one forward pass of one image, in eval mode.

    Convolutions, matrix products and attention count (`torch.utils.flop_counter`, halved, as the
    field reports it); norms, pools and sums do not. Only work that is done counts: an edge that a
    network skips is free. The module, its modes and torch's generators are left as they were.

    Args:
        module: Images `1 x C x H x W` to logits; all of its parameters on one device.
        task: Says C, H and W.
    """
    like = next(module.parameters(), torch.empty(0))
    shape = (1, task.in_channels, task.image_size, task.image_size)
    image = torch.zeros(shape, dtype=like.dtype, device=like.device)
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    counter = FlopCounterMode(display=False)
    with _evaluating(module), _same_draws_after(like.device), counter:
        functional_call(module, buffers, (image,))
    total: int = counter.get_total_flops()
    return total // 2


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@contextmanager
def _same_draws_after(device: torch.device) -> Iterator[None]:
    if device.type in ("cpu", "meta"):  # nothing is drawn on meta
        with torch.random.fork_rng(devices=[]):
            yield
        return
    index = torch.get_device_module(device).current_device()
    devices = [index if device.index is None else device.index]
    with torch.random.fork_rng(devices=devices, device_type=device.type):
        yield
