"""What would be selected at each checkpoint of the search, by magnitude and by perturbation.

Wang et al., "Rethinking Architecture Selection in Differentiable NAS", ICLR 2021, §5; thesis figure
3.1: magnitude collapses to skips as the supernet is trained on, perturbation does not. Here
perturbation decides without tuning in between; what was selected may be tuned afterwards.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from raynas.diagnostics.diagnostic import Base, Finding, Part, Record, Value
from raynas.diagnostics.drawing import legend, rule, whole_numbers
from raynas.diagnostics.subject import SupernetSubject
from raynas.diagnostics.wording import counted, percent
from raynas.errors import TrialError
from raynas.report.palette import MUTED, SERIES, new_figure
from raynas.selection.config import SelectionConfig
from raynas.selection.program import SupernetProgram
from raynas.selection.scoring import local_scorer, totals
from raynas.supernets.candidates import score_whole
from raynas.supernets.metrics import SKIP
from raynas.supernets.training import SupernetTraining

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SELECTIONS = ("magnitude", "perturbation")


class Trajectory(Base[SupernetSubject]):
    """Architecture, skips and accuracy of both selections at every checkpoint that is left."""

    title = "What would be selected when?"

    def parts(self, subject: SupernetSubject) -> list[Part]:
        """Return a part a checkpoint and selection."""
        return [
            Part(
                f"{selection} at epoch {moment.epoch}",
                _selected,
                {
                    "step": moment.step,
                    "selection": selection,
                    "tune_epochs": self.options.tune_epochs,
                },
            )
            for moment in subject.moments
            for selection in _SELECTIONS
        ]

    def conclude(self, subject: SupernetSubject, results: Sequence[Value]) -> Finding:
        """Make a row a checkpoint and selection."""
        left = iter(results)
        rows = [
            {
                "epoch": moment.epoch,
                "selection": selection,
                "supernet_accuracy": moment.accuracy,
                **next(left),
            }
            for moment in subject.moments
            for selection in _SELECTIONS
        ]
        settings = {"tune_epochs": self.options.tune_epochs}
        return Finding(rows, sentences(rows, self.options.tune_epochs), settings)

    def draw(self, rows: Sequence[Record]) -> "Figure":
        """Draw accuracy of what was selected, and its skips, over the epochs."""
        drawing = new_figure(8, 3.6)
        left, right = drawing.subplots(1, 2)
        tuned = any(row["tuned_accuracy"] is not None for row in rows)
        key = "tuned_accuracy" if tuned else "discrete_accuracy"
        for number, selection in enumerate(_SELECTIONS):
            of = [row for row in rows if row["selection"] == selection]
            epochs = [row["epoch"] for row in of]
            values = [float("nan") if row[key] is None else 100 * row[key] for row in of]
            left.plot(epochs, values, "o-", color=SERIES[number], ms=4, label=selection)
            right.plot(epochs, [row["skips"] for row in of], "o-", color=SERIES[number], ms=4)
        supernet = [100 * row["supernet_accuracy"] for row in of]
        left.plot(epochs, supernet, "--", color=MUTED, lw=1.2, label="supernet itself")
        left.set(xlabel="epoch of the search", ylabel="accuracy, %")
        legend(left)
        right.set(xlabel="epoch of the search", ylim=(-0.3, max(r["edges"] for r in rows) + 0.3))
        right.set_title(f"skips among the {rows[-1]['edges']} edges selected")
        for axes in (left, right):
            rule(axes)
        whole_numbers(left)
        whole_numbers(right)
        return drawing


def _selected(subject: SupernetSubject, step: int, selection: str, tune_epochs: int) -> Value:
    """Select at a checkpoint; measure what was selected with the weights it has there."""
    training = subject.training(step)
    settings = SelectionConfig.model_validate(
        {"name": selection, **({} if selection == "magnitude" else {"tune_epochs": 0})}
    )
    training.begin_tuning(settings.tune_lr, "constant", 1)  # the search ends here
    program = SupernetProgram(subject.job.space, training, settings, subject.job.seed)
    score = local_scorer(training)
    while not program.finished:
        program.step(score)
    found: dict[str, Any] = {
        "architecture": program.result.text,
        **skips_of(training),
        "discrete_accuracy": _accuracy(subject, training),
        "tuned_accuracy": None,
        "error": None,
    }
    if tune_epochs:
        training.begin_tuning(settings.tune_lr, "constant", tune_epochs)
        try:
            for _ in range(tune_epochs):
                training.train_epoch()
            found["tuned_accuracy"] = _accuracy(subject, training)
        except TrialError as error:
            found["error"] = str(error)
    return found


def skips_of(training: SupernetTraining) -> dict[str, int]:
    """Return how many edges were kept, and how many of them are skips; all must be decided."""
    decisions, kept = training.decisions, []
    for number, kind in enumerate(decisions.kinds):
        for edge, op in enumerate(decisions.ops[number]):
            if op is not None and not decisions.gone(number, edge):
                kept.append(kind.ops[edge][op])
    return {"skips": kept.count(SKIP), "edges": len(kept)}


def _accuracy(subject: SupernetSubject, training: SupernetTraining) -> float:
    """Return the accuracy on the validation part, with statistics of the batch: running ones are
    still those of the whole supernet.
    """
    scores = score_whole(training.supernet, training.mixture(), subject.valid_batches())
    return totals((0,), scores)[0].accuracy


def sentences(rows: Sequence[Record], tune_epochs: int) -> list[str]:
    """Say what both would select in the end, and how skips went."""
    by_name = {s: [row for row in rows if row["selection"] == s] for s in _SELECTIONS}
    last = {name: of[-1] for name, of in by_name.items()}
    edges = counted(last["magnitude"]["edges"], "edge")
    told = [
        f"At epoch {last['magnitude']['epoch']} magnitude selects "
        f"{counted(last['magnitude']['skips'], 'skip')} on {edges}, perturbation "
        f"{last['perturbation']['skips']}; "
        + _accuracies(last, "discrete_accuracy", "with the supernet's weights as they are ")
        + (
            "; "
            + _accuracies(
                last, "tuned_accuracy", f"after {counted(tune_epochs, 'epoch')} of tuning "
            )
            if None not in [row["tuned_accuracy"] for row in last.values()]
            else ""
        )
        + "."
    ]
    if len(by_name["magnitude"]) > 1:
        first = {name: of[0] for name, of in by_name.items()}
        told.append(
            f"From epoch {first['magnitude']['epoch']} on, the skips of magnitude went from "
            f"{first['magnitude']['skips']} to {last['magnitude']['skips']}, those of perturbation "
            f"from {first['perturbation']['skips']} to {last['perturbation']['skips']}."
        )
    return told


def _accuracies(last: dict[str, Record], key: str, when: str) -> str:
    one, other = percent(last["magnitude"][key]), percent(last["perturbation"][key])
    return f"{when}they reach {one} and {other}"
