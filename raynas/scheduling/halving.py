"""Successive halving and Hyperband: cohorts of newcomers, of which ever fewer train ever longer.

Successive halving (Jamieson and Talwalkar, AISTATS 2016) trains a cohort to a first level, the
best share of it to the next, and so on; losers are out for good. Hyperband (Li et al., JMLR 2018)
cycles through cohorts ("brackets") that start at different levels. What NOSH is compared with.

One cohort at a time, each level finished before the next: the pool that comes out is the same on
any number of workers. A cohort is a proposal round, so all there is to know of it is in the pool.
"""

import math
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence

from raynas.scheduling.budget import Budget, Unit, epochs_between, quotas
from raynas.scheduling.candidate import Candidate, Status
from raynas.scheduling.ladder import Ladder, checked_ladder
from raynas.scheduling.policy import Job, SchedulingPolicy
from raynas.scheduling.pool import Pool

_FIRST_COHORT = 10
"""Newcomers of the first cohort where only training can tell what a time budget affords."""


class _CohortPolicy(SchedulingPolicy):
    """Cohorts one after the other; subclasses say where each starts and how large it is.

    Of a cohort of n that starts at level i, ``q_i = n`` train to level i and
    ``q_{k+1} = max(1, floor(r * q_k))`` of those best at level k to the next. A failed candidate
    ranks below all others. A cohort is as large as fits the budget with all its promotions.
    """

    def __init__(self, ladder: Ladder, promote_fraction: float) -> None:
        self.epochs_per_level = ladder.epochs_per_level
        self.budget = ladder.budget
        self.promote_fraction = promote_fraction
        self._ladder = ladder
        # A cache, not state: who won at each level, until somebody else reaches it.
        self._won: dict[int, tuple[tuple[int, int], deque[Candidate]]] = {}
        self._won_in: Pool | None = None

    @abstractmethod
    def _first_level(self, round_number: int) -> int:
        """Return the level to which the newcomers of a cohort train at once."""

    @abstractmethod
    def _largest(self, pool: Pool) -> int:
        """Return the size of the next cohort, were the budget without end."""

    # -- the two decisions ---------------------------------------------------------------------

    def next_jobs(self, pool: Pool, free_slots: int) -> list[Job]:
        """Return the jobs of the cohort's level in training; at the very end, the end rule's."""
        jobs = self._cohort_jobs(pool, free_slots)
        if jobs or pool.num_in_flight or self._next_size(pool):
            return jobs
        return self._ladder.lift(pool, self._ladder.goal(pool), slots=free_slots)

    def wants(self, pool: Pool) -> int:
        """Return the next cohort's size once the last has ended, as far as the budget goes."""
        if pool.num_in_flight or self._cohort_jobs(pool, 1):
            return 0
        return self._next_size(pool)

    def may_continue(self, pool: Pool, candidate: Candidate) -> bool:
        """Stop a running candidate at the last epoch a time budget allows."""
        return self.budget.allows_next_epoch(pool, candidate)

    # -- parts ---------------------------------------------------------------------------------

    def _cohort_jobs(self, pool: Pool, free_slots: int) -> list[Job]:
        """Offer what is left of the lowest unfinished level; a level in training is a barrier."""
        if not len(pool):
            return []
        goal = self._ladder.goal(pool)
        first = self._first_level(pool[len(pool) - 1].round)
        to_epoch = self.epochs_per_level[first - 1]
        newcomers = (Job.of(candidate, to_epoch) for candidate in pool.first_waiting())
        jobs = self._ladder.fitting(pool, newcomers, goal, slots=free_slots)
        for level in range(first, pool.num_levels):
            if jobs or pool.heading(level):
                break
            to_epoch = self.epochs_per_level[level]
            resting = (
                Job.of(candidate, to_epoch)
                for candidate in self._winners(pool, level)
                if candidate.status is Status.PAUSED
            )
            jobs = self._ladder.fitting(pool, resting, goal, slots=free_slots)
        return jobs

    def _winners(self, pool: Pool, level: int) -> Iterator[Candidate]:
        """Yield those of the latest cohort that may still train beyond `level`, best first."""
        if self._won_in is not pool:
            self._won, self._won_in = {}, pool
        facts = (len(pool), pool.reached(level))
        if level not in self._won or self._won[level][0] != facts:
            cohort = pool.round_of(pool[len(pool) - 1])
            first = self._first_level(cohort[0].round)
            places = self._places(len(cohort), level + 2 - first)[-1]
            finishers = [candidate for candidate in cohort if candidate.level >= level]
            finishers.sort(key=lambda c: c.rank_key(level))
            self._won[level] = facts, deque(finishers[:places])
        winners = self._won[level][1]
        while winners and _has_left(winners[0], level):
            winners.popleft()
        return (winner for winner in winners if not _has_left(winner, level))

    def _places(self, size: int, num_levels: int) -> list[int]:
        return [max(1, count) for count in quotas(size, self.promote_fraction, num_levels)]

    def _next_size(self, pool: Pool) -> int:
        """Return the size of the next cohort that the budget affords up to the goal (0: none)."""
        if pool.exhausted or pool.num_waiting:
            return 0
        first, goal = self._first_level(pool.rounds), self._ladder.goal(pool)
        if first > goal:
            return 0
        left = self.budget.epochs_left(pool)
        low, high = 0, min(self._largest(pool), left // self.epochs_per_level[first - 1])
        while low < high:
            middle = (low + high + 1) // 2
            fits = self._cost(middle, first, goal) <= left
            low, high = (middle, high) if fits else (low, middle - 1)
        return low

    def _cost(self, size: int, first: int, goal: int) -> int:
        """Return the epochs of a cohort from level `first` to `goal`.

        Under a wall-clock budget a level lasts as long with one candidate as with one for each
        worker: an idle worker's epochs are spent too.
        """
        abreast = self.budget.workers if self.budget.unit is Unit.WALL_S else 1
        levels = self.epochs_per_level[first - 1 : goal]
        counts = self._places(size, len(levels))
        return sum(
            math.ceil(count / abreast) * abreast * step
            for count, step in zip(counts, epochs_between(levels), strict=True)
        )


def _has_left(candidate: Candidate, level: int) -> bool:
    """Return whether a candidate that reached `level` will never rest there again."""
    return candidate.level > level or candidate.status is Status.FAILED


class SuccessiveHalvingPolicy(_CohortPolicy):
    """Successive halving: the best share of a cohort moves up, its losers are out for good.

    End rule: a cohort is asked for only if the budget affords one of its members the whole way to
    the top (or, where it cannot afford even that, to the highest level it can pay). If failures
    leave nobody there, the best loser is lifted as high as what is left allows.

    Args:
        epochs_per_level: Training length of each level, increasing.
        budget: What the whole search may spend; the policy is its one owner.
        promote_fraction: One over the paper's η, in (0, 1): share of a level that moves up, at
            least one.
        cohort: Newcomers of a cohort; the last ones shrink to what fits. None makes the whole
            budget one cohort. (What a time budget affords is known only after some training:
            then ten newcomers, or one for each worker if those are more, go ahead of it as a
            cohort of their own.)
    """

    def __init__(
        self,
        epochs_per_level: Sequence[int],
        budget: Budget,
        *,
        promote_fraction: float = 1 / 3,
        cohort: int | None = None,
    ) -> None:
        ladder = checked_ladder(epochs_per_level, budget, promote_fraction, cohort=cohort)
        super().__init__(ladder, promote_fraction)
        self.cohort = cohort

    def _first_level(self, round_number: int) -> int:
        return 1

    def _largest(self, pool: Pool) -> int:
        if self.cohort is not None:
            return self.cohort
        if self.budget.unit is not Unit.EPOCHS and pool.time_s <= 0:
            return max(_FIRST_COHORT, self.budget.workers)
        return self.budget.epochs_left(pool)


class HyperbandPolicy(_CohortPolicy):
    """Hyperband: cohorts that start at level 1, 2, … up to the last, and again from level 1.

    Bracket s = N - i starts at level i of N with ``n_s = ceil(N / (s + 1) * η^s)`` newcomers, as
    in the paper, whose levels are the powers of η; other levels keep the same numbers. The
    paper counts a promotion from epoch 0, here it resumes and costs the difference. Where the
    budget is too small for the last level, N is the highest level it can pay.

    End rule: as `SuccessiveHalvingPolicy`; the last cohort shrinks to what fits.

    Args:
        epochs_per_level: Training length of each level, increasing.
        budget: What the whole search may spend; the policy is its one owner.
        promote_fraction: One over the paper's η, in (0, 1): share of a level that moves up, at
            least one.
    """

    def __init__(
        self,
        epochs_per_level: Sequence[int],
        budget: Budget,
        *,
        promote_fraction: float = 1 / 3,
    ) -> None:
        ladder = checked_ladder(epochs_per_level, budget, promote_fraction)
        super().__init__(ladder, promote_fraction)
        self.num_brackets = ladder.goal(Pool(ladder.epochs_per_level))

    def _first_level(self, round_number: int) -> int:
        return 1 + round_number % self.num_brackets

    def _largest(self, pool: Pool) -> int:
        above = self.num_brackets - self._first_level(pool.rounds)
        size = self.num_brackets / (above + 1) / self.promote_fraction**above
        return math.ceil(size - 1e-9)  # the nudge keeps 9.000000000000002 from becoming 10
