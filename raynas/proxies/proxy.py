"""What a zero-cost proxy is (Protocol), and the table of ours. Higher is better, always.

A proxy scores a freshly initialised network from one batch of training images, without training
it. Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS" (ICLR 2021) compare most of them.

This module imports no torch, so that a config can be checked without it.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

WORST = -math.inf
"""The score of a network that cannot be scored: dead, or its score overflows (see `finite`)."""


class Proxy(Protocol):
    """Scores an untrained network; a plain function of yours will do.

    It may do as it likes with the network: `ProxySuite` hands yours a copy.
    """

    def __call__(self, network: "nn.Module", images: "Tensor", labels: "Tensor") -> float:
        """Return the score, higher is better.

        Args:
            network: Freshly initialised, in train mode.
            images: `B x C x H x W` floats.
            labels: `B` int64 classes.
        """
        ...


PROXIES: Mapping[str, str] = {
    "grad_norm": "raynas.proxies.gradient:grad_norm",
    "snip": "raynas.proxies.gradient:snip",
    "plain": "raynas.proxies.gradient:plain",
    "fisher": "raynas.proxies.gradient:fisher",
    "grasp": "raynas.proxies.hessian:grasp",
    "synflow": "raynas.proxies.synaptic:synflow",
    "synflow_bn": "raynas.proxies.synaptic:synflow_bn",
    "jacob_cov": "raynas.proxies.jacobian:jacob_cov",
    "naswot": "raynas.proxies.activation:naswot",
    "linear_regions": "raynas.proxies.activation:linear_regions",
    "ntk": "raynas.proxies.ntk:ntk",
    "params": "raynas.proxies.counts:params",
    "flops": "raynas.proxies.counts:flops",
    "depth": "raynas.proxies.counts:depth",
    "l2_norm": "raynas.proxies.counts:l2_norm",
}
"""Names a config may use, and what they stand for (resolved by `raynas.registry.lookup`)."""

DEFAULT_PROXIES = ("synflow", "jacob_cov", "snip")
"""The three whose majority orders NAS-Bench-201 best in the paper."""


def finite(score: float) -> float:
    """Return `score`, or `WORST` if it is NaN or infinite: no NaN ever reaches a ranking."""
    return score if math.isfinite(score) else WORST
