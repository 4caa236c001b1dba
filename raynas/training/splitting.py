"""Which images train, which validate, which are kept for the very end: stratified, by seed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def stratified_order(labels: NDArray[np.int64], rng: np.random.Generator) -> Indices:
    """Return a random order of which *every* prefix has about the class shares of the whole.

    A prefix of length k holds ``k * share`` of each class, to within one image, so one order
    serves for splits and for subsets of any size; smaller subsets lie within larger ones.

    Args:
        labels: `N` classes.
        rng: Decides everything else.
    """
    shuffled = rng.permutation(len(labels))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels[shuffled] == label)
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    order: Indices = shuffled[np.argsort(place, kind="stable")]
    return order


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """Indices of the parts of one array; disjoint, and together all of it."""

    train: Indices
    valid: Indices
    test: Indices


def cut(
    labels: NDArray[np.int64],
    rng: np.random.Generator,
    *,
    valid_fraction: float,
    test_fraction: float,
) -> Cut:
    """Cut off a test and a validation part (a fraction of 0 leaves that part empty).

    The test part comes first in the order, so it does not change with `valid_fraction`.
    """
    order = stratified_order(labels, rng)
    num_test = round(test_fraction * len(order))
    num_valid = round(valid_fraction * len(order))
    test, valid, train = np.split(order, [num_test, num_test + num_valid])
    return Cut(train=train, valid=valid, test=test)
