"""Non-uniform successive halving (NOSH): the pyramid schedule of RANK-NOSH (thesis ch. 4).

A pyramid of levels, each trained to more epochs. At any time newcomers may join; the best of those
at rest on a level, old losers and newcomers alike, are promoted until the level above holds its
cumulative quota ``q_{i+1} = floor(r * q_i)``; losers stay paused and promotable for ever.

Unlike successive halving or ASHA nothing is discarded, and the quota is over the whole run. What
the paper leaves open (its schedule, who competes for a place) is settled in `algorithms.md` §6.2:
all residents of a level compete, and ties go to the lower validation loss, then to the older one.
"""

from collections.abc import Sequence
from typing import Literal

from raynas.errors import ConfigError
from raynas.scheduling.budget import (
    Budget,
    Fractions,
    Unit,
    epochs_between,
    even_fractions,
    largest_pool,
    quotas,
)
from raynas.scheduling.candidate import Candidate
from raynas.scheduling.front import FrontOrder
from raynas.scheduling.policy import Job, SchedulingPolicy, check_levels
from raynas.scheduling.pool import Pool


class NoshPolicy(SchedulingPolicy):
    """NOSH as a pure function of the pool: it keeps no state, so nothing of it can be lost.

    Args:
        epochs_per_level: The paper's E: training length of each level, increasing.
        budget: What the whole search may spend; the policy is its one owner.
        promote_fraction: The paper's r, in (0, 1): share of a level that moves up, one for all
            levels or one for each but the top; None: `even_fractions`.
        per_round: The paper's K: newcomers of a round.
        initial: Newcomers of the first round (the paper does not say; default ``2 * per_round``).
        max_pool: The paper's M: most architectures ever admitted (None: what the budget affords).
        mode: ``"sync"`` finishes each level of a round before the next and is reproducible on any
            number of workers; ``"async"`` promotes as soon as the quota allows and never lets a
            worker wait. Both end with the same quotas.
        ensure_top: Lift the best candidate to the top at the end if the quotas lifted none.
        costs: Names of costs to promote by beside accuracy: by front, see `FrontOrder`.
        hold_last: Keep the last place of each level open until the last newcomer has come: of all
            promotions only the last can be put off at no price. Needs a budget in epochs.
    """

    heeds_costs = True

    def __init__(
        self,
        epochs_per_level: Sequence[int],
        budget: Budget,
        *,
        promote_fraction: Fractions | None = None,
        per_round: int = 5,
        initial: int | None = None,
        max_pool: int | None = None,
        mode: Literal["sync", "async"] = "sync",
        ensure_top: bool = True,
        hold_last: bool = True,
        costs: Sequence[str] = (),
    ) -> None:
        self.epochs_per_level = check_levels(epochs_per_level)
        self.promote_fraction = _fractions(promote_fraction, self.epochs_per_level)
        for name, value in (("per_round", per_round), ("initial", initial), ("max_pool", max_pool)):
            if value is not None and value < 1:
                raise ConfigError(f"{name}: {value} must be at least 1")
        if mode not in ("sync", "async"):
            raise ConfigError(f"mode: {mode!r} must be 'sync' or 'async'")
        if budget.unit is Unit.EPOCHS and budget.limit < self.epochs_per_level[0]:
            raise ConfigError(
                f"budget: {budget.limit:g} epochs cannot train one architecture to the first "
                f"level ({self.epochs_per_level[0]} epochs)"
            )
        self.budget = budget
        self.per_round = per_round
        self.initial = initial if initial is not None else 2 * per_round
        self.max_pool = max_pool
        self.mode = mode
        self.ensure_top = ensure_top
        self._by_front = FrontOrder(costs) if costs else None
        self._final = self._final_quotas() if hold_last else None

    # -- the two decisions ---------------------------------------------------------------------

    def next_jobs(self, pool: Pool, free_slots: int) -> list[Job]:
        """Return newcomers' first jobs, then promotions, as far as the budget goes."""
        offered = self._newcomers(pool, free_slots)
        if pool.num_waiting > len(offered) or (self.mode == "sync" and offered):
            # Newcomers that find no slot keep their place before any promotion.
            return self._affordable(pool, offered)
        if self.mode == "sync":
            offered += self._sync_promotions(pool, free_slots)
        else:
            offered += self._async_promotions(pool, free_slots - len(offered))
        if not offered and pool.num_in_flight == 0 and self.wants(pool) == 0:
            offered = self._top_chain(pool)
        return self._affordable(pool, offered)

    def wants(self, pool: Pool) -> int:
        """Return the newcomers that can be admitted now with their whole cascade paid for."""
        if pool.exhausted or pool.num_waiting:
            return 0
        if self.mode == "sync" and (pool.num_in_flight or self._sync_promotions(pool, 1)):
            return 0
        return self._affordable_newcomers(
            pool, self.initial if pool.rounds == 0 else self.per_round
        )

    def may_continue(self, pool: Pool, candidate: Candidate) -> bool:
        """Stop a running candidate at the last epoch a time budget allows."""
        return self.budget.allows_next_epoch(pool, candidate)

    # -- parts ---------------------------------------------------------------------------------

    def _newcomers(self, pool: Pool, free_slots: int) -> list[Job]:
        first = self.epochs_per_level[0]
        return [Job.of(candidate, first) for candidate in pool.first_waiting(free_slots)]

    def _needed(self, pool: Pool, level: int) -> int:
        """Return how many must still leave `level` for the one above to meet its quota."""
        quota = quotas(pool.reached(level), self.promote_fraction[level - 1], 2)[1]
        if self._final is not None and quota >= self._final[level] and self._more_to_come(pool):
            quota = self._final[level] - 1
        return quota - pool.reached(level + 1) - pool.heading(level + 1)

    def _more_to_come(self, pool: Pool) -> bool:
        """Return whether there will be a newcomer that a held place may be for."""
        if pool.num_waiting:
            return True
        return not pool.exhausted and self._affordable_newcomers(pool, 1) > 0

    def _affordable_newcomers(self, pool: Pool, wanted: int) -> int:
        """Return how many newcomers, at most `wanted`, fit with their whole cascade."""
        if self.max_pool is not None:
            wanted = min(wanted, self.max_pool - len(pool))
        left = self.budget.epochs_left(pool)
        low, high = 0, max(0, wanted)
        while low < high:
            middle = (low + high + 1) // 2
            fits = self._cost_to_complete(pool, middle) <= left
            low, high = (middle, high) if fits else (low, middle - 1)
        return low

    def _final_quotas(self) -> list[int] | None:
        """Return how many will have reached each level at the end; None if only time will tell."""
        if self.budget.unit is not Unit.EPOCHS:
            return None
        size = largest_pool(
            self.epochs_per_level,
            self.promote_fraction,
            int(self.budget.limit),
            ensure_top=self.ensure_top and self._top_is_affordable(),
        )
        if self.max_pool is not None:
            size = min(size, self.max_pool)
        return quotas(size, self.promote_fraction, len(self.epochs_per_level))

    def _sync_promotions(self, pool: Pool, free_slots: int) -> list[Job]:
        """Offer the lowest level that is short of its quota; a level in training is a barrier."""
        for level in range(1, pool.num_levels):
            if pool.heading(level):
                return []
            needed = min(self._needed(pool, level), pool.num_resting(level))
            if needed > 0:
                return self._promote(pool, level, min(needed, free_slots))
        return []

    def _async_promotions(self, pool: Pool, free_slots: int) -> list[Job]:
        """Offer every promotion the quotas allow now, highest level first (the nearest to done)."""
        offered: list[Job] = []
        for level in range(pool.num_levels - 1, 0, -1):
            count = min(self._needed(pool, level), free_slots - len(offered))
            if count > 0:
                offered += self._promote(pool, level, count)
        return offered

    def _promote(self, pool: Pool, level: int, count: int) -> list[Job]:
        to_epoch = self.epochs_per_level[level]
        if self._by_front is not None:
            best = self._by_front.best_resting(pool, level, count)
        else:
            best = pool.best_resting(level, count)
        return [Job.of(candidate, to_epoch) for candidate in best]

    def _top_chain(self, pool: Pool) -> list[Job]:
        """Lift the best candidate one level, if nobody will otherwise reach the top."""
        if not self.ensure_top or pool.reached(pool.num_levels):
            return []
        for level in range(pool.num_levels - 1, 0, -1):
            if pool.num_resting(level):
                return self._promote(pool, level, 1)
        return []

    def _affordable(self, pool: Pool, jobs: list[Job]) -> list[Job]:
        """Keep the leading jobs that fit the budget together."""
        wanted = [(pool[job.candidate_id], job.num_epochs) for job in jobs]
        return jobs[: self.budget.num_affordable(pool, wanted)]

    def _cost_to_complete(self, pool: Pool, newcomers: int) -> int:
        """Return the epochs from the pool as it is to its full pyramid with `newcomers` more."""
        entered = pool.reached(1) + pool.heading(1) + newcomers
        targets = quotas(entered, self.promote_fraction, pool.num_levels)
        if entered and self.ensure_top and self._top_is_affordable():
            targets = [max(1, count) for count in targets]
        steps = epochs_between(self.epochs_per_level)
        return sum(
            max(0, target - pool.reached(level) - pool.heading(level)) * step
            for level, (target, step) in enumerate(zip(targets, steps, strict=True), start=1)
        )

    def _top_is_affordable(self) -> bool:
        """Whether one candidate at the top fits the budget at all (else do not save for it)."""
        if self.budget.unit is not Unit.EPOCHS:
            return True
        return self.epochs_per_level[-1] <= self.budget.limit


def _fractions(given: Fractions | None, epochs_per_level: tuple[int, ...]) -> tuple[float, ...]:
    """Return one share for each level but the top."""
    if given is None:
        return even_fractions(epochs_per_level)
    steps = len(epochs_per_level) - 1
    fractions = (float(given),) * steps if isinstance(given, int | float) else tuple(given)
    if len(fractions) != steps:
        raise ConfigError(
            f"promote_fraction: {list(fractions)} must be one share, or {steps} for "
            f"{steps + 1} levels"
        )
    shares = [given] if isinstance(given, int | float) else fractions
    for share in shares:
        if not 0 < share < 1:
            raise ConfigError(f"promote_fraction: {share:g} must lie strictly between 0 and 1")
    return fractions
