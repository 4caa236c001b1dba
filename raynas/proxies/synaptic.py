"""synflow and synflow_bn: how much flows through a network's weights, without data.

Tanaka et al., "Pruning neural networks without any data by iteratively conserving synaptic flow"
(NeurIPS 2020), as a proxy in Abdelfattah et al. (ICLR 2021).
Differences from the public code: in synflow, normalisation is bypassed in every layer (there, the
reduction blocks of NAS-Bench-201 keep theirs); dropout is off; the logarithm is returned and the
network is not changed in between. The logarithm is the only form: the sum spans decades and beyond,
and orders networks no differently.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from raynas.proxies.proxy import WORST, finite
from raynas.proxies.untouched import (
    CONVOLUTIONS,
    LINEAR,
    NORMALISATIONS,
    argument,
    run_untouched,
)


def synflow(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return log Σ W ⊙ ∂R/∂W, R the sum of logits for one image of ones, every parameter being |·|.

    In float64, with normalisation and dropout as identities. -inf for a dead network (R does not
    depend on the image), and beyond 1e308, where float64 ends.

    Args:
        network: Left as it is.
        images: Only their shape, layout and device are used.
        labels: Not used.
    """
    return _log_sum(_flows(network, images, normalised=False))


def synflow_bn(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return log Σ |W ⊙ ∂R/∂W| as in `synflow`, but through normalisation (an ablation).

    Batch normalisation goes by the statistics of the one image, as in the public code. Nothing is
    conserved then: the flows of a normalised layer cancel, and only their sizes are added up.

    Args:
        network: Left as it is.
        images: Only their shape, layout and device are used.
        labels: Not used.
    """
    return _log_sum([flow.abs() for flow in _flows(network, images, normalised=True)])


@torch.enable_grad()
def _flows(network: nn.Module, images: Tensor, normalised: bool) -> list[Tensor]:
    """Return W ⊙ ∂R/∂W of every layer called; nothing if R does not depend on the image."""
    ones = torch.ones_like(images[:1], dtype=torch.float64, requires_grad=True)
    linearised = _Linearised(normalised)
    with linearised:
        logits = run_untouched(
            network, ones, training=False, parameter=torch.abs, dtype=torch.float64
        )
    if not logits.requires_grad:
        return []
    weights = list(linearised.weights.values())
    image_grad, *grads = torch.autograd.grad(logits.sum(), [ones, *weights], materialize_grads=True)
    if not bool(image_grad.any()):
        return []
    return [weight.detach() * grad for weight, grad in zip(weights, grads, strict=True)]


def _log_sum(flows: list[Tensor]) -> float:
    flow = sum(float(flow.sum()) for flow in flows)
    return finite(math.log(flow)) if flow > 0 else WORST


class _Linearised(TorchFunctionMode):
    """Makes normalisation the identity, or use the image's own statistics; notes layers' weights.

    Modules are in eval mode, which keeps dropout off.
    """

    def __init__(self, normalised: bool) -> None:
        super().__init__()
        self.weights: dict[int, Tensor] = {}
        self._normalised = normalised

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in NORMALISATIONS and not self._normalised:
            return argument(args, kwargs, 0, "input")
        if func is F.batch_norm:
            return _by_own_statistics(*args, **kwargs)
        if func in CONVOLUTIONS or func in LINEAR:
            weight = argument(args, kwargs, 1, "weight")
            if weight.requires_grad:
                self.weights[id(weight)] = weight
        return func(*args, **kwargs)


def _by_own_statistics(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    # Not `F.batch_norm`, which refuses channels of a single value: those normalise to zero.
    return torch.batch_norm(input, weight, bias, None, None, True, momentum, eps, False)
