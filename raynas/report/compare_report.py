"""The report of a comparison: means with intervals, speed-ups, the picture of the regret."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.errors import DataError, RunFolderError
from raynas.report import palette
from raynas.report.drawing import WIDTH, colours, legend_of_all, tidy
from raynas.report.page import Block, Code, Facts, More, Page, Plot, Prose, Section, Table
from raynas.report.reading import check_objects, read_object
from raynas.report.svg import figure_svg, inline_svg, plain
from raynas.report.words import NOTHING, count, listed, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MEANS = ("method", "budget_epochs", "mean", "ci95", "seeds", "report_metric", "num_trained")
_SPEEDUPS = ("method", "target", "epochs", "epochs_of_first", "speedup", "p_value")

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ComparisonFiles:
    """What a comparison has left.

    Attributes:
        path: Its folder.
        asked: As in `comparison.json`.
        means: A row a method and budget, as in `summary.json`; percent.
        speedups: A row a method, likewise.
        notes: What is known of the table.
    """

    path: Path
    asked: Row
    means: Sequence[Row]
    speedups: Sequence[Row]
    notes: Sequence[str]

    @property
    def methods(self) -> list[str]:
        """Names, in the order asked for."""
        return list(dict.fromkeys(str(row["method"]) for row in self.means))

    @property
    def budgets(self) -> list[int]:
        """Epochs, increasing."""
        return sorted({int(row["budget_epochs"]) for row in self.means})

    def row(self, method: str, budget: int) -> Row | None:
        """Return what is known of a method at a budget."""
        fits = (r for r in self.means if (r["method"], r["budget_epochs"]) == (method, budget))
        return next(fits, None)


def read_comparison(path: Path) -> ComparisonFiles:
    """Read the folder of a comparison.

    Raises:
        RunFolderError: it is not finished yet, or a file cannot be read.
    """
    asked = read_object(path / "comparison.json", ("table", "methods"))
    summary = path / "summary.json"
    if not summary.exists():
        raise RunFolderError(f"{path}: the comparison has not ended yet: nothing to report")
    found = read_object(summary, ("means", "speedups"))
    means = check_objects(summary, found["means"], _MEANS)
    if not means:
        raise RunFolderError(f"{summary}: has no means")
    speedups = check_objects(summary, found["speedups"], _SPEEDUPS)
    notes = found.get("notes")
    return ComparisonFiles(path, asked, means, speedups, notes if isinstance(notes, list) else [])


def comparison_page(files: ComparisonFiles, footer: str) -> Page:
    """Return the page of a comparison."""
    seeds = max(int(row["seeds"]) for row in files.means)
    return Page(
        kind="Comparison",
        title=files.path.resolve().name,
        state="done",
        summary=(
            f"{count(len(files.methods), 'method')} on {files.asked['table']}, "
            f"{count(seeds, 'seed')} each; {leader_sentence(files)}"
        ),
        sections=[_means(files), _regret(files), _speedups(files), _asked(files)],
        footer=footer,
    )


def leader_sentence(files: ComparisonFiles) -> str:
    """Say who is first at the smallest and at the largest budget."""
    parts = []
    for budget in dict.fromkeys((files.budgets[0], files.budgets[-1])):
        rows = [files.row(method, budget) for method in files.methods]
        known = [row for row in rows if row is not None and row["mean"] is not None]
        if known:
            best = max(known, key=lambda row: float(row["mean"]))
            parts.append(f"{best['method']} with {_cell(best)} at {number(budget)} epochs")
    return f"first {'is' if len(parts) == 1 else 'are'} {listed(parts)}."


def _cell(row: Row | None) -> str:
    if row is None or row["mean"] is None:
        return NOTHING
    spread = "" if row["ci95"] is None else f" ± {row['ci95']:.2f}"
    return f"{row['mean']:.2f}{spread} %"


def _means(files: ComparisonFiles) -> Section:
    metric = str(files.means[0]["report_metric"])
    sentence = f"Of {metric}: {leader_sentence(files)}"
    svg = figure_svg(means_figure(files, metric), "means", "Mean at each budget", sentence)
    header = ("method", *(f"{number(budget)} epochs" for budget in files.budgets))
    rows = [(m, *(_cell(files.row(m, budget)) for budget in files.budgets)) for m in files.methods]
    table = Table(header, rows, caption=f"Mean {metric} of the incumbent, with 95 % interval.")
    return Section("means", "What each budget buys", [Plot([svg], sentence), table])


def means_figure(files: ComparisonFiles, metric: str) -> "Figure":
    """Draw the mean of each method at each budget, with its 95 % interval."""
    figure = palette.new_figure(WIDTH, 3.2)
    axes = figure.subplots()
    for method, colour in colours(files.methods).items():
        rows = [files.row(method, budget) for budget in files.budgets]
        known = [row for row in rows if row is not None and row["mean"] is not None]
        axes.errorbar(
            [float(row["budget_epochs"]) for row in known],
            [float(row["mean"]) for row in known],
            yerr=[float(row["ci95"] or 0.0) for row in known],
            fmt="o-",
            ms=4,
            lw=1.4,
            capsize=2,
            color=colour,
            label=plain(method, 28),
        )
    axes.set(xscale="log", xlabel="budget, epochs", ylabel=f"{plain(metric)}, %")
    axes.set_xticks(files.budgets, [number(budget) for budget in files.budgets], minor=False)
    axes.minorticks_off()
    tidy(axes)
    legend_of_all(figure, axes, 3)
    return figure


def _regret(files: ComparisonFiles) -> Section:
    path, sentence = files.path / "regret.svg", regret_sentence(files)
    blocks: list[Block] = [Prose(sentence)]
    if path.exists():
        try:
            svg = inline_svg(path.read_text(encoding="utf-8"), "regret", "Regret", sentence)
            blocks = [Plot([svg], sentence)]
        except (OSError, UnicodeDecodeError, DataError) as error:
            blocks.append(Prose(f"regret.svg cannot be shown: {error}", warning=True))
    return Section("regret", "What is left to the best of the table", blocks)


def regret_sentence(files: ComparisonFiles) -> str:
    """Say how far each method ends from the best of the table."""
    last = [files.row(method, files.budgets[-1]) for method in files.methods]
    known = [row for row in last if row is not None and row.get("regret") is not None]
    if not known:
        return "The distance to the best of the table is not known."
    known.sort(key=lambda row: float(row["regret"]))
    told = listed([f"{row['method']} {row['regret']:.2f}" for row in known])
    return f"After {number(files.budgets[-1])} epochs the points left are: {told}."


def _speedups(files: ComparisonFiles) -> Section:
    first = files.methods[0]
    header = ("method", "to reach, %", "epochs", f"epochs of {first}", "times fewer", "paired p")
    rows = [
        (
            str(row["method"]),
            *_digits(row["target"], ".2f"),
            *_digits(row["epochs"], ",.0f"),
            *_digits(row["epochs_of_first"], ",.0f"),
            *_digits(row["speedup"], ".1f"),
            *_digits(row["p_value"], ".2g"),
        )
        for row in files.speedups
    ]
    told = f"How soon {first} is as good, on the mean, as each one ends."
    return Section("speedups", "Speed-ups", [Prose(told), Table(header, rows)])


def _digits(value: Any, form: str) -> tuple[str]:
    return (format(float(value), form) if isinstance(value, int | float) else NOTHING,)


def _versions(found: Any) -> list[tuple[str, str]]:
    """Return each library with every version that computed runs; none of older folders."""
    if not isinstance(found, Mapping):
        return []
    lists = {name: value for name, value in found.items() if isinstance(value, list) and value}
    return [(str(name), listed([str(one) for one in value])) for name, value in lists.items()]


def _asked(files: ComparisonFiles) -> Section:
    facts = Facts(
        [
            ("table", str(files.asked["table"])),
            ("methods", listed(files.methods)),
            ("budgets", listed([number(budget) for budget in files.budgets])),
            *_versions(files.asked.get("versions")),
        ]
    )
    notes = [Prose(str(note)) for note in files.notes]
    configs = Code(json.dumps(files.asked["methods"], indent=2))
    more = More("Every option of every method", [configs])
    return Section("provenance", "To do it again", [facts, *notes, more])
