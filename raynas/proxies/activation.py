"""naswot: how many images of the batch switch on different ReLUs.

Mellor et al., "Neural Architecture Search without Training" (ICML 2021), where the batch has 128
images. Differences from the public code: a ReLU repeated on the same tensor counts once, so that a
network that shares it and one that does not score alike; K without full rank gives -inf (also
where rounding would leave a finite logarithm).
"""

import torch

from raynas.proxies.proxy import WORST
from raynas.proxies.trace import Need, Trace, TracedProxy


def _naswot(trace: Trace) -> float:
    if trace.agreement is None or not bool(trace.agreement.isfinite().all()):
        return WORST
    eigenvalues = torch.linalg.eigvalsh(trace.agreement)
    smallest, largest = float(eigenvalues[0]), float(eigenvalues[-1])
    if smallest <= largest * len(eigenvalues) * torch.finfo(torch.float64).eps:
        return WORST
    return float(eigenvalues.log().sum())


naswot = TracedProxy(_naswot, Need.CODES)
"""log det K, K = Σ c cᵀ + (1 - c)(1 - c)ᵀ over ReLUs on a path from the images to the logits; c is
1 where an image leaves the unit on. A network without ReLUs scores -inf."""
