"""naswot and linear_regions: how the images of the batch differ in the ReLUs they switch on.

naswot is Mellor et al., "Neural Architecture Search without Training" (ICML 2021), where the batch
has 128 images. Differences from the public code: a ReLU repeated on the same tensor counts once, so
that a network that shares it and one that does not score alike; K without full rank gives -inf
(also where rounding would leave a finite logarithm).

linear_regions is Chen et al., "Neural Architecture Search on ImageNet in Four GPU Hours" (TE-NAS,
ICLR 2021). There, 3 x 1000 images of one channel and 3 x 3 pixels pass through networks of one
channel, three times re-initialised; here it is the network and batch given, where most codes of
most networks differ, and networks tie. The codes themselves are not kept: two images have the same
if they agree on every unit, which naswot's matrix tells, and that is B x B whatever the network.
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


def _linear_regions(trace: Trace) -> float:
    if trace.agreement is None:
        return 1.0  # no ReLU: one linear function
    if not bool(trace.agreement.isfinite().all()):
        return WORST
    same = trace.agreement == trace.agreement.diagonal()
    return float((1 / same.sum(dim=1, dtype=torch.float64)).sum())


linear_regions = TracedProxy(_linear_regions, Need.CODES)
"""Σ over images of 1 / (images with the same code): the number of different codes among them."""
