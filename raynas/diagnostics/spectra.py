"""Figures of a symmetric matrix that is known by its products: trace, spectrum, shape."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from raynas.supernets.curvature import Product


class Shape(NamedTuple):
    """What a Hessian looks like.

    Attributes:
        largest: Its largest eigenvalue.
        spectrum: All eigenvalues, ascending.
        condition: Largest by smallest absolute eigenvalue; inf where the smallest is 0.
        diagonal: Its diagonal.
        off_diagonal: Share of the absolute entries that is beside the diagonal, 0 to 1.
    """

    largest: float
    spectrum: list[float]
    condition: float
    diagonal: list[float]
    off_diagonal: float


def shape_of(matrix: Tensor) -> Shape:
    """Return the figures of a symmetric `n x n` float64 matrix."""
    values = torch.linalg.eigvalsh(matrix)
    sizes, total = values.abs(), float(matrix.abs().sum())
    least = float(sizes.min())
    diagonal = matrix.diagonal()
    beside = total - float(diagonal.abs().sum())
    return Shape(
        float(values[-1]),
        values.tolist(),
        float(sizes.max()) / least if least > 0 else float("inf"),
        diagonal.tolist(),
        beside / total if total > 0 else 0.0,
    )


def contrasts(counts: Sequence[int]) -> Tensor:
    """Return an orthonormal basis of what a softmax of each row can see, `n x (n - rows)` float64.

    Adding a number to all of a row changes no softmax; along those directions the Hessian by α
    holds nothing but weight decay.

    Args:
        counts: Entries of each row; they follow each other in the vector of n.
    """
    blocks = []
    for count in counts:
        centred = torch.eye(count, dtype=torch.float64) - 1 / count
        basis, _, _ = torch.linalg.svd(centred)
        blocks.append(basis[:, : count - 1])
    size, rank = sum(counts), sum(counts) - len(counts)
    whole = torch.zeros(size, rank, dtype=torch.float64)
    row = column = 0
    for block in blocks:
        height, width = block.shape
        whole[row : row + height, column : column + width] = block
        row, column = row + height, column + width
    return whole


class TraceEstimate(NamedTuple):
    """A trace from random probes.

    Attributes:
        trace: The mean over probes.
        error: Its standard error.
        diagonal: `n` float64, estimate of each diagonal entry; they add up to the trace.
    """

    trace: float
    error: float
    diagonal: Tensor


def hutchinson(
    product: Product, size: int, probes: int, generator: torch.Generator
) -> TraceEstimate:
    """Estimate the trace of a symmetric matrix: the mean of ``vᵀ H v`` over random signs v.

    Hutchinson, "A stochastic estimator of the trace of the influence matrix", 1989. Its variance
    comes from what is beside the diagonal alone, so it is exact for a diagonal matrix.

    Args:
        product: With the matrix.
        size: n.
        probes: Vectors drawn; 2 or more.
        generator: On the CPU.
    """
    parts = []
    for _ in range(probes):
        signs = torch.randint(0, 2, (size,), generator=generator).double() * 2 - 1
        parts.append(signs * product(signs).double().cpu())
    table = torch.stack(parts)
    sums = table.sum(dim=1)
    return TraceEstimate(float(sums.mean()), float(sums.std() / probes**0.5), table.mean(dim=0))
