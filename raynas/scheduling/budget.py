"""What a pyramid costs, and what a budget affords: epochs, wall-clock time or GPU hours.

Work that would not fit is never started. An epoch budget is exact. A time budget is kept by
estimates from what has been measured in this run (a candidate's own seconds per epoch once it has
trained, the slowest epoch seen by anyone before that) and by pausing at the last epoch that fits.
"""

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from raynas.errors import ConfigError
from raynas.scheduling.candidate import Candidate
from raynas.scheduling.pool import Pool


class Unit(StrEnum):
    """What a budget counts."""

    EPOCHS = "epochs"
    WALL_S = "wall_s"
    GPU_S = "gpu_s"


_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PATTERN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(gpuh|[smhd])?\s*", re.IGNORECASE)
_ALLOWED = "allowed: epochs as 300, wall-clock time as 90s, 90m, 6h or 1d, GPU time as 12gpuh"


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit on what a whole search may spend, over all its sessions.

    Attributes:
        limit: In the unit's own measure: epochs, or seconds.
        unit: What is counted.
        workers: Trials that run side by side (needed to turn wall-clock time into epochs).
        gpus_per_trial: GPUs (or fraction) each trial holds; what GPU time is counted with.
    """

    limit: float
    unit: Unit = Unit.EPOCHS
    workers: int = 1
    gpus_per_trial: float = 0.0

    def __post_init__(self) -> None:
        if not self.limit > 0 or not math.isfinite(self.limit):
            raise ConfigError(f"budget: {self.limit:g} is not positive ({_ALLOWED})")
        if self.unit is Unit.EPOCHS and self.limit != int(self.limit):
            raise ConfigError(f"budget: {self.limit:g} is not a whole number of epochs")
        if self.unit is Unit.GPU_S and self.gpus_per_trial <= 0:
            raise ConfigError(
                "budget: GPU hours need trials that hold a GPU (resources.gpus is 0); "
                "give epochs (300) or wall-clock time (6h)"
            )

    @classmethod
    def parse(cls, text: str | float, *, workers: int = 1, gpus_per_trial: float = 0.0) -> "Budget":
        """Read ``300`` (epochs), ``90s``/``90m``/``6h``/``1d`` (wall clock) or ``12gpuh``.

        Raises:
            ConfigError: anything else, or nothing left to spend.
        """
        match = _PATTERN.fullmatch(str(text))
        if match is None:
            raise ConfigError(f"budget: cannot read {str(text)!r} ({_ALLOWED})")
        number, suffix = float(match[1]), (match[2] or "").lower()
        if suffix == "gpuh":
            limit, unit = number * 3600, Unit.GPU_S
        elif suffix:
            limit, unit = number * _SECONDS[suffix], Unit.WALL_S
        else:
            limit, unit = number, Unit.EPOCHS
        return cls(limit, unit, workers=workers, gpus_per_trial=gpus_per_trial)

    def spent(self, pool: Pool) -> float:
        """Return what the run has spent so far, in the budget's own measure."""
        match self.unit:
            case Unit.EPOCHS:
                return float(pool.spent_epochs)
            case Unit.WALL_S:
                return pool.elapsed_s
            case Unit.GPU_S:
                return pool.time_s * self.gpus_per_trial

    def epochs_left(self, pool: Pool) -> int:
        """Return how many epochs can still be committed, on top of those committed already.

        For a time budget this is an estimate; before any epoch was measured it has no bound.
        """
        left = self.limit - self.spent(pool)
        if self.unit is Unit.EPOCHS:
            return int(left) - pool.committed_epochs
        if left <= 0:
            return 0
        if pool.spent_epochs == 0 or pool.time_s <= 0:
            return 2**31
        mean_epoch_s = pool.time_s / pool.spent_epochs
        per_second = self.workers if self.unit is Unit.WALL_S else 1 / self.gpus_per_trial
        return max(0, int(left * per_second / mean_epoch_s) - pool.committed_epochs)

    def affords(self, pool: Pool, candidate: Candidate, num_epochs: int) -> bool:
        """Return whether `candidate` may start `num_epochs` more epochs now.

        Epochs it has committed already are not counted twice: ask before committing.
        """
        if self.unit is Unit.EPOCHS:
            return num_epochs <= self.epochs_left(pool)
        cost_s = num_epochs * self._epoch_s(pool, candidate)
        if self.unit is Unit.WALL_S:
            return pool.elapsed_s + cost_s < self.limit
        in_flight_s = pool.committed_epochs * self._epoch_s(pool, candidate)
        return self.spent(pool) + (in_flight_s + cost_s) * self.gpus_per_trial <= self.limit

    def num_affordable(self, pool: Pool, wanted: Sequence[tuple[Candidate, int]]) -> int:
        """Return how many of the leading jobs (candidate, epochs) may start now together.

        Epochs and GPU time add up; wall-clock time does not, as jobs run side by side.
        """
        total = 0
        for index, (candidate, num_epochs) in enumerate(wanted):
            total = num_epochs if self.unit is Unit.WALL_S else total + num_epochs
            if not self.affords(pool, candidate, total):
                return index
        return len(wanted)

    def allows_next_epoch(self, pool: Pool, candidate: Candidate) -> bool:
        """Return whether a running candidate may go on with one more epoch.

        Always true for an epoch budget: the job was paid for when it was committed.
        """
        if self.unit is Unit.EPOCHS:
            return True
        epoch_s = self._epoch_s(pool, candidate)
        if self.unit is Unit.WALL_S:
            return pool.elapsed_s + epoch_s <= self.limit
        others = max(0, pool.num_running - 1)
        return self.spent(pool) + (1 + others) * epoch_s * self.gpus_per_trial <= self.limit

    def _epoch_s(self, pool: Pool, candidate: Candidate) -> float:
        if candidate.epochs:
            return candidate.time_s / candidate.epochs
        return pool.slowest_epoch_s


