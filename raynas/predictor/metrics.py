"""How well one order agrees with another: Kendall's tau-b and Spearman's rho in plain NumPy.

`scipy.stats` has both, but takes seconds to import, and a predictor is needed in a second.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray


def average_ranks(values: ArrayLike) -> NDArray[np.float64]:
    """Return the rank of each value, 0 for the smallest; equal values share their mean rank."""
    _, inverse, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: NDArray[np.float64] = (last - (counts + 1) / 2)[inverse.reshape(-1)]
    return ranks


def kendall_tau(first: ArrayLike, second: ArrayLike) -> float:
    """Return Kendall's tau-b of two equally long sequences, in [-1, 1].

    O(n log² n). NaN if either is constant or there are fewer than two values.

    Kendall, "The treatment of ties in ranking problems", Biometrika 1945.
    """
    x, y = _dense_ranks(first), _dense_ranks(second)
    total = _num_pairs(np.array([len(x)]))
    ties_x, ties_y = (_num_pairs(np.bincount(ranks)) for ranks in (x, y))
    if total in (ties_x, ties_y):
        return math.nan
    both = _num_pairs(np.unique(x * (len(y) + 1) + y, return_counts=True)[1])
    # Sorted by x, then y, pairs tied in x are in order: only discordant ones are inverted.
    discordant = _count_inversions(y[np.lexsort((y, x))])
    concordant = total - ties_x - ties_y + both - discordant
    tau = (concordant - discordant) / math.sqrt(total - ties_x) / math.sqrt(total - ties_y)
    return max(-1.0, min(1.0, tau))


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Return Spearman's rho of two equally long sequences, in [-1, 1]; NaN as `kendall_tau`."""
    x, y = (ranks - ranks.mean() for ranks in (average_ranks(first), average_ranks(second)))
    norm = math.sqrt(float(x @ x) * float(y @ y))
    return max(-1.0, min(1.0, float(x @ y) / norm)) if norm > 0 else math.nan


def _num_pairs(sizes: NDArray[np.int64]) -> int:
    return int((sizes * (sizes - 1) // 2).sum())


def _dense_ranks(values: ArrayLike) -> NDArray[np.int64]:
    inverse = np.unique(np.asarray(values), return_inverse=True)[1].reshape(-1)
    return inverse.astype(np.int64)


def _count_inversions(ranks: NDArray[np.int64]) -> int:
    """Return how many pairs i < j have ``ranks[i] > ranks[j]`` (ranks are not negative).

    From the highest bit down, values are parted stably by that bit. A pair is inverted if and
    only if, at the highest bit where the two differ, the one with 1 stands before the one with 0.
    """
    inversions = 0
    for bit in reversed(range(int(ranks.max(initial=0)).bit_length())):
        ones = (ranks >> bit) & 1
        before = np.cumsum(ones) - ones
        prefix = ranks >> (bit + 1)
        first = np.flatnonzero(np.diff(prefix, prepend=-1))  # equal prefixes are contiguous
        at_start = np.repeat(before[first], np.diff(first, append=len(ranks)))
        inversions += int((before - at_start)[ones == 0].sum())
        ranks = ranks[np.argsort(ranks >> bit, kind="stable")]
    return inversions
