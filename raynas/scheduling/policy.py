"""Who is trained how far: what a scheduling policy must answer (Protocol), and its two values.

A policy sees the pool and nothing else: no engine, no clock of its own, no file. All that the pool
holds survives a crash by itself; what else a policy remembers it returns from `state_dict`.

Pausing is not stopping: a candidate without a job rests in the pool with its weights kept, and any
later `next_jobs` may hand it out again from the epoch it is at.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from raynas.errors import ConfigError
from raynas.scheduling.candidate import Candidate
from raynas.scheduling.pool import Pool


@dataclass(frozen=True, slots=True)
class Job:
    """Train one candidate from the epoch it is at to a later one."""

    candidate_id: int
    text: str
    from_epoch: int
    to_epoch: int

    @classmethod
    def of(cls, candidate: Candidate, to_epoch: int) -> "Job":
        """Make the job that leads `candidate` to `to_epoch`."""
        return cls(candidate.id, candidate.text, candidate.epochs, to_epoch)

    @property
    def num_epochs(self) -> int:
        """Epochs it trains."""
        return self.to_epoch - self.from_epoch


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended: with the validation accuracy at its last epoch, or with an error."""

    job: Job
    accuracy: float | None = None
    error: str | None = None


class SchedulingPolicy(Protocol):
    """Decides who is trained how far. Subclass it to inherit the four members that do nothing.

    The engine calls, whenever a worker is free: `next_jobs`, then `started` for each job it took,
    then `wants` if slots are left, and `finished` for each job that ended.

    Attributes:
        heeds_costs: Whether it can be asked to promote by costs beside accuracy, or promotes
            nobody. A search with several objectives takes no other policy.
    """

    heeds_costs: bool = False

    def next_jobs(self, pool: Pool, free_slots: int) -> list[Job]:
        """Return at most `free_slots` jobs to start now. Must change nothing."""
        ...

    def wants(self, pool: Pool) -> int:
        """Return how many newcomers it wants now. Must change nothing.

        The search ends when no job runs, none is offered and nobody is wanted.
        """
        ...

    def may_continue(self, pool: Pool, candidate: Candidate) -> bool:
        """Return whether a running candidate may train one more epoch of its job (time budgets)."""
        return True

    def started(self, job: Job) -> None:
        """Hear that the engine accepted a job."""
        return

    def finished(self, outcome: Outcome) -> None:
        """Hear that a job reached its last epoch, or failed."""
        return

    def state_dict(self) -> dict[str, Any]:
        """Return what the pool does not hold, as JSON values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        return


def check_levels(epochs_per_level: Sequence[int]) -> tuple[int, ...]:
    """Return the levels as a tuple; raises `ConfigError` unless they are positive and increase."""
    levels = tuple(epochs_per_level)
    if not levels or levels[0] < 1 or any(b <= a for a, b in itertools.pairwise(levels)):
        raise ConfigError(
            f"levels: {list(levels)} must be whole numbers of epochs, at least 1 and increasing, "
            "e.g. [1, 2, 4, 8]"
        )
    return levels
