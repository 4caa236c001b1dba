"""Training as looking up a table: the objective and the proxies of a search on measured networks.

Both are small, picklable and instant, so whole searches run under `simulate` in seconds. On Ray
they work as well.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from raynas.errors import TrialError
from raynas.scheduling.events import Metrics
from raynas.scheduling.objective import Objective, Trial
from raynas.spaces.architecture import Architecture
from raynas.tabular.table import AccuracyTable


class TableTrial(Trial):
    """An architecture that is "trained" by reading its row."""

    def __init__(self, table: AccuracyTable, row: int) -> None:
        self.epoch = 0
        self._table = table
        self._row = row

    def train(self, to_epoch: int) -> Metrics:
        """Return the accuracy at `to_epoch`.

        Raises:
            TrialError: the table has none there: the network failed or diverged.
        """
        table = self._table
        column = table.column(to_epoch)
        accuracy = float(table.accuracy[self._row, column])
        if math.isnan(accuracy):
            raise TrialError(f"{table.texts[self._row]} has no accuracy after {to_epoch} epochs")
        metrics = {"accuracy": accuracy}
        if table.time_s is not None:
            before = table.time_s[self._row, table.column(self.epoch)] if self.epoch else 0.0
            metrics["time_s"] = max(0.0, float(table.time_s[self._row, column] - before))
        self.epoch = to_epoch
        return metrics

    def save(self) -> dict[str, Any]:
        """Return the epoch."""
        return {"epoch": self.epoch}

    def load(self, state: dict[str, Any]) -> None:
        """Restore the epoch."""
        self.epoch = int(state["epoch"])


class TableObjective(Objective):
    """Looks accuracies up.

    Args:
        table: Measured networks.

    Attributes:
        report_epochs: The epochs it can report at.
    """

    def __init__(self, table: AccuracyTable) -> None:
        self.table = table
        self.report_epochs = list(table.epochs)

    @property
    def costs(self) -> dict[str, "TableCost"]:
        """What the table knows of costs, by name."""
        return {name: TableCost(self.table, name) for name in self.table.costs}

    def start(self, architecture: Architecture, seed: int) -> TableTrial:
        """Return an untrained trial; the seed plays no part.

        Raises:
            TrialError: the architecture is not in the table.
        """
        row = self.table.rows.get(architecture.text)
        if row is None:
            raise TrialError(f"{architecture.text} is not in {self.table.name}")
        return TableTrial(self.table, row)


@dataclass(frozen=True, slots=True)
class TableCost:
    """A cost that a table of networks holds.

    Attributes:
        table: Measured networks.
        name: Which of its costs.
    """

    table: AccuracyTable
    name: str
    instant: bool = True

    def __call__(self, architecture: Architecture) -> float:
        """Return it; NaN for an architecture that is not in the table."""
        row = self.table.rows.get(architecture.text)
        return math.nan if row is None else float(self.table.costs[self.name][row])

    def describe(self) -> str:
        """Name the table."""
        return f"table {self.table.name}"


class TableScorer:
    """Zero-cost scores of a table's proxy columns, as `raynas.proxies.score.ProxyScorer` gives.

    Args:
        table: Measured networks.
        names: Which of its proxies; None for all.
    """

    def __init__(self, table: AccuracyTable, names: Sequence[str] | None = None) -> None:
        self._table = table
        self._columns = {name: table.proxies[name] for name in names or table.proxies}

    def __call__(self, architectures: Sequence[Architecture]) -> list[dict[str, float]]:
        """Return the scores of each architecture, by proxy."""
        rows = [self._table.rows[architecture.text] for architecture in architectures]
        return [{name: float(c[row]) for name, c in self._columns.items()} for row in rows]
