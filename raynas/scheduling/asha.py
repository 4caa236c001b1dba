"""ASHA, asynchronous successive halving by promotion (Li et al., MLSys 2020).

Whenever a worker is free: from the top level down, whoever is in the best share of those that
reached a level and has not been promoted from it moves up; where there is nobody, a newcomer
starts. No worker ever waits for a level to finish. What NOSH is compared with.

Nobody is discarded: a loser stays paused, and newcomers below it can make it promotable later.
Unlike NOSH a promotion is only ever made on rank, never to fill a quota, so a promotion that came
too early is not made up for.
"""

import bisect
import math
from collections.abc import Iterator, Sequence

from raynas.scheduling.budget import Budget, Unit
from raynas.scheduling.candidate import Candidate
from raynas.scheduling.ladder import checked_ladder
from raynas.scheduling.policy import Job, Outcome, SchedulingPolicy
from raynas.scheduling.pool import Pool


class AshaPolicy(SchedulingPolicy):
    """ASHA as a function of the pool: it keeps no state, so nothing of it can be lost.

    End rule: a job is started only if the budget can then still lift somebody to the top (or to
    the highest level it can pay), and newcomers are asked for only while it could lift one of
    *them* there; when nothing else is left to do, what was held back lifts the best candidate.

    Args:
        epochs_per_level: Training length of each level (the paper's rungs), increasing.
        budget: What the whole search may spend; the policy is its one owner.
        promote_fraction: One over the paper's η, in (0, 1): share of a level that may move up.
        per_round: Newcomers that are proposed together. The paper draws them one by one, at
            random; a proposer that learns would be refitted for each. The default is NOSH's, so
            that both give a proposer the same to learn from.
        initial: Newcomers of the first round (default ``2 * per_round``, as NOSH).
        max_pool: Most architectures ever admitted (None: what the budget affords).
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
    ) -> None:
        self._ladder = checked_ladder(
            epochs_per_level,
            budget,
            promote_fraction,
            per_round=per_round,
            initial=initial,
            max_pool=max_pool,
        )
        self.epochs_per_level = self._ladder.epochs_per_level
        self.budget = budget
        self.promote_fraction = promote_fraction
        self.per_round = per_round
        self.initial = initial if initial is not None else 2 * per_round
        self.max_pool = max_pool
        self._standings = Standings()

    # -- the two decisions ---------------------------------------------------------------------

    def next_jobs(self, pool: Pool, free_slots: int) -> list[Job]:
        """Return promotions, the highest level first, then newcomers' first jobs."""
        newcomers = [Job.of(candidate, self.epochs_per_level[0]) for candidate in pool.waiting]
        promised, way_from = 0, 0
        if self.budget.unit is Unit.EPOCHS:
            # Estimates of time allow neither promises nor reckoning with somebody else's way.
            promised = sum(job.num_epochs for job in newcomers)
            way_from = self._ladder.epochs(self._ladder.highest(pool))
        goal = self._ladder.goal(pool, top=self._top(pool), promised=promised)
        jobs = self._ladder.fitting(
            pool,
            self._promotions(pool, free_slots),
            goal,
            slots=free_slots,
            way_from=way_from,
            promised=promised,
        )
        jobs += self._ladder.fitting(
            pool,
            newcomers,
            goal,
            slots=free_slots - len(jobs),
            way_from=max([way_from, *(job.to_epoch for job in jobs)]),
            promised=sum(job.num_epochs for job in jobs),
        )
        if jobs or pool.num_in_flight or self.wants(pool):
            return jobs
        return self._ladder.lift(pool, goal, slots=free_slots)

    def wants(self, pool: Pool) -> int:
        """Return a round of newcomers as soon as none waits, as far as the budget goes."""
        if pool.exhausted or pool.num_waiting:
            return 0
        wanted = self.initial if pool.rounds == 0 else self.per_round
        if self.max_pool is not None:
            wanted = min(wanted, self.max_pool - len(pool))
        first = self.epochs_per_level[0]
        goal = self._ladder.goal(pool, top=self._top(pool))
        way = max(0, self._ladder.epochs(goal) - first)
        # By the clock, one newcomer takes as long as one for each worker.
        abreast = self.budget.workers if self.budget.unit is Unit.WALL_S else 1
        times = (self.budget.epochs_left(pool) - way * abreast) // (first * abreast)
        return max(0, min(wanted, times * abreast))

    def may_continue(self, pool: Pool, candidate: Candidate) -> bool:
        """Stop a running candidate at the last epoch a time budget allows."""
        return self.budget.allows_next_epoch(pool, candidate)

    def finished(self, outcome: Outcome) -> None:
        """Hear who reached a level (a short cut: it could be read from the pool)."""
        if outcome.error is None:
            self._standings.hear(outcome.job)

    # -- parts ---------------------------------------------------------------------------------

    def _top(self, pool: Pool) -> int:
        """Return the highest level that anybody may be promoted to."""
        return pool.num_levels

    def _promotions(self, pool: Pool, free_slots: int) -> Iterator[Job]:
        """Yield the jobs of those in the best share of their level, the highest level first."""
        for level in range(self._top(pool) - 1, 0, -1):
            # The nudge keeps a third of 9 from flooring to 2.
            places = math.floor(self.promote_fraction * pool.reached(level) + 1e-9)
            for candidate in pool.best_resting(level, free_slots):
                if self._standings.rank(pool, candidate, level) >= places:
                    break
                yield Job.of(candidate, self.epochs_per_level[level])


class Standings:
    """Who stands where among all that ever reached a level, in O(log n).

    A cache and no state: it is told who reached a level, and reads from the pool what it was not.
    """

    def __init__(self) -> None:
        self._pool: Pool | None = None
        self._ranked: dict[int, list[tuple[float, float, int]]] = {}
        self._heard: list[Job] = []

    def hear(self, job: Job) -> None:
        """Hear that a job reached its last epoch."""
        self._heard.append(job)

    def rank(self, pool: Pool, candidate: Candidate, level: int) -> int:
        """Return how many of those that ever reached `level` were better there."""
        if self._pool is not pool:
            self._pool, self._ranked = pool, {}
            self._heard.clear()
        for job in self._heard:
            reached = pool.level_of(job.to_epoch)
            if reached in self._ranked:
                key = pool[job.candidate_id].rank_key(reached)
                bisect.insort(self._ranked[reached], key)
        self._heard.clear()
        ranked = self._ranked.get(level, [])
        if len(ranked) != pool.reached(level):
            ranked = sorted(c.rank_key(level) for c in pool if c.level >= level)
            self._ranked[level] = ranked
        return bisect.bisect_left(ranked, candidate.rank_key(level))