Fractions = float | Sequence[float]
"""The share of a level that moves up: one for all levels, or one for each but the top."""


def even_fractions(epochs_per_level: Sequence[int]) -> tuple[float, ...]:
    """Return shares with which promotions cost what those they are chosen from had cost.

    ``r_i = min(1/2, e_i / (e_{i+1} - e_i))``: a level that is dear to reach is reached by few. For
    levels that double or triple that is the published 1/2; for 12 and 200 epochs it is 0.064.
    """
    pairs = itertools.pairwise(epochs_per_level)
    return tuple(min(0.5, low / (high - low)) for low, high in pairs)


def quotas(num_entered: int, promote_fraction: Fractions, num_levels: int) -> list[int]:
    """Return how many candidates should have reached each level, lowest first.

    Cumulative quotas over the whole run (`algorithms.md` §6.2): ``q_1 = P`` and
    ``q_{i+1} = floor(r_i * q_i)``. Rounding per batch instead moves the budget by up to 38 %.
    """
    counts = [num_entered]
    for level in range(num_levels - 1):
        fraction = (
            promote_fraction
            if isinstance(promote_fraction, int | float)
            else promote_fraction[level]
        )
        # The nudge keeps 0.3 * 10 from flooring to 2.
        counts.append(math.floor(fraction * counts[-1] + 1e-9))
    return counts


def epochs_between(epochs_per_level: Sequence[int]) -> list[int]:
    """Return what each level costs on top of the one below: ``e_i - e_{i-1}``, ``e_0 = 0``."""
    previous = [0, *epochs_per_level[:-1]]
    return [end - start for start, end in zip(previous, epochs_per_level, strict=True)]


def nosh_cost(
    epochs_per_level: Sequence[int],
    promote_fraction: Fractions,
    num_architectures: int,
    *,
    ensure_top: bool = False,
) -> int:
    """Return the epochs a NOSH pyramid of `num_architectures` trains in all.

    Each epoch is counted once: a resumed candidate pays only the difference. With `ensure_top`
    the cost of lifting one candidate to the top, where the quotas lift none, is included.
    """
    if num_architectures <= 0:
        return 0
    reached = quotas(num_architectures, promote_fraction, len(epochs_per_level))
    if ensure_top:
        reached = [max(1, count) for count in reached]
    steps = epochs_between(epochs_per_level)
    return sum(count * step for count, step in zip(reached, steps, strict=True))


def largest_pool(
    epochs_per_level: Sequence[int],
    promote_fraction: Fractions,
    budget_epochs: int,
    *,
    ensure_top: bool = True,
) -> int:
    """Return the largest number of architectures whose whole pyramid fits the budget (0: none)."""
    low, high = 0, max(0, budget_epochs // epochs_per_level[0])
    while low < high:
        middle = (low + high + 1) // 2
        cost = nosh_cost(epochs_per_level, promote_fraction, middle, ensure_top=ensure_top)
        low, high = (middle, high) if cost <= budget_epochs else (low, middle - 1)
    return low
