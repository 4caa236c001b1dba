"""ntk: how evenly gradient descent can fit the images of the batch.

The condition number of the neural tangent kernel, Chen et al., "Neural Architecture Search on
ImageNet in Four GPU Hours" (TE-NAS, ICLR 2021), where lower is better: the sign is turned here.
Differences from the public code: weights of convolutions and linear layers only; the network as
given, initialised once (there, the mean of three re-initialisations of one with 3 channels and a
cell per stage); symmetric eigenvalues in float64; a singular kernel gives -inf.
"""

import math

import torch

from raynas.proxies.proxy import WORST
from raynas.proxies.trace import Need, Trace, TracedProxy

_LARGEST = 1e12
"""Condition number from which on the gradients, in float32, do not tell a kernel from a singular
one: their relative rounding squared, about 1e-14, times a hundred images."""


def _ntk(trace: Trace) -> float:
    if trace.tangent_kernel is None or not bool(trace.tangent_kernel.isfinite().all()):
        return WORST
    eigenvalues = torch.linalg.eigvalsh(trace.tangent_kernel)
    smallest, largest = float(eigenvalues[0]), float(eigenvalues[-1])
    if smallest * _LARGEST <= largest:
        return WORST
    return -math.log(largest / smallest)


ntk = TracedProxy(_ntk, Need.TANGENT_KERNEL)
"""-log(λ_max / λ_min), λ the eigenvalues of Θ_ij = ⟨J_i, J_j⟩, where J_i is the gradient of the sum
of image i's logits in the forward pass of the whole batch. It passes through the batch's statistics
to every image, so each J_i costs a backward pass of the batch: with B images, more than B times
what the other proxies cost together. Small batches are wise."""
