"""jacob_cov: how differently the network responds to different images.

Mellor et al., "Neural Architecture Search without Training" (first version, 2020), as compared in
Abdelfattah et al. (ICLR 2021).
Differences from the public code: symmetric eigenvalues (the general solver returns complex ones by
rounding) and -inf instead of NaN for an image without any gradient.
"""

import torch
from torch import Tensor

from raynas.proxies.proxy import WORST
from raynas.proxies.trace import Need, Trace, TracedProxy

_K = 1e-5


def _jacob_cov(trace: Trace) -> float:
    assert trace.input_grad is not None
    correlation = _correlation(trace.input_grad.flatten(1).double())
    if not bool(correlation.isfinite().all()):
        return WORST
    shifted = torch.linalg.eigvalsh(correlation) + _K
    return -float((shifted.log() + 1 / shifted).sum())


def _correlation(rows: Tensor) -> Tensor:
    """Return the correlation of rows, `B x B`; NaN where a row is constant."""
    centred = rows - rows.mean(dim=1, keepdim=True)
    unit = centred / centred.norm(dim=1, keepdim=True)
    correlation: Tensor = unit @ unit.T
    return correlation


jacob_cov = TracedProxy(_jacob_cov, Need.INPUT_GRADS)
"""-Σ [log(v + k) + 1 / (v + k)], k = 1e-5, over the eigenvalues v of the correlation matrix of the
images' gradients ∂(Σ logits)/∂x."""
