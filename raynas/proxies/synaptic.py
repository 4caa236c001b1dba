"""synflow: how much flows through a network's weights, without data.

Tanaka et al., "Pruning neural networks without any data by iteratively conserving synaptic flow"
(NeurIPS 2020), as a proxy in Abdelfattah et al. (ICLR 2021).
Differences from the public code: normalisation is bypassed in every layer (there, the reduction
blocks of NAS-Bench-201 keep theirs), the logarithm is returned (the sum spans decades), and the
network is not changed in between.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from raynas.proxies.proxy import WORST, finite
from raynas.proxies.untouched import (
    CONVOLUTIONS,
    LINEAR,
    NORMALISATIONS,
    argument,
    run_untouched,
)


@torch.enable_grad()
def synflow(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return log Σ W ⊙ ∂R/∂W, R the sum of logits for one image of ones, every parameter being |·|.

    In float64, with normalisation and dropout as identities. -inf for a dead network (R does not
    depend on the image), and beyond 1e308, where float64 ends.

    Args:
        network: Left as it is.
        images: Only their shape, layout and device are used.
        labels: Not used.
    """
    ones = torch.ones_like(images[:1], dtype=torch.float64, requires_grad=True)
    linearised = _Linearised()
    with linearised:
        logits = run_untouched(
            network, ones, training=False, parameter=torch.abs, dtype=torch.float64
        )
    if not logits.requires_grad:
        return WORST
    weights = list(linearised.weights.values())
    image_grad, *grads = torch.autograd.grad(logits.sum(), [ones, *weights], materialize_grads=True)
    if not bool(image_grad.any()):
        return WORST
    flow = sum(float((w.detach() * g).sum()) for w, g in zip(weights, grads, strict=True))
    return finite(math.log(flow)) if flow > 0 else WORST


class _Linearised(TorchFunctionMode):
    """Makes normalisation the identity and notes the weights of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: dict[int, Tensor] = {}

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in NORMALISATIONS:
            return argument(args, kwargs, 0, "input")
        if func in CONVOLUTIONS or func in LINEAR:
            weight = argument(args, kwargs, 1, "weight")
            if weight.requires_grad:
                self.weights[id(weight)] = weight
        return func(*args, **kwargs)
