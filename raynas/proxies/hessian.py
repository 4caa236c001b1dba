"""grasp: whether training keeps its gradient when a weight goes.

Wang et al., "Picking Winning Tickets Before Training by Preserving Gradient Flow" (ICLR 2020), as
compared in Abdelfattah et al. (ICLR 2021): one batch as a whole, temperature 1.
"""

import torch

from raynas.proxies.trace import Need, Trace, TracedProxy


def _grasp(trace: Trace) -> float:
    pairs = zip(trace.weights, trace.hessian_grads, strict=True)
    parts = [-(weight.detach() * product).sum() for weight, product in pairs]
    return float(torch.stack(parts).double().sum()) if parts else 0.0


grasp = TracedProxy(_grasp, Need.CURVATURE)
"""Σ -W ⊙ H g over the weights of convolutions and linear layers, g = ∂L/∂W and H = ∂²L/∂W². To
first order, shrinking all weights by the fraction t changes ½ ‖g‖² by t times the score."""
