"""PASHA's question, answered as a pool grows: does longer training still change the ranking?

Bohdal et al., *PASHA*, ICLR 2023: the soft ranking, and the estimate of its ε from learning curves.
The answer is that of the definition over the whole pool; what is kept from one question to the next
only spares reading it anew, and is made again from any pool.
"""

import bisect
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from raynas.scheduling.candidate import Candidate
from raynas.scheduling.pool import Pool

Floats = NDArray[np.float64]

_NOISE_PERCENTILE = 90
"""The paper's N."""
_ROOM = 64
"""Rows the arrays begin with; they double as they fill."""


class SoftRanking:
    """Whether those that reached a level are ranked there as they were one level below.

    Args:
        pool: The pool that is asked about, which may grow.
        epsilon: The paper's ε, an accuracy; None: estimated from curves that crossed and crossed
            back, at the level itself; where no such pair got there, at the next level below where
            one did; else 0.
    """

    def __init__(self, pool: Pool, epsilon: float | None) -> None:
        self.pool = pool
        self._epsilon = epsilon
        self._shifts: dict[int, _Shift] = {}
        self._noises: dict[int, _Noise] = {}
        self._last: tuple[list[int], bool] | None = None

    def agrees(self, level: int) -> bool:
        """Return whether no place of `level` (2 or more) has moved by more than ε."""
        # Who has finished levels 2 to this one decides, and nobody else.
        facts = [level, *self.pool.population()[1:level]]
        if self._last is None or self._last[0] != facts:
            shift = self._shifts.setdefault(level, _Shift(level)).of(self.pool)
            self._last = facts, shift == 0 or shift <= self._noise(level)
        return self._last[1]

    def _noise(self, level: int) -> float:
        if self._epsilon is not None:
            return self._epsilon
        for below in range(level, 1, -1):
            noise = self._noises.setdefault(below, _Noise(below)).of(self.pool)
            if noise is not None:
                return noise
        return 0.0


class _Shift:
    """The largest distance, in accuracy at the level below, between two that hold one place."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._here = _Column(level)
        self._below = _Column(level - 1)
        self._size = 0

    def of(self, pool: Pool) -> float:
        for candidate_id in pool.reached_ids(self._level)[self._size :]:
            accuracy = pool[candidate_id].level_accuracy[self._level - 2]
            self._here.insert(pool[candidate_id], accuracy)
            self._below.insert(pool[candidate_id], accuracy)
            self._size += 1
        gaps = np.abs(self._here.values() - self._below.values())
        return float(gaps.max(initial=0.0))


class _Column:
    """One number of each candidate, in the order of their ranks at a level."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._keys: list[tuple[float, float, int]] = []
        self._numbers: Floats = np.empty(_ROOM)

    def values(self) -> Floats:
        return self._numbers[: len(self._keys)]

    def insert(self, candidate: Candidate, number: float) -> None:
        key, size = candidate.rank_key(self._level), len(self._keys)
        self._numbers = _with_room(self._numbers, size + 1)
        place = bisect.bisect(self._keys, key)
        self._keys.insert(place, key)
        self._numbers[place + 1 : size + 1] = self._numbers[place:size]
        self._numbers[place] = number


