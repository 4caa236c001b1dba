"""PASHA: ASHA with a ladder that grows only as long as longer training changes the ranking.

Bohdal et al., *PASHA: Efficient HPO and NAS with Progressive Resource Allocation*, ICLR 2023. The
search starts with the two lowest levels. Where those that reached the top of the ladder are ranked
there otherwise than one level below, by more than noise, the ladder grows by a level. It may end
below the full length: the answer is then the best of the highest level reached. With one or two
levels there is nothing to grow, and it is ASHA.
"""

from collections.abc import Sequence

from raynas.errors import ConfigError
from raynas.scheduling.asha import AshaPolicy
from raynas.scheduling.budget import Budget
from raynas.scheduling.pool import Pool
from raynas.scheduling.soft_ranking import SoftRanking


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
        self._ranking: SoftRanking | None = None  # a cache, not state

    def _top(self, pool: Pool) -> int:
        top = 2
        for level in range(3, pool.num_levels + 1):
            if pool.reached(level) or pool.heading(level):
                top = level
        if top < pool.num_levels and not self._rankings_agree(pool, top):
            top += 1
        return min(top, pool.num_levels)

    def _rankings_agree(self, pool: Pool, top: int) -> bool:
        if self._ranking is None or self._ranking.pool is not pool:
            self._ranking = SoftRanking(pool, self.epsilon)
        return self._ranking.agrees(top)
