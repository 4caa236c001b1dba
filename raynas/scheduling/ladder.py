"""How high a budget can still lift somebody: the end rule of halving, Hyperband, ASHA and PASHA.

The answer of a search is the best of the highest level reached, so a search must not spend its
last epoch at the bottom. The *goal* is the highest level to which the budget can still pay one
candidate's way; a job is started only if a way to the goal stays paid for after it, and what was
held back lifts the best candidate, level by level, when a policy's own rule has nothing left to
do. A candidate that fails on its way is not insured: the goal falls to what the rest can pay.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice

from raynas.errors import ConfigError
from raynas.scheduling.budget import Budget, Unit
from raynas.scheduling.candidate import Candidate
from raynas.scheduling.policy import Job, check_levels
from raynas.scheduling.pool import Pool


@dataclass(frozen=True, slots=True)
class Ladder:
    """The levels, and the budget that pays for climbing them.

    Attributes:
        epochs_per_level: Training length of each level, increasing.
        budget: What the whole search may spend.
    """

    epochs_per_level: tuple[int, ...]
    budget: Budget

    @property
    def num_levels(self) -> int:
        """Number of levels above level 0."""
        return len(self.epochs_per_level)

    def epochs(self, level: int) -> int:
        """Return the epochs that `level` takes (0 for level 0)."""
        return self.epochs_per_level[level - 1] if level else 0

    def highest(self, pool: Pool) -> int:
        """Return the highest level that somebody who has not failed is at, or heads for."""
        top = self.num_levels
        if pool.reached(top) or pool.heading(top):  # at the top nobody can fail any more
            return top
        for level in range(top - 1, 0, -1):
            if pool.num_resting(level) or pool.heading(level):
                return level
        return 0

    def goal(self, pool: Pool, *, top: int | None = None, promised: int = 0) -> int:
        """Return the highest level, up to `top`, that the budget can still lift somebody to.

        Args:
            pool: The pool; who is nearest to the goal is asked for.
            top: Highest level that counts (None: the last one).
            promised: Epochs already spoken for, beyond those of committed jobs.
        """
        start = self.highest(pool)
        for level in range(top if top is not None else self.num_levels, start, -1):
            if self._pays(pool, start, level, promised):
                return level
        return start

    def fitting(
        self,
        pool: Pool,
        jobs: Iterable[Job],
        goal: int,
        *,
        slots: int,
        way_from: int = 0,
        promised: int = 0,
    ) -> list[Job]:
        """Return the first `slots` jobs that the budget affords with a way to `goal` after them.

        Args:
            pool: The pool.
            jobs: In order of preference; one that does not fit is passed over.
            goal: Level to which a way must stay paid for.
            slots: Most jobs to return.
            way_from: Epoch that somebody has reached or heads for, from where the way is
                reckoned; 0 makes every job keep a way for its own candidate.
            promised: Epochs already spoken for, beyond those of committed jobs.
        """
        side_by_side = self.budget.unit is Unit.WALL_S
        kept: list[Job] = []
        for job in jobs:
            if len(kept) >= slots:
                break
            candidate = pool[job.candidate_id]
            way = max(0, self.epochs(goal) - max(way_from, job.to_epoch))
            way = self._at_pace_of(candidate, pool, way)
            cost = job.num_epochs + way + (0 if side_by_side else promised)
            if self.budget.affords(pool, candidate, cost):
                kept.append(job)
                promised += job.num_epochs
                way_from = max(way_from, job.to_epoch)
        return kept

    def lift(self, pool: Pool, goal: int, *, slots: int) -> list[Job]:
        """Return the job that lifts the best candidate one level towards `goal`, if there is a way.

        For when nothing runs and a policy's own rule offers nothing: the end rule.
        """
        start = self.highest(pool)
        if not 0 < start < goal:
            return []
        to_epoch = self.epochs(start + 1)
        jobs = [Job.of(candidate, to_epoch) for candidate in self._nearest(pool, start)]
        return self.fitting(pool, jobs, goal, slots=min(1, slots))

    def _at_pace_of(self, candidate: Candidate, pool: Pool, way: int) -> int:
        """Return how many epochs of `candidate` the way is worth.

        A time budget takes a newcomer to be as slow as the slowest; should it be, somebody faster
        can be lifted in its place. One slow architecture must not keep all others from starting.
        """
        if self.budget.unit is Unit.EPOCHS or candidate.epochs or not pool.slowest_epoch_s:
            return way
        mean_epoch_s = pool.time_s / pool.spent_epochs
        return min(way, math.ceil(way * mean_epoch_s / pool.slowest_epoch_s - 1e-9))

    def _pays(self, pool: Pool, start: int, level: int, promised: int) -> bool:
        nearest = self._nearest(pool, start)
        way = self.epochs(level) - self.epochs(start)
        first = next(nearest, None)
        if first is None:
            alone = self.budget.workers if self.budget.unit is Unit.WALL_S else 1
            return way * alone + promised <= self.budget.epochs_left(pool)
        nearest = chain([first], nearest)
        if self.budget.unit is Unit.WALL_S:
            # What is left of a running job takes time too; what others are promised does not.
            to_epoch = self.epochs(level)
            return any(self.budget.affords(pool, c, to_epoch - c.epochs) for c in nearest)
        return any(self.budget.affords(pool, c, way + promised) for c in nearest)

    def _nearest(self, pool: Pool, start: int) -> Iterator[Candidate]:
        """Yield who could be lifted from `start`, best first: at rest, heading there, or waiting.

        Epochs cost the same for all, so that one will do; a time budget may pay only for another.
        """
        exact = self.budget.unit is Unit.EPOCHS
        if start and pool.num_resting(start):
            return islice(pool.resting(start), 1 if exact else None)
        in_flight = pool.running + pool.owed
        if start and in_flight:
            return iter([max(in_flight, key=lambda c: (c.target or 0, -c.id))])
        return pool.first_waiting(1)


def checked_ladder(
    epochs_per_level: Iterable[int],
    budget: Budget,
    promote_fraction: float,
    **counts: int | None,
) -> Ladder:
    """Return the ladder; raises `ConfigError` in one line if an option is out of range.

    Args:
        epochs_per_level: Training length of each level.
        budget: What the whole search may spend.
        promote_fraction: Must lie strictly between 0 and 1.
        counts: Options that must be whole numbers of at least 1, by name (None: not given).
    """
    levels = check_levels(tuple(epochs_per_level))
    if not 0 < promote_fraction < 1:
        raise ConfigError(
            f"promote_fraction: {promote_fraction:g} must lie strictly between 0 and 1"
        )
    for name, value in counts.items():
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ConfigError(f"{name}: {value} must be a whole number, at least 1")
    if budget.unit is Unit.EPOCHS and budget.limit < levels[0]:
        raise ConfigError(
            f"budget: {budget.limit:g} epochs cannot train one architecture to the first level "
            f"({levels[0]} epochs)"
        )
    return Ladder(levels, budget)