class _Noise:
    """ε as estimated at one level: None while no two curves crossed and crossed back."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._seen = 0
        self._epochs: list[int] = []
        self._curves: CurvesThatCross | None = None

    def of(self, pool: Pool) -> float | None:
        finishers = [pool[i] for i in pool.reached_ids(self._level)[self._seen :]]
        last = pool.epochs_per_level[self._level - 1]
        if any(epoch not in c.metrics for c in finishers for epoch in self._epochs):
            # Only epochs that all reported can be compared: there are fewer now.
            finishers, self._seen, self._curves = self._all(pool), 0, None
        if self._curves is None and finishers:
            common = set.intersection(*(set(c.metrics) for c in finishers))
            self._epochs = sorted(epoch for epoch in common if epoch <= last)
            self._curves = CurvesThatCross(len(self._epochs))
        for candidate in finishers:
            assert self._curves is not None
            self._curves.add([candidate.metrics[epoch]["accuracy"] for epoch in self._epochs])
            self._seen += 1
        return None if self._curves is None else self._curves.percentile(_NOISE_PERCENTILE)

    def _all(self, pool: Pool) -> list[Candidate]:
        return [pool[i] for i in pool.reached_ids(self._level)]


class CurvesThatCross:
    """Learning curves, and how far apart those ended that crossed and crossed back.

    The better of two at the last epoch was the worse at an earlier one, and the better again at
    one before that: which of them is better is then taken for noise.

    Args:
        num_epochs: Accuracies of each.
    """

    def __init__(self, num_epochs: int) -> None:
        self._curves: Floats = np.empty((_ROOM, num_epochs))
        self._size = 0
        self._distances = GrowingPercentile()

    def add(self, accuracies: Sequence[float]) -> None:
        """Take in one more curve: its accuracies, by epoch."""
        curve = np.asarray(accuracies)
        if len(curve) >= 3:
            self._distances.add(self._to(curve))
        self._curves = _with_room(self._curves, self._size + 1)
        self._curves[self._size] = curve
        self._size += 1

    def percentile(self, percent: float) -> float | None:
        """Return a percentile of the distances; None if there are none."""
        return self._distances.percentile(percent)

    def _to(self, curve: Floats) -> Floats:
        """Return the distances of those before that it crossed and crossed back."""
        gaps = self._curves[: self._size] - curve
        signs = np.sign(gaps).astype(np.int8)
        ends = signs[:, -1:]
        crossed = (signs == -ends) & (ends != 0)
        last_crossed = signs.shape[1] - 1 - np.argmax(crossed[:, ::-1], axis=1)
        first_as_at_the_end = np.argmax(signs == ends, axis=1)
        both = crossed.any(axis=1) & (first_as_at_the_end < last_crossed)
        distances: Floats = np.abs(gaps[both, -1])
        return distances


class GrowingPercentile:
    """A percentile of numbers that become more and more: numpy's, without sorting all each time.

    Beside all numbers it holds a window of those near the percentile, and how many lie below. It is
    cut anew when the percentile leaves it, and whenever the numbers have doubled.
    """

    _ALL = 2_000
    """Up to that many the window is everything."""
    _REACH = 3.0
    """How far a new window reaches to either side, in roots of how many numbers there are: a few
    times as far as the percentile of a random sample strays."""

    def __init__(self) -> None:
        self._numbers: Floats = np.empty(_ROOM)
        self._size = 0
        self._low, self._high = -math.inf, math.inf
        self._below = 0
        self._window: Floats = np.empty(0)
        self._cut_of = 0

    def add(self, numbers: Floats) -> None:
        """Take in numbers (finite)."""
        size = self._size + len(numbers)
        self._numbers = _with_room(self._numbers, size)
        self._numbers[self._size : size] = numbers
        self._size = size
        inside = numbers[(numbers >= self._low) & (numbers <= self._high)]
        self._below += int(np.count_nonzero(numbers < self._low))
        self._window = np.concatenate([self._window, inside])

    def percentile(self, percent: float) -> float | None:
        """Return `np.percentile` of all numbers; None if there are none."""
        if not self._size:
            return None
        place = (self._size - 1) * (percent / 100)
        lower = math.floor(place)
        upper = min(lower + 1, self._size - 1)
        inside = self._below <= lower <= upper < self._below + len(self._window)
        if not inside or self._size > max(self._ALL, 2 * self._cut_of):
            self._cut(place)
        places = [lower - self._below, upper - self._below]
        one, other = np.partition(self._window, places)[places].tolist()
        # Interpolated from the nearer of the two, as numpy does.
        share, gap = place - lower, other - one
        return float(one + gap * share if share < 0.5 else other - gap * (1 - share))

    def _cut(self, place: float) -> None:
        numbers, reach = self._numbers[: self._size], self._REACH * math.sqrt(self._size)
        first = max(0, math.floor(place - reach))
        last = min(self._size - 1, math.floor(place + reach) + 1)
        self._low, self._high = np.partition(numbers, [first, last])[[first, last]].tolist()
        self._cut_of = self._size
        self._below = int(np.count_nonzero(numbers < self._low))
        self._window = numbers[(numbers >= self._low) & (numbers <= self._high)]


def _with_room(array: Floats, size: int) -> Floats:
    """Return the array, or a copy of at least twice its length if it has not `size` rows."""
    if size <= len(array):
        return array
    larger = np.empty((max(size, 2 * len(array)), *array.shape[1:]))
    larger[: len(array)] = array
    return larger
