"""What decisions cost the supernet, and what the training between them gives back.

Wang et al., "Rethinking Architecture Selection in Differentiable NAS", ICLR 2021, figure 6: the
accuracy of the supernet from the end of the search to the last decision, for perturbation and, if
such a run is given, for progressive magnitude ("PT-Mag").
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.diagnostics.diagnostic import Base, Finding, Record, Value
from raynas.diagnostics.drawing import legend, rule, whole_numbers
from raynas.diagnostics.subject import SupernetSubject
from raynas.diagnostics.wording import counted, percent
from raynas.errors import ConfigError, RunFolderError
from raynas.report.palette import SERIES, new_figure
from raynas.runs.folder import RunFolder
from raynas.runs.supernet_journal import read_supernet_journal

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Tuning(Base[SupernetSubject]):
    """The supernet's accuracy during selection."""

    title = "What do decisions cost the supernet?"

    def check(self, subject: SupernetSubject) -> None:
        """Refuse a run that trains nothing while it selects."""
        for folder in filter(None, (subject.folder, subject.against)):
            if not any(row["decisions"] for row in tuning_rows(folder)):
                raise ConfigError(
                    f"tuning: {folder} has trained no epoch between decisions (yet), so there is "
                    "no course to follow"
                )

    def conclude(self, subject: SupernetSubject, results: Sequence[Value]) -> Finding:
        """Make a row an epoch since the end of the search."""
        rows = tuning_rows(subject.folder)
        if subject.against is not None:
            rows += tuning_rows(subject.against)
        settings = {"against": None if subject.against is None else subject.against.name}
        return Finding(rows, sentences(rows), settings)

    def draw(self, rows: Sequence[Record]) -> "Figure":
        """Draw accuracy over the decisions taken."""
        drawing = new_figure(6, 3.4)
        axes = drawing.subplots()
        for number, of in enumerate(by_run(rows)):
            decisions = [row["decisions"] for row in of]
            accuracy = [100 * row["accuracy"] for row in of]
            colour = SERIES[(1, 0)[number % 2]]
            label = f"{of[0]['selection']} ({of[0]['run']})"
            axes.plot(decisions, accuracy, "o-", color=colour, ms=3, label=label)
        axes.set(xlabel="decisions taken", ylabel="accuracy, %")
        axes.set_title("validation accuracy of the supernet", loc="right")
        legend(axes)
        rule(axes)
        whole_numbers(axes)
        return drawing


def tuning_rows(folder: Path) -> list[Record]:
    """Return a row for the last epoch of the search and for every epoch since.

    Raises:
        RunFolderError: the folder holds no supernet run.
    """
    log, _ = read_supernet_journal(folder / "journal.jsonl")
    selection = _selection(folder)
    last: Record | None = None
    rows, decided = [], 0
    for step in log.steps:
        decided += len(step["decisions"]) if step["phase"] == "select" else 0
        if step["event"] != "epoch":
            continue
        row = {
            "run": folder.name,
            "selection": selection,
            "epoch": step["epoch"],
            "decisions": decided,
            "accuracy": step["metrics"]["accuracy"],
        }
        if step["phase"] == "search":
            last = row
        else:
            rows.append(row)
    if last is None and rows:
        # Begun from another run's checkpoint: its last epoch of the search is not in this journal.
        return rows
    return [*([] if last is None else [last]), *rows]


def _selection(folder: Path) -> str:
    config: dict[str, Any] = RunFolder(folder, "supernet").read_config()
    selection = config.get("selection")
    name = selection.get("name") if isinstance(selection, dict) else selection
    if not isinstance(name, str):
        raise RunFolderError(f"{folder}: its config names no selection")
    return name


def by_run(rows: Sequence[Record]) -> list[list[Record]]:
    """Return the rows of each run, in order."""
    runs = dict.fromkeys((row["run"], row["selection"]) for row in rows)
    return [[row for row in rows if (row["run"], row["selection"]) == run] for run in runs]


def sentences(rows: Sequence[Record]) -> list[str]:
    """Say how the accuracy went, and which of two runs lost less."""
    told = []
    for of in by_run(rows):
        first, last = of[0], of[-1]
        low = min(of, key=lambda row: float(row["accuracy"]))
        begun = "before any decision"
        if first["decisions"]:
            begun = f"after {counted(first['decisions'], 'decision')}"
        told.append(
            f"With {first['selection']} ({first['run']}) the supernet's accuracy went from "
            f"{percent(first['accuracy'])} {begun} "
            f"to {percent(last['accuracy'])} after {counted(last['decisions'], 'decision')}"
            + (
                "."
                if low["accuracy"] == last["accuracy"]
                else f"; it was least, {percent(low['accuracy'])}, after {low['decisions']}."
            )
        )
    if len(by_run(rows)) == 2:
        one, other = (of[-1] for of in by_run(rows))
        gap = one["accuracy"] - other["accuracy"]
        told.append(
            f"At the end {one['run']} is {100 * abs(gap):.1f} points "
            f"{'above' if gap >= 0 else 'below'} {other['run']}."
        )
    return told
