"""Non-dominated sorting: who goes before whom where several things count.

Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", 2002: by front first,
within a front by crowding distance, so that what is picked spreads over the trade-off.

Everything here is higher-is-better: a cost enters negated. Shapes: N points, M values each.
"""

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


def fronts(values_NM: Floats) -> Iterator[Indices]:
    """Yield the fronts, best first, each as ascending indices; equal points share a front.

    A point is dominated by one that is at least as good in everything and better in something.
    The first front is what nobody dominates, the next what only earlier fronts do. A front costs
    N comparisons for each of its members, so taking only the first ones is cheap.

    Args:
        values_NM: Finite.
    """
    left = np.lexsort(-values_NM.T[::-1])  # nobody is dominated by one that comes later
    while left.size:
        members, open_ = [], left
        while open_.size:
            best = values_NM[open_[0]]
            same = (values_NM[open_] == best).all(axis=1)
            members.append(open_[same])
            open_ = open_[(values_NM[open_] > best).any(axis=1)]
        front = np.sort(np.concatenate(members))
        yield front
        left = left[~np.isin(left, front)]


def crowding(values_NM: Floats) -> Floats:
    """Return the crowding distance of the members of one front, `N`.

    The sum over the values of the gap between a point's two neighbours, in units of the range;
    infinite for a point that is the best or worst in something. Of equal points only the first
    counts, the others have distance 0.
    """
    points_PM, first_P = np.unique(values_NM, axis=0, return_index=True)
    distance_P = np.zeros(len(points_PM))
    for column_P in points_PM.T:
        low, high = column_P.min(), column_P.max()
        order = np.argsort(column_P, kind="stable")
        inner = order[1:-1]
        if high > low:
            distance_P[inner] += (column_P[order[2:]] - column_P[order[:-2]]) / (high - low)
        distance_P[(column_P == low) | (column_P == high)] = np.inf
    distance_N = np.zeros(len(values_NM))
    distance_N[first_P] = distance_P
    return distance_N


def best_first(values_NM: Floats, count: int | None = None) -> list[int]:
    """Return the indices of the best `count` points (None: all), best first.

    By front, then by crowding distance, the loneliest first; ties stay in the order given.
    """
    if not len(values_NM):
        return []
    count = len(values_NM) if count is None else count
    order = itertools.chain.from_iterable(_loneliest_first(values_NM, f) for f in fronts(values_NM))
    return list(itertools.islice(order, count))


def _loneliest_first(values_NM: Floats, front: Indices) -> list[int]:
    order = np.argsort(-crowding(values_NM[front]), kind="stable")
    return [int(i) for i in front[order]]
