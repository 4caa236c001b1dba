"""What many runs say: means with confidence, epochs to a target, and whether a difference is real.

Seeds are paired: run k of every method has the same seed. The mean's 95 % interval is Student's t
over seeds; the paired test is Wilcoxon's signed-rank test, which assumes no normality.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from raynas.comparing.run import RunRecord

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over seeds.

    Attributes:
        mean: NaN if no run has a value.
        ci95: Half the width of its 95 % interval; NaN of fewer than two.
        count: Runs with a value.
    """

    mean: float
    ci95: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float] | Floats) -> "Mean":
        """Summarise values; NaN are left out."""
        known = np.asarray(values, dtype=np.float64)
        known = known[~np.isnan(known)]
        if not len(known):
            return cls(math.nan, math.nan, 0)
        if len(known) == 1:
            return cls(float(known[0]), math.nan, 1)
        error = float(known.std(ddof=1)) / math.sqrt(len(known))
        return cls(
            float(known.mean()), float(stats.t.ppf(0.975, len(known) - 1)) * error, len(known)
        )


def reports_at(runs: Sequence[RunRecord], epochs: int, *, in_full: bool = False) -> Floats:
    """Return the report metric of each run's incumbent at `epochs`; NaN before there is one."""
    steps = [run.at(epochs, in_full=in_full) for run in runs]
    return np.array([math.nan if step is None else step.report for step in steps])


def paired_p_value(first: Floats, second: Floats) -> float:
    """Return the two-sided p-value that paired runs do not differ; NaN if nothing can be said."""
    known = ~(np.isnan(first) | np.isnan(second))
    differences = first[known] - second[known]
    if len(differences) < 2:
        return math.nan
    if not differences.any():
        return 1.0
    return float(stats.wilcoxon(differences, zero_method="zsplit", method="approx").pvalue)


def curves(runs: Sequence[RunRecord]) -> tuple[NDArray[np.int64], Floats]:
    """Return the epochs at which some incumbent changed, and each run's report from there on.

    Starts where every run has an incumbent.

    Returns:
        `C` epochs, increasing, and `R x C` reports.
    """
    starts = [run.steps[0].epochs for run in runs if run.steps]
    if len(starts) < len(runs) or not runs:
        return np.zeros(0, dtype=np.int64), np.zeros((len(runs), 0))
    changes = sorted({step.epochs for run in runs for step in run.steps})
    epochs = np.array([e for e in changes if e >= max(starts)], dtype=np.int64)
    reports = np.empty((len(runs), len(epochs)))
    for row, run in enumerate(runs):
        at = np.array([step.epochs for step in run.steps])
        report = np.array([step.report for step in run.steps])
        reports[row] = report[np.searchsorted(at, epochs, side="right") - 1]
    return epochs, reports


def epochs_to_reach(runs: Sequence[RunRecord], target: float) -> int | None:
    """Return the fewest epochs from which the mean report is at least `target` to the end."""
    epochs, reports = curves(runs)
    means = reports.mean(axis=0) if len(reports) else np.zeros(0)
    below = np.flatnonzero(means < target - 1e-12)
    first = int(below[-1]) + 1 if len(below) else 0
    return int(epochs[first]) if first < len(epochs) else None
