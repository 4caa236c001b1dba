"""PASHA: ASHA with a ladder that grows only as long as longer training changes the ranking.

Bohdal et al., *PASHA: Efficient HPO and NAS with Progressive Resource Allocation*, ICLR 2023. The
search starts with the two lowest levels. Where those that reached the top of the ladder are ranked
there otherwise than one level below, by more than noise, the ladder grows by a level. It may end
below the full length: the answer is then the best of the highest level reached. With one or two
levels there is nothing to grow, and it is ASHA.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from raynas.errors import ConfigError
from raynas.scheduling.asha import AshaPolicy
from raynas.scheduling.budget import Budget
from raynas.scheduling.candidate import Candidate
from raynas.scheduling.pool import Pool

_NOISE_PERCENTILE = 90
"""The paper's N."""


class PashaPolicy(AshaPolicy):
    """PASHA as a function of the pool: it keeps no state, so nothing of it can be lost.

    The rule is the paper's soft ranking: the two rankings agree if the candidate at each place of
    the upper one is, in accuracy at the level below, within ε of the candidate at that place of
    the lower one. ε is the paper's estimate: the 90th percentile of the distance in accuracy
    between two candidates whose learning curves crossed and crossed back, at the top of the
    ladder; where no such pair got there, at the next level below where one did; else 0.

    Two details differ, so that a resume gives the same ladder: curves count once their candidate
    has finished the level, and the ladder has grown for good once a job sets out for its new top
    (until then the ranking may yet agree again).

    End rule: as `AshaPolicy`, up to the top of the ladder.

    Args:
        epochs_per_level: Training length of each level (the paper's rungs), increasing.
        budget: What the whole search may spend; the policy is its one owner.
        promote_fraction: One over the paper's η, in (0, 1): share of a level that may move up.
        per_round: Newcomers that are proposed together (see `AshaPolicy`).
        initial: Newcomers of the first round (default ``2 * per_round``).
        max_pool: Most architectures ever admitted (the paper's stopping rule; None: what the
            budget affords).
        epsilon: The paper's ε, an accuracy as a fraction: a fixed one in place of the estimate (0
            compares plain rankings).
    """

    def __init__(
        self,
        epochs_per_level: Sequence[int],
        budget: Budget,
        *,
        promote_fraction: float = 1 / 3,
        per_round: int = 5,
        initial: int | None = None,
        max_pool: int | None = None,
        epsilon: float | None = None,
    ) -> None:
        super().__init__(
            epochs_per_level,
            budget,
            promote_fraction=promote_fraction,
            per_round=per_round,
            initial=initial,
            max_pool=max_pool,
        )
        if epsilon is not None and not 0 <= epsilon < 1:
            raise ConfigError(f"epsilon: {epsilon:g} must be an accuracy from 0 to below 1")
        self.epsilon = epsilon
        # A cache, not state: whether the rankings agreed when this was what the pool held.
        self._agreed: tuple[Pool, list[int], bool] | None = None

    def _top(self, pool: Pool) -> int:
        top = 2
        for level in range(3, pool.num_levels + 1):
            if pool.reached(level) or pool.heading(level):
                top = level
        if top < pool.num_levels and not self._rankings_agree(pool, top):
            top += 1
        return min(top, pool.num_levels)

    def _rankings_agree(self, pool: Pool, top: int) -> bool:
        # Who has finished levels 2 to the top decides, and nobody else.
        facts = [top, *pool.population()[1:top]]
        if self._agreed is None or self._agreed[0] is not pool or self._agreed[1] != facts:
            self._agreed = pool, facts, self._compare(pool, top)
        return self._agreed[2]

    def _compare(self, pool: Pool, top: int) -> bool:
        upper = _finishers(pool, top)
        upper.sort(key=lambda c: c.rank_key(top))
        lower = sorted(upper, key=lambda c: c.rank_key(top - 1))
        shift = max(
            (
                abs(here.level_accuracy[top - 2] - there.level_accuracy[top - 2])
                for here, there in zip(upper, lower, strict=True)
            ),
            default=0.0,
        )
        return shift == 0 or shift <= self._noise(pool, top)

    def _noise(self, pool: Pool, top: int) -> float:
        if self.epsilon is not None:
            return self.epsilon
        for level in range(top, 1, -1):
            distances = crossing_distances(learning_curves(pool, level))
            if len(distances):
                return float(np.percentile(distances, _NOISE_PERCENTILE))
        return 0.0


def learning_curves(pool: Pool, level: int) -> NDArray[np.float64]:
    """Return the accuracies of those that reached `level`, up to its last epoch.

    Returns:
        ``(candidates, epochs)``, of the epochs that every one of them reported.
    """
    finishers = _finishers(pool, level)
    last = pool.epochs_per_level[level - 1]
    if not finishers:
        return np.empty((0, 0))
    common = set.intersection(*(set(candidate.metrics) for candidate in finishers))
    epochs = sorted(epoch for epoch in common if epoch <= last)
    return np.array([[c.metrics[epoch]["accuracy"] for epoch in epochs] for c in finishers])


def crossing_distances(curves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the last distance of each pair of curves that crossed and crossed back.

    The better of the two at the last epoch was the worse at an earlier one, and the better again
    at one before that: which of them is better is then taken for noise.

    Args:
        curves: ``(candidates, epochs)``.
    """
    first, second = np.triu_indices(len(curves), k=1)
    if not len(first) or curves.shape[1] < 3:
        return np.empty(0)
    gaps = curves[first, -1] - curves[second, -1]
    ends = np.sign(gaps)
    crossed = np.zeros(len(gaps), dtype=bool)
    crossed_back = np.zeros(len(gaps), dtype=bool)
    for epoch in range(curves.shape[1] - 2, -1, -1):
        signs = np.sign(curves[first, epoch] - curves[second, epoch])
        crossed_back |= crossed & (signs == ends)
        crossed |= signs == -ends
    distances: NDArray[np.float64] = np.abs(gaps[crossed_back & (ends != 0)])
    return distances


def _finishers(pool: Pool, level: int) -> list[Candidate]:
    return [pool[i] for i in sorted(pool.reached_ids(level))]
