"""grad_norm, snip, plain and fisher: proxies from one backward pass of the loss.

g = ∂L/∂W, L the mean cross-entropy of one batch; sums run over the weights of convolutions and
linear layers (no biases, no normalisation). As compared in Abdelfattah et al. (ICLR 2021).
"""

import torch
from torch import Tensor

from raynas.proxies.trace import Need, Trace, TracedProxy


def _total(parts: list[Tensor]) -> float:
    return float(torch.stack(parts).double().sum()) if parts else 0.0


def _grad_norm(trace: Trace) -> float:
    return _total([grad.norm() for grad in trace.weight_grads])


def _snip(trace: Trace) -> float:
    pairs = zip(trace.weights, trace.weight_grads, strict=True)
    return _total([(weight.detach() * grad).abs().sum() for weight, grad in pairs])


def _plain(trace: Trace) -> float:
    pairs = zip(trace.weights, trace.weight_grads, strict=True)
    return _total([(weight.detach() * grad).sum() for weight, grad in pairs])


def _fisher(trace: Trace) -> float:
    return _total(trace.channel_saliency)


grad_norm = TracedProxy(_grad_norm, Need.WEIGHT_GRADS)
"""Σ over layers of ‖g‖₂ (a norm per layer, then the sum)."""

snip = TracedProxy(_snip, Need.WEIGHT_GRADS)
"""Σ |W ⊙ g| (Lee et al., ICLR 2019: the gradient of a mask on the weights is W ⊙ g)."""

plain = TracedProxy(_plain, Need.WEIGHT_GRADS)
"""Σ W ⊙ g with its sign; cancels, and so is not stable between batches."""

fisher = TracedProxy(_fisher, Need.CHANNEL_SALIENCY)
"""Σ over layers and their output channels c of Δ_c · (weights of c), where
Δ_c = ½ · mean over images of (Σ over positions of a · ∂L/∂a)², a the layer's output (Theis et al.,
2018; Turner et al., ICLR 2020)."""
