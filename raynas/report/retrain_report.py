"""The report of a retraining: what each architecture reaches, and where the best one errs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raynas.errors import RunFolderError
from raynas.report.architecture import architecture_blocks
from raynas.report.page import Block, Code, Facts, More, Plot, Prose, Section, Table
from raynas.report.reading import read_object, read_objects, read_parquet
from raynas.report.retrain_plots import classes_figure, confusion_figure, curves_figure
from raynas.report.svg import figure_svg
from raynas.report.words import count, duration, listed, number, percent, points, spread
from raynas.runs.folder import RunFolder

_MOST_CLASSES = 30
"""With more, classes and their confusions are told by the worst of them."""

_WORST = 15

_JOBS = ("label", "repetition", "status", "error")
_HISTORY = ("job", "label", "epoch", "train_loss", "train_accuracy", "valid_accuracy", "time_s")
_SUMMARY = (
    *("label", "architecture", "seeds", "part", "num_params", "flops"),
    *("accuracy_mean", "accuracy_std", "valid_accuracy_mean", "valid_accuracy_std"),
    *("best_valid_accuracy_mean", "best_valid_accuracy_std"),
)
_BEST = (
    *("architecture", "label", "accuracy", "accuracy_of", "best_valid_accuracy", "epochs"),
    *("num_params", "flops", "chosen_by", "space", "confusion", "per_class_accuracy"),
)


@dataclass(frozen=True, slots=True)
class RetrainRun:
    """Everything a report of a retraining is drawn from.

    Attributes:
        path: The run folder.
        config: What was asked, as JSON values.
        jobs: As in `retrain.parquet`.
        history: As in `history.parquet`; one row or more.
        summary: As in `summary.json`.
        best: As in `best.json`; empty before a network is finished.
    """

    path: Path
    config: Mapping[str, Any]
    jobs: pd.DataFrame
    history: pd.DataFrame
    summary: Sequence[Mapping[str, Any]]
    best: Mapping[str, Any]

    @property
    def reported(self) -> list[Mapping[str, Any]]:
        """Rows of the summary that have a report, best first."""
        rows = [row for row in self.summary if row["accuracy_mean"] is not None]
        return sorted(rows, key=lambda row: -row["accuracy_mean"])

    @property
    def confusion(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """`classes x classes` counts of the delivered network, by true and predicted class."""
        return np.array(self.best["confusion"], dtype=np.int64)

    @property
    def per_class(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Share of each class that it has right; NaN of a class without images."""
        return np.array(self.best["per_class_accuracy"], dtype=np.float64)


def read_retrain(folder: RunFolder) -> RetrainRun:
    """Read a retraining.

    Raises:
        RunFolderError: no epoch has been trained yet, or a file cannot be read.
    """
    path = folder.path
    if not (path / "history.parquet").exists():
        raise RunFolderError(f"{path}: no epoch has been trained yet: nothing to report")
    best = read_object(path / "best.json", _BEST) if (path / "best.json").exists() else {}
    return RetrainRun(
        path,
        folder.read_config(),
        read_parquet(path / "retrain.parquet", _JOBS),
        read_parquet(path / "history.parquet", _HISTORY),
        read_objects(path / "summary.json", _SUMMARY),
        best,
    )


def retrain_summary(run: RetrainRun) -> str:
    """Return what came of it, in a sentence."""
    finished = int((run.jobs["status"] == "finished").sum())
    words = (
        f"{finished} of {count(len(run.jobs), 'training')} of "
        f"{count(len(run.summary), 'architecture')} finished"
    )
    if not run.best:
        return f"{words}; no network is delivered yet."
    return (
        f"{words}; delivered is {run.best['label']}, with {percent(run.best['accuracy'])} on the "
        f"{run.best['accuracy_of']} part after its last epoch."
    )


def retrain_sections(run: RetrainRun) -> list[Section]:
    """Return the sections of a retraining; what it has no data for is left out."""
    return [_asked(run), _results(run), _curves(run), *_delivered(run), *_classes(run)]


