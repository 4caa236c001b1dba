"""A table of measured networks: how accurate each was after so many epochs, and what it cost.

Selection and report are kept apart: a search sees `accuracy` (validation) only; `report` is what
the chosen architecture is judged by, and nothing reads it before the search is over.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from raynas.errors import DataError
from raynas.spaces.space import SearchSpace

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AccuracyTable:
    """Measured networks of one space: N architectures at E numbers of epochs.

    Attributes:
        name: What people call it.
        space: Where the architectures come from.
        texts: `N` canonical texts, none twice.
        epochs: `E` numbers of epochs, increasing; the last is the full length.
        accuracy: `N x E`, what a search may see (validation), fractions; NaN where training failed.
        report: `N`, what the chosen architecture is judged by, fractions; NaN where unknown.
        report_metric: Name of the metric in `report`.
        separate_runs: Whether each number of epochs is a run of its own, annealed to its end (a
            promotion then really costs the longer run in full), or all lie on one curve.
        time_s: `N x E` seconds from the start to that epoch, where measured.
        proxies: Zero-cost scores by name, `N` each, higher is better.
        notes: What a reader of a result should know.
        costs: What each costs to run, by name (`raynas.spaces.costs`), `N` each, lower is better;
            NaN where unknown.

    Raises:
        DataError: shapes that do not fit, accuracies outside [0, 1], epochs that do not increase,
            or an architecture listed twice.
    """

    name: str
    space: SearchSpace
    texts: tuple[str, ...]
    epochs: tuple[int, ...]
    accuracy: Floats
    report: Floats
    report_metric: str
    separate_runs: bool
    time_s: Floats | None = None
    proxies: Mapping[str, Floats] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    costs: Mapping[str, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_epochs(self.name, self.epochs)
        shape = (len(self.texts), len(self.epochs))
        if not self.texts:
            raise DataError(f"{self.name}: the table is empty")
        for what, array, expected in (
            ("accuracy", self.accuracy, shape),
            ("report", self.report, shape[:1]),
            ("time_s", self.time_s, shape),
            *((f"proxy {name}", scores, shape[:1]) for name, scores in self.proxies.items()),
            *((f"cost {name}", values, shape[:1]) for name, values in self.costs.items()),
        ):
            if array is not None and array.shape != expected:
                raise DataError(f"{self.name}: {what} is {array.shape}, expected {expected}")
        for what, array in (("accuracy", self.accuracy), (self.report_metric, self.report)):
            outside = array[(array < 0) | (array > 1)]
            if outside.size:
                raise DataError(
                    f"{self.name}: {what} {outside.flat[0]:g} is no fraction between 0 and 1"
                )
        if len(self.rows) < len(self.texts):
            seen: set[str] = set()
            twice = next(t for t in self.texts if t in seen or seen.add(t))  # type: ignore[func-returns-value]
            raise DataError(f"{self.name}: architecture {twice} is listed twice")

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def rows(self) -> Mapping[str, int]:
        """Row of each architecture."""
        return {text: row for row, text in enumerate(self.texts)}

    @cached_property
    def best_report(self) -> float:
        """The optimum: the best value of the report metric in the table."""
        return float(np.nanmax(self.report))

    def column(self, epochs: int) -> int:
        """Return the column of `epochs`; raises `DataError` if it was not measured."""
        if epochs not in self.epochs:
            known = ", ".join(map(str, self.epochs))
            raise DataError(f"{self.name}: has no accuracies after {epochs} epochs (has: {known})")
        return self.epochs.index(epochs)


def describe(table: AccuracyTable) -> str:
    """Return what a table holds, for a person."""
    top = np.nanmax(table.accuracy[:, -1])
    kind = "each a run of its own" if table.separate_runs else "points of one curve"
    failed = int(np.isnan(table.accuracy[:, -1]).sum())
    lines = [
        f"table          {table.name}: {len(table)} architectures of {table.space.name}",
        f"epochs         {', '.join(map(str, table.epochs))} ({kind})",
        f"selection      best {100 * top:.2f} % after {table.epochs[-1]} epochs"
        + (f", {failed} failed" if failed else ""),
        f"report         {table.report_metric}: best {100 * table.best_report:.2f} %, "
        f"mean {100 * float(np.nanmean(table.report)):.2f} %",
        f"proxies        {', '.join(table.proxies) or 'none'}",
        f"costs          {', '.join(table.costs) or 'none'}",
    ]
    return "\n".join(lines + [f"note           {note}" for note in table.notes])


def check_epochs(name: str, epochs: Sequence[int]) -> None:
    """Raise `DataError` unless the epochs are at least 1 and increase."""
    if not epochs or epochs[0] < 1 or any(b <= a for a, b in itertools.pairwise(epochs)):
        raise DataError(f"{name}: epochs {list(epochs)} must be at least 1 and increase")
