"""params, flops, depth and l2_norm: what is known without any gradient; strong baselines."""

import torch
from torch import Tensor, nn

from raynas.proxies.trace import Trace, TracedProxy


def params(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the number of parameters (all of them, shared ones once)."""
    return float(sum(parameter.numel() for parameter in network.parameters()))


def _flops(trace: Trace) -> float:
    return trace.flops


def _depth(trace: Trace) -> float:
    return float(trace.depth)


def _l2_norm(trace: Trace) -> float:
    return float(sum(float(torch.linalg.vector_norm(weight.detach())) for weight in trace.weights))


flops = TracedProxy(_flops, counts_dead=True)
"""Multiply-accumulates of convolutions and linear layers for one image, which is what the field
calls FLOPs (`raynas.networks.cost.flops`; `torch.utils.flop_counter` counts two for each)."""

depth = TracedProxy(_depth)
"""Convolutions and linear layers on the longest path from the images to the logits; a path is one
of dependency between values computed, so only what is run counts, and a layer as often as it is."""

l2_norm = TracedProxy(_l2_norm)
"""Σ over layers of ‖W‖₂."""