def _asked(run: RetrainRun) -> Section:
    config = run.config
    asked = [
        ("protocol", config.get("preset")),
        ("space", _name(config.get("space"))),
        ("data", _name(config.get("data"))),
        ("epochs each", config.get("epochs")),
        ("seeds each", config.get("seeds")),
        ("architectures", len(run.summary)),
    ]
    failed = int((run.jobs["status"] == "failed").sum())
    spent = [
        ("epochs trained", number(len(run.history))),
        ("training, all workers", duration(float(run.history["time_s"].sum()))),
        ("failed", number(failed)),
    ]
    rows = [(name, str(value)) for name, value in asked if value is not None]
    return Section("asked", "Asked and spent", [Facts(rows), Facts(spent), *_failures(run)])


def _name(choice: Any) -> Any:
    return choice.get("name") if isinstance(choice, Mapping) else choice


def _failures(run: RetrainRun) -> list[Block]:
    failed = run.jobs[run.jobs["status"] == "failed"]
    return [
        Prose(f"{row['label']}, seed {row['repetition'] + 1}, failed: {row['error']}", warning=True)
        for row in failed.to_dict("records")
    ]


def _results(run: RetrainRun) -> Section:
    parts = listed(sorted({str(row["part"]) for row in run.reported}))
    header = (
        "architecture",
        f"{parts or 'report'} part, last epoch",
        "validation, last epoch",
        "validation, best epoch",
        "seeds",
        "parameters",
        "FLOPs",
    )
    rows = [
        (
            str(row["label"]),
            spread(row["accuracy_mean"], row["accuracy_std"]),
            spread(row["valid_accuracy_mean"], row["valid_accuracy_std"]),
            spread(row["best_valid_accuracy_mean"], row["best_valid_accuracy_std"]),
            str(row["seeds"]),
            number(row["num_params"]),
            number(row["flops"]),
        )
        for row in run.summary
    ]
    labels = [str(row["label"]) for row in run.summary]
    delivered = run.best.get("label")
    marked = labels.index(delivered) if delivered in labels else None
    caption = "Mean and sample deviation over seeds; the delivered architecture in bold."
    table = Table(header, rows, caption=caption, marked=marked)
    texts = More("The architectures as text", [Code(_texts(run))])
    return Section("results", "What each reaches", [Prose(results_sentence(run)), table, texts])


def _texts(run: RetrainRun) -> str:
    return "\n".join(f"{row['label']}: {row['architecture']}" for row in run.summary)


def results_sentence(run: RetrainRun) -> str:
    """Say who is ahead, and whether by more than the spread over seeds."""
    ranked = run.reported
    if not ranked:
        return "No training has been reported on yet."
    first = ranked[0]
    mean = spread(first["accuracy_mean"], first["accuracy_std"])
    words = f"{first['label']} is first with {mean} on the {first['part']} part"
    if len(ranked) == 1:
        return f"{words} after the last epoch."
    lead = first["accuracy_mean"] - ranked[1]["accuracy_mean"]
    deviations = [row["accuracy_std"] for row in ranked[:2] if row["accuracy_std"] is not None]
    words += f" after the last epoch, {points(lead)} ahead of {ranked[1]['label']}"
    if not deviations:
        return f"{words}; of one seed each, that says little."
    more = "more" if lead > max(deviations) else "no more"
    return (
        f"{words}: {more} than the larger deviation over their seeds ({points(max(deviations))})."
    )


def _curves(run: RetrainRun) -> Section:
    sentence = curves_sentence(run)
    svg = figure_svg(curves_figure(run.history), "curves", "Learning curves", sentence)
    return Section("curves", "Learning curves, a line a seed", [Plot([svg], sentence)])


