"""A comparison as people read it: one table of means, one of speed-ups, and files to check them by.

Figures are in percent, as the field prints them; everything is over the same seeds.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raynas.comparing.run import RunRecord
from raynas.comparing.statistics import (
    Mean,
    curves,
    epochs_to_reach,
    paired_p_value,
    reports_at,
)
from raynas.errors import ConfigError
from raynas.runs.folder import replace_file
from raynas.tabular.table import AccuracyTable


@dataclass(frozen=True, slots=True)
class Comparison:
    """All runs of a comparison.

    Attributes:
        table: What they ran on.
        methods: Names, in the order asked for; speed-ups are of the first.
        budgets: Epochs, increasing.
        seeds: Runs of each method at each budget.
        records: Every run.
        target: Report metric to reach (fraction); None: what each method ends at.
        folder: Where its files are.
    """

    table: AccuracyTable
    methods: tuple[str, ...]
    budgets: tuple[int, ...]
    seeds: int
    records: tuple[RunRecord, ...]
    target: float | None = None
    folder: Path = Path(".")

    def runs(self, method: str, budget: int) -> list[RunRecord]:
        """Return the runs of a method at a budget, by seed."""
        found = [r for r in self.records if r.method == method and r.budget == budget]
        return sorted(found, key=lambda record: record.seed)

    def rows(self) -> list[dict[str, Any]]:
        """Return one JSON object a method and budget; see the README for the keys."""
        return [self._row(method, budget) for method in self.methods for budget in self.budgets]

    def _row(self, method: str, budget: int) -> dict[str, Any]:
        runs = self.runs(method, budget)
        resumed = reports_at(runs, budget)
        mean, in_full = Mean.of(resumed), Mean.of(reports_at(runs, budget, in_full=True))
        return {
            "method": method,
            "budget_epochs": budget,
            "mean": _percent(mean.mean),
            "ci95": _percent(mean.ci95),
            "seeds": len(runs),
            "report_metric": self.table.report_metric,
            "unit": "percent",
            "regret": _percent(self.table.best_report - mean.mean),
            "std": _percent(float(np.nanstd(resumed, ddof=1)) if mean.count > 1 else float("nan")),
            "mean_in_full": _percent(in_full.mean),
            "ci95_in_full": _percent(in_full.ci95),
            "seeds_in_full": in_full.count,
            "epochs_spent": float(np.mean([run.epochs for run in runs])),
            "epochs_spent_in_full": float(np.mean([run.epochs_in_full for run in runs])),
            "num_trained": float(np.mean([run.num_trained for run in runs])),
            "wall_s": float(np.mean([run.wall_s for run in runs])),
        }

    def speedups(self) -> list[dict[str, Any]]:
        """Return, for each method, how soon the first one is as good; from the largest budget."""
        first, budget = self.methods[0], self.budgets[-1]
        own = self.runs(first, budget)
        found = []
        for method in self.methods:
            runs = self.runs(method, budget)
            final = float(np.nanmean(reports_at(runs, budget)))
            target = final if self.target is None else self.target
            needs, takes = epochs_to_reach(own, target), epochs_to_reach(runs, target)
            found.append(
                {
                    "method": method,
                    "target": _percent(target),
                    "epochs": takes,
                    "epochs_of_first": needs,
                    "speedup": takes / needs if takes and needs else None,
                    "p_value": _none(
                        paired_p_value(reports_at(own, budget), reports_at(runs, budget))
                    )
                    if method != first
                    else None,
                }
            )
        return found

    def text(self) -> str:
        """Return what is printed."""
        return "\n".join([*self._means_text(), "", *self._speedups_text(), *self._notes_text()])

    def _means_text(self) -> list[str]:
        rows = {(row["method"], row["budget_epochs"]): row for row in self.rows()}
        width = max(len("method"), *map(len, self.methods))
        lines = [
            f"{self.table.report_metric} of the incumbent, %, mean ± 95 % interval over "
            f"{self.seeds} seeds (optimum {100 * self.table.best_report:.2f})",
            "",
            f"{'method':<{width}}  " + "  ".join(f"{b:>13,}" for b in self.budgets) + "  epochs",
        ]
        for in_full in (False, True):
            if in_full:
                lines += ["", "the same, every training charged from its first epoch"]
            suffix = "_in_full" if in_full else ""
            for method in self.methods:
                cells = (rows[method, budget] for budget in self.budgets)
                shown = (_cell(row[f"mean{suffix}"], row[f"ci95{suffix}"]) for row in cells)
                lines.append(f"{method:<{width}}  " + "  ".join(shown))
        return lines

    def _speedups_text(self) -> list[str]:
        if len(self.methods) < 2:
            return []
        width = max(map(len, self.methods))
        lines = [f"epochs until {self.methods[0]} is as good, on the mean, as each one ends"]
        if self.target is not None:
            lines = [f"epochs until the mean is {100 * self.target:.2f} %"]
        for row in self.speedups():
            if row["method"] == self.methods[0] and self.target is None:
                continue
            own = row["epochs_of_first"]
            fewer = f"{row['speedup']:.1f} times fewer" if row["speedup"] else "not comparable"
            p_value = "" if row["p_value"] is None else f", paired p = {row['p_value']:.2g}"
            lines.append(
                f"{row['method']:<{width}}  {_percent_text(row['target'])}: "
                f"{_epochs(row['epochs'])}; {self.methods[0]} {_epochs(own)} "
                f"({fewer}){p_value}"
            )
        return lines

    def _notes_text(self) -> list[str]:
        return [f"note: {note}" for note in self.table.notes]

    def write(self, folder: Path) -> None:
        """Write ``runs.parquet``, ``incumbents.parquet``, ``summary.parquet``, ``summary.json``."""
        runs, steps = [], []
        for run in self.records:
            last = run.steps[-1] if run.steps else None
            facts = {"method": run.method, "budget_epochs": run.budget, "seed": run.seed}
            runs.append(
                {
                    **facts,
                    "epochs": run.epochs,
                    "epochs_in_full": run.epochs_in_full,
                    "num_trained": run.num_trained,
                    "architecture": last.architecture if last else None,
                    "accuracy": last.accuracy if last else None,
                    "report": last.report if last else None,
                    "wall_s": run.wall_s,
                }
            )
            for step in run.steps:
                steps.append(
                    {
                        **facts,
                        "epochs": step.epochs,
                        "epochs_in_full": step.epochs_in_full,
                        "architecture": step.architecture,
                        "accuracy": step.accuracy,
                        "report": step.report,
                    }
                )
        for name, rows in (("runs", runs), ("incumbents", steps), ("summary", self.rows())):
            pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
        facts = {"means": self.rows(), "speedups": self.speedups(), "notes": self.table.notes}
        replace_file(folder / "summary.json", json.dumps(facts, indent=2).encode() + b"\n")

    def draw(self, path: Path) -> None:
        """Draw regret against epochs, from the runs at the largest budget.

        Raises:
            UsageError: matplotlib is not installed.
        """
        from raynas.report.comparison_plot import Curve, draw_regret

        drawn: dict[str, Curve] = {}
        for method in self.methods:
            epochs, reports = curves(self.runs(method, self.budgets[-1]))
            regret = 100 * (self.table.best_report - reports)
            half = [Mean.of(column).ci95 for column in regret.T]
            mean = regret.mean(axis=0) if len(regret) else regret
            if len(epochs) and epochs[-1] < self.budgets[-1]:  # nothing changed until the end
                epochs = np.append(epochs, self.budgets[-1])
                mean, half = np.append(mean, mean[-1]), [*half, half[-1]]
            drawn[method] = (epochs, mean, np.nan_to_num(np.array(half)))
        draw_regret(drawn, path, metric=self.table.report_metric, seeds=self.seeds)


def check_budgets(table: AccuracyTable, budgets: Sequence[int]) -> tuple[int, ...]:
    """Return the budgets in order, each once.

    Raises:
        ConfigError: none, or one that no architecture can be trained with, or that would train
            the whole table and more.
    """
    if not budgets:
        raise ConfigError("budget: name at least one, e.g. 2000,5550")
    whole = len(table) * table.epochs[-1]
    for budget in budgets:
        if budget < table.epochs[0]:
            raise ConfigError(
                f"budget: {budget} epochs cannot train one architecture of {table.name} "
                f"(its shortest training is {table.epochs[0]} epochs)"
            )
        if budget > whole:
            raise ConfigError(
                f"budget: {budget} epochs are more than all of {table.name} costs "
                f"({len(table)} architectures x {table.epochs[-1]} epochs = {whole})"
            )
    return tuple(sorted(set(budgets)))


def _percent(value: float) -> float | None:
    return None if value != value else round(100 * value, 4)


def _none(value: float) -> float | None:
    return None if value != value else value


def _cell(mean: float | None, ci95: float | None) -> str:
    if mean is None:
        return f"{'-':>13}"
    return f"{mean:>6.2f} ± {ci95:>4.2f}" if ci95 is not None else f"{mean:>6.2f}       "


def _percent_text(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} %"


def _epochs(value: int | None) -> str:
    return "never" if value is None else f"after {value:,}"
