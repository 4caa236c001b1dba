"""The figures of a retraining: learning curves, classes, confusions."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from raynas.report import palette
from raynas.report.drawing import WIDTH, colours, legend_of_all, tidy
from raynas.report.svg import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NUMBERED = 12
"""Up to this many classes a confusion matrix shows its counts."""


def curves_figure(history: pd.DataFrame) -> "Figure":
    """Draw validation accuracy and training loss of every training, a colour an architecture."""
    figure = palette.new_figure(WIDTH, 2.9)
    accuracy, loss = figure.subplots(1, 2)
    validated = history["valid_accuracy"].notna().any()
    shown = "valid_accuracy" if validated else "train_accuracy"
    _draw_curves(accuracy, history, shown, 100.0)
    _draw_curves(loss, history, "train_loss", 1.0)
    accuracy.set_ylabel(f"{'validation' if validated else 'training'} accuracy, %")
    loss.set_ylabel("training loss")
    legend_of_all(figure, accuracy, 3)
    return figure


def _draw_curves(axes: "Axes", history: pd.DataFrame, column: str, scale: float) -> None:
    colour_of = colours(map(str, history["label"]))
    for label, colour in colour_of.items():
        of = history[history["label"] == label]
        for place, job in enumerate(dict.fromkeys(of["job"])):
            curve = of[of["job"] == job].sort_values("epoch")
            values = scale * curve[column].astype(float)
            name = plain(label, 24) if place == 0 else None
            mark = "o" if len(curve) < 12 else ""
            axes.plot(curve["epoch"], values, color=colour, lw=1.4, marker=mark, ms=3, label=name)
    axes.set_xlabel("epoch")
    axes.locator_params(axis="x", integer=True)
    tidy(axes)


def classes_figure(
    per_class: NDArray[np.float64], shown: NDArray[np.int64] | None = None
) -> "Figure":
    """Draw the accuracy of each class as a bar.

    Args:
        per_class: By class; NaN without images.
        shown: Which classes (None: all).
    """
    classes = np.arange(len(per_class)) if shown is None else shown
    figure = palette.new_figure(WIDTH, 2.3)
    axes = figure.subplots()
    values = 100 * per_class[classes]
    places = range(len(classes))
    axes.bar(places, np.nan_to_num(values), color=palette.SERIES[0], width=0.7)
    for place, value in zip(places, values, strict=True):
        text = "none" if np.isnan(value) else f"{value:.0f}"
        axes.text(place, np.nan_to_num(value) + 1, text, ha="center", va="bottom", fontsize=8)
    axes.set_xticks(places, [str(c) for c in classes])
    axes.set(xlabel="class", ylabel="right, %", ylim=(0, 112), yticks=(0, 25, 50, 75, 100))
    tidy(axes)
    return figure


def confusion_figure(confusion: NDArray[np.int64]) -> "Figure":
    """Draw a confusion matrix: rows are true classes, errors in a colour of their own."""
    size = len(confusion)
    width = min(WIDTH, 1.2 + 0.42 * size)
    figure = palette.new_figure(width, width * 0.92)
    axes = figure.subplots()
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    right = np.eye(size, dtype=bool)
    for mask, colour in ((right, palette.SERIES[0]), (~right, palette.ACCENT)):
        _draw_cells(axes, np.where(mask, shares, 0.0), colour)
    if size <= _NUMBERED:
        for true, predicted in zip(*np.nonzero(confusion), strict=True):
            text = str(confusion[true, predicted])
            axes.text(predicted, true, text, ha="center", va="center", fontsize=8)
    axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal")
    step = 1 if size <= _NUMBERED else 5
    axes.set_xticks(range(0, size, step))
    axes.set_yticks(range(0, size, step))
    axes.set(xlabel="taken for class", ylabel="true class")
    tidy(axes, grid="")
    return figure


def _draw_cells(axes: "Axes", shares: NDArray[np.float64], colour: str) -> None:
    """Fill squares, the fuller the larger the share: a page may be light or dark behind them."""
    from matplotlib.patches import Rectangle

    for true, predicted in zip(*np.nonzero(shares), strict=True):
        strength: Any = 0.1 + 0.5 * float(shares[true, predicted])
        corner = (float(predicted) - 0.5, float(true) - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, color=colour, alpha=strength, lw=0))