def curves_sentence(run: RetrainRun) -> str:
    """Say how far training and validation got, and how far apart they are at the end."""
    last = run.history.loc[run.history.groupby("job")["epoch"].idxmax()]
    epochs = sorted({int(epoch) for epoch in last["epoch"]})
    when = (
        f"after epoch {epochs[0]}"
        if len(epochs) == 1
        else f"after {epochs[0]} to {epochs[-1]} epochs"
    )
    train = f"{percent(float(last['train_accuracy'].mean()))} of training images right"
    valid = last["valid_accuracy"].dropna()
    if valid.empty:
        return f"Over {count(len(last), 'training')}, {train} on average {when}."
    return (
        f"Over {count(len(last), 'training')}, {train} and {percent(float(valid.mean()))} of "
        f"validation images on average {when}; seeds and architectures lie between "
        f"{percent(float(valid.min()))} and {percent(float(valid.max()))}."
    )


def _delivered(run: RetrainRun) -> list[Section]:
    if not run.best:
        return []
    best = run.best
    facts = Facts(
        [
            (f"accuracy, {best['accuracy_of']} part", percent(best["accuracy"])),
            ("best in validation", percent(best["best_valid_accuracy"])),
            ("epochs", number(best["epochs"])),
            ("parameters", number(best["num_params"])),
            ("FLOPs of one image", number(best["flops"])),
            ("chosen by", str(best["chosen_by"])),
        ]
    )
    space = best["space"] if isinstance(best["space"], Mapping) else {}
    blocks = architecture_blocks(str(best["architecture"]), space, "best")
    return [Section("delivered", f"The delivered network: {best['label']}", [facts, *blocks])]


def _classes(run: RetrainRun) -> list[Section]:
    if not run.best:
        return []
    worst, mixed = classes_sentence(run), confusion_sentence(run)
    few = len(run.per_class) <= _MOST_CLASSES
    shown = np.argsort(run.per_class, kind="stable")[:_WORST] if not few else None
    per_class = classes_figure(run.per_class, shown)
    plots: list[Block] = [
        Plot([figure_svg(per_class, "classes", "Accuracy of each class", worst)], worst)
    ]
    if few:
        svg = figure_svg(confusion_figure(run.confusion), "confusion", "Confusion matrix", mixed)
        plots.append(Plot([svg], mixed))
    else:
        plots += [Prose(mixed), _mixed_up(run)]
    return [Section("classes", "Where it errs", plots)]


def classes_sentence(run: RetrainRun) -> str:
    """Say which classes it has most and least often right."""
    known = np.flatnonzero(~np.isnan(run.per_class))
    if not len(known):
        return "There were no images to report on."
    low = known[int(np.argmin(run.per_class[known]))]
    whole = int((run.per_class[known] == 1).sum())
    wrong = int(run.confusion.sum() - np.trace(run.confusion))
    return (
        f"Class {low} is hardest, with {percent(float(run.per_class[low]))} of its images right; "
        f"{whole} of {count(len(known), 'class', 'classes')} have no error, and "
        f"{count(wrong, 'image')} of {number(int(run.confusion.sum()))} are wrong in all."
    )


def mistakes(run: RetrainRun) -> list[tuple[int, int, int]]:
    """Return (true class, predicted class, count) of all errors, most frequent first."""
    wrong = run.confusion.copy()
    np.fill_diagonal(wrong, 0)
    pairs = zip(*np.nonzero(wrong), strict=True)
    found = [(int(true), int(predicted), int(wrong[true, predicted])) for true, predicted in pairs]
    return sorted(found, key=lambda one: (-one[2], one[:2]))


def confusion_sentence(run: RetrainRun) -> str:
    """Say which error is most frequent."""
    found = mistakes(run)
    if not found:
        return "No image was taken for another class."
    true, predicted, times = found[0]
    return (
        f"The most frequent of {count(len(found), 'kind')} of error: class {true} taken for class "
        f"{predicted}, {count(times, 'time')}."
    )


def _mixed_up(run: RetrainRun) -> Table:
    rows = [(str(true), str(predicted), number(n)) for true, predicted, n in mistakes(run)[:_WORST]]
    return Table(("true class", "taken for", "times"), rows, texts=(0, 1))
