"""Fronts that grow by one point at a time: what `pareto.fronts` gives, without sorting anew.

A newcomer's front is the first in which nobody dominates it, found by bisection (whoever a front
dominates, all better fronts dominate). Those of that front it dominates move to the next one, where
they may push others on, and so on: Li et al., "Efficient Nondomination Level Update Method for
Steady-State Evolutionary Multiobjective Optimization", IEEE Trans. Cybernetics 47(9), 2017.

Shapes: N points, M values each, higher is better.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from raynas.scheduling.pareto import Floats, Indices, best_first, fronts

_ROOM = 64
"""Rows the arrays begin with; they double as they fill."""


class GrowingFronts:
    """The fronts of a growing set of points; ties are settled by a sort key.

    Args:
        width: M.
        key_width: Numbers in a sort key.
    """

    def __init__(self, width: int, key_width: int) -> None:
        self._size = 0
        self._values = np.empty((_ROOM, width))
        self._keys = np.empty((_ROOM, key_width))
        self._gone: NDArray[np.bool_] = np.zeros(_ROOM, dtype=bool)
        self._fronts: list[Indices] = []
        self._orders: list[list[int] | None] = []

    def __len__(self) -> int:
        return self._size

    def start(self, values_NM: Floats, keys_NK: Floats) -> None:
        """Take in the first points, all at once."""
        for values, key in zip(values_NM, keys_NK, strict=True):
            self._append(values, key)
        self._fronts = list(fronts(self._values[: self._size])) if self._size else []
        self._orders = [None] * len(self._fronts)

    def add(self, values: Sequence[float], key: Sequence[float]) -> None:
        """Take in one more point; its number is the count of those before it."""
        incoming = np.array([self._append(values, key)])
        number = self._first_open(self._values[incoming[0]])
        while incoming.size:
            if number == len(self._fronts):
                self._fronts.append(incoming)
                self._orders.append(None)
                return
            here = self._fronts[number]
            pushed = _dominated(self._values[here], self._values[incoming])
            self._fronts[number] = np.concatenate([here[~pushed], incoming])
            self._orders[number] = None
            incoming = here[pushed]
            number += 1

    def leave(self, point: int) -> None:
        """Leave a point out of `remaining`; it goes on dominating."""
        self._gone[point] = True

    def remaining(self) -> Iterator[int]:
        """Yield the points that have not left: by front, the loneliest first, then by key."""
        for number, front in enumerate(self._fronts):
            if self._gone[front].all():
                continue
            order = self._orders[number]
            if order is None:
                by_key = front[np.lexsort(self._keys[front].T[::-1])]
                order = [int(by_key[i]) for i in best_first(self._values[by_key])]
                self._orders[number] = order
            yield from (point for point in order if not self._gone[point])

    def _append(self, values: Sequence[float] | Floats, key: Sequence[float] | Floats) -> int:
        if self._size == len(self._gone):
            self._values = np.concatenate([self._values, np.empty_like(self._values)])
            self._keys = np.concatenate([self._keys, np.empty_like(self._keys)])
            self._gone = np.concatenate([self._gone, np.zeros_like(self._gone)])
        self._values[self._size] = values
        self._keys[self._size] = key
        self._size += 1
        return self._size - 1

    def _first_open(self, values: Floats) -> int:
        """Return the number of the first front in which nobody dominates a point."""
        low, high = 0, len(self._fronts)
        while low < high:
            middle = (low + high) // 2
            closed = _dominated(values[None], self._values[self._fronts[middle]])[0]
            low, high = (middle + 1, high) if closed else (low, middle)
        return low


def _dominated(values_NM: Floats, by_KM: Floats) -> NDArray[np.bool_]:
    """Return for each of N points whether any of K others dominates it."""
    at_least = np.all(by_KM[None] >= values_NM[:, None], axis=2)
    better = np.any(by_KM[None] > values_NM[:, None], axis=2)
    found: NDArray[np.bool_] = np.any(at_least & better, axis=1)
    return found
