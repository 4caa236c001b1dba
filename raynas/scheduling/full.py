"""Train every architecture to its full length: what NOSH is compared with."""

from collections.abc import Sequence

from raynas.errors import ConfigError
from raynas.scheduling.budget import Budget, Unit
from raynas.scheduling.candidate import Candidate
from raynas.scheduling.policy import Job, SchedulingPolicy, check_levels
from raynas.scheduling.pool import Pool


class FullPolicy(SchedulingPolicy):
    """No early stopping: newcomers by rounds, each trained to the top level at once.

    Args:
        epochs_per_level: Only the last one counts as a length; the others are where accuracies
            are noted.
        budget: What the whole search may spend.
        per_round: Newcomers of a round; the next round waits until all have ended.
        initial: Newcomers of the first round (default ``2 * per_round``).
        max_pool: Most architectures ever admitted (None: what the budget affords).
    """

    heeds_costs = True  # it promotes nobody

    def __init__(
        self,
        epochs_per_level: Sequence[int],
        budget: Budget,
        *,
        per_round: int = 5,
        initial: int | None = None,
        max_pool: int | None = None,
    ) -> None:
        self.epochs_per_level = check_levels(epochs_per_level)
        self.budget = budget
        self.per_round = per_round
        self.initial = initial if initial is not None else 2 * per_round
        self.max_pool = max_pool
        length = self.epochs_per_level[-1]
        if budget.unit is Unit.EPOCHS and budget.limit < length:
            raise ConfigError(
                f"budget: {budget.limit:g} epochs cannot train one architecture in full "
                f"({length} epochs)"
            )

    def next_jobs(self, pool: Pool, free_slots: int) -> list[Job]:
        """Return full-length jobs for those waiting, as far as the budget goes."""
        length = self.epochs_per_level[-1]
        waiting = list(pool.first_waiting(free_slots))
        wanted = [(candidate, length) for candidate in waiting]
        fitting = waiting[: self.budget.num_affordable(pool, wanted)]
        return [Job.of(candidate, length) for candidate in fitting]

    def wants(self, pool: Pool) -> int:
        """Return a round of newcomers once the last one has ended, if the budget affords them."""
        if pool.exhausted or pool.num_waiting or pool.num_in_flight:
            return 0
        wanted = self.initial if pool.rounds == 0 else self.per_round
        if self.max_pool is not None:
            wanted = min(wanted, self.max_pool - len(pool))
        return max(0, min(wanted, self.budget.epochs_left(pool) // self.epochs_per_level[-1]))

    def may_continue(self, pool: Pool, candidate: Candidate) -> bool:
        """Stop a running candidate at the last epoch a time budget allows."""
        return self.budget.allows_next_epoch(pool, candidate)
