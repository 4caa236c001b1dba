"""params, flops and l2_norm: what is known without any gradient; strong baselines."""

import torch
from torch import Tensor, nn

from raynas.proxies.trace import Trace, TracedProxy


def params(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the number of parameters (all of them, shared ones once)."""
    return float(sum(parameter.numel() for parameter in network.parameters()))


def _flops(trace: Trace) -> float:
    return trace.flops


def _l2_norm(trace: Trace) -> float:
    return float(sum(float(torch.linalg.vector_norm(weight.detach())) for weight in trace.weights))


flops = TracedProxy(_flops, counts_dead=True)
"""Multiply-accumulates of convolutions and linear layers for one image, which is what the field
calls FLOPs (`raynas.networks.cost.flops`; `torch.utils.flop_counter` counts two for each)."""

l2_norm = TracedProxy(_l2_norm)
"""Σ over layers of ‖W‖₂."""
