"""Weights alone are trained, with all ops weighing the same: selection has to do without α.

Wang et al., "Rethinking Architecture Selection in Differentiable NAS", ICLR 2021, §5.2 ("fixed α").
"""

import torch
from torch import Tensor

from raynas.supernets.method import Method


class FixedAlpha(Method):
    """α is exactly 0 and stays so."""

    def initial(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Return zeros."""
        return torch.zeros(shape)

    def trains_alpha(self, epoch: int, tuning: bool) -> bool:
        """Return False."""
        return False
