"""Dirichlet distributions over some of the columns of each row."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from raynas.supernets.mixture import Active


def draw_dirichlet(concentrations: Tensor, allowed: Active, generator: torch.Generator) -> Tensor:
    """Draw each row from ``Dir(c)``, with gradient along the path of the draw.

    Leaving columns out and scaling the others to sum to 1 gives the Dirichlet distribution over the
    others, so that is what is drawn from.

    Args:
        concentrations: `E x O`, positive.
        allowed: `E x O`: columns that take part; the others are exactly 0.
        generator: On the device of `concentrations`.
    """
    if allowed.all():
        return _draw(concentrations, generator)
    drawn = torch.zeros_like(concentrations)
    counts = allowed.sum(axis=1)
    for count in np.unique(counts):  # rows of equally many columns at a time
        rows = np.flatnonzero(counts == count)
        where = torch.from_numpy(rows)[:, None].to(concentrations.device)
        columns = np.nonzero(allowed[rows])[1].reshape(len(rows), count)
        places = (where, torch.from_numpy(columns).to(concentrations.device))
        drawn = drawn.index_put(places, _draw(concentrations[places], generator))
    return drawn


def divergence_from_uniform(concentrations: Tensor, allowed: Active) -> Tensor:
    """Return ``KL(Dir(c) || Dir(1))`` of each row over its allowed columns, `E`."""
    mask = torch.from_numpy(allowed).to(concentrations.device)
    c = torch.where(mask, concentrations, torch.ones_like(concentrations))
    count = mask.sum(dim=1).to(c)
    total = (c * mask).sum(dim=1)
    terms = (c - 1) * (torch.digamma(c) - torch.digamma(total)[:, None]) - torch.lgamma(c)
    return torch.lgamma(total) - torch.lgamma(count) + (terms * mask).sum(dim=1)


def _draw(concentrations: Tensor, generator: torch.Generator) -> Tensor:
    drawn: Tensor = _Draw.apply(concentrations, generator)  # type: ignore[no-untyped-call]
    return drawn


class _Draw(torch.autograd.Function):
    """Torch's own sampler and derivative; its `Dirichlet` takes no generator."""

    @staticmethod
    def forward(ctx: Any, concentrations: Tensor, generator: torch.Generator) -> Tensor:
        drawn = torch._sample_dirichlet(concentrations, generator=generator)
        ctx.save_for_backward(drawn, concentrations)
        return drawn

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        drawn, concentrations = ctx.saved_tensors
        total = concentrations.sum(dim=-1, keepdim=True).expand_as(concentrations)
        slope = torch._dirichlet_grad(drawn, concentrations, total)
        return slope * (gradient - (drawn * gradient).sum(dim=-1, keepdim=True)), None
