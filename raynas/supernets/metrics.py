"""What α looks like from outside: how sure it is of itself, and how much it favours skips."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from raynas.spaces.cell import NONE
from raynas.spaces.darts_ops import NOISE
from raynas.spaces.mixture import CellKind
from raynas.supernets.mixture import Mixture

SKIP = "skip_connect"
WITHOUT_PARAMETERS = frozenset({NONE, NOISE, SKIP, "max_pool_3x3", "avg_pool_3x3"})
"""Ops that learn nothing; all others count as parametric."""


def describe(kinds: Sequence[CellKind], mixture: Mixture) -> dict[str, Any]:
    """Return JSON values on a clean mixture, by name of the kind of cell.

    Returns:
        ``theta_entropy``: mean over edges of the entropy of a row, as a share of ``log O``; decided
        edges count 0, edges that are gone not at all. ``skip_gap``: `skip_gap`.
    """
    entropies, gaps = {}, {}
    for kind, weights, active in zip(kinds, mixture.weights, mixture.active, strict=True):
        rows = weights.detach().double().cpu() * torch.from_numpy(active)
        rows = rows[torch.from_numpy(active.any(axis=1))]
        entropy = torch.special.entr(rows).sum(dim=1) / math.log(kind.num_ops)
        entropies[kind.name] = float(entropy.mean()) if len(rows) else 0.0
        gaps[kind.name] = skip_gap(kind, weights)
    return {"theta_entropy": entropies, "skip_gap": gaps}


def skip_gap(kind: CellKind, theta: Tensor) -> float | None:
    """Return the mean over edges of θ of the skip less the mean θ of the parametric ops.

    It grows as a supernet trains (Wang et al., "Rethinking Architecture Selection in Differentiable
    NAS", ICLR 2021, §4). None if no edge has both.

    Args:
        kind: Whose ops they are.
        theta: `E x O` mixing weights.
    """
    gaps = []
    for ops, row in zip(kind.ops, theta.detach().double().cpu(), strict=True):
        parametric = [column for column, op in enumerate(ops) if op not in WITHOUT_PARAMETERS]
        if SKIP in ops and parametric:
            gaps.append(float(row[ops.index(SKIP)] - row[parametric].mean()))
    return sum(gaps) / len(gaps) if gaps else None
