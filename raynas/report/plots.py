"""Plots of a run, from its Parquet views (extra ``plot``)."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from raynas.errors import RunFolderError, UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# One hue, darker the higher a candidate rose; it survives grey print and colour blindness.
_LEVEL_COLOURS = ("#c6dbef", "#6baed6", "#2171b5", "#08306b")
_ACCENT = "#d95f02"


def search_figure(run: Path) -> "Figure":
    """Draw a search: who was trained how far, and what the budget bought.

    Left, every architecture's learning curve, coloured by the level it rose to. Right, the
    validation accuracy of the best architecture against epochs spent.

    Raises:
        RunFolderError: the run has no results yet.
        UsageError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("plots need matplotlib: pip install 'raynas[plot]'") from None
    try:
        results = pd.read_parquet(run / "results.parquet")
        architectures = pd.read_parquet(run / "architectures.parquet")
    except FileNotFoundError:
        raise RunFolderError(f"{run}: no results to plot yet") from None
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    curves, incumbent = figure.subplots(1, 2, sharey=True)
    _draw_curves(curves, results, architectures)
    _draw_incumbent(incumbent, results)
    return figure


def _draw_curves(axes: "Axes", results: pd.DataFrame, architectures: pd.DataFrame) -> None:
    levels = architectures.set_index("id")["level"]
    top = int(levels.max())
    for level in range(1, top + 1):
        members = levels[levels == level].index
        colour = _LEVEL_COLOURS[min(level, len(_LEVEL_COLOURS)) - 1]
        for candidate_id in members:
            curve = results[results["id"] == candidate_id].sort_values("epoch")
            accuracy = 100 * curve["accuracy"]
            axes.plot(curve["epoch"], accuracy, "o-", color=colour, lw=1, ms=2.5, zorder=level)
        name = "fully trained" if level == top else f"paused at level {level}"
        axes.plot([], [], "o-", color=colour, label=f"{name} ({len(members)})")
    axes.set(xlabel="epochs of one architecture", ylabel="validation accuracy, %")
    axes.legend(fontsize="small", loc="lower right", edgecolor="none")
    axes.set_title("Nobody is discarded: losers pause", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_incumbent(axes: "Axes", results: pd.DataFrame) -> None:
    best = results["accuracy"].cummax() * 100
    spent = range(1, len(results) + 1)
    axes.plot(spent, 100 * results["accuracy"], ".", color=_LEVEL_COLOURS[1], ms=3)
    axes.plot(spent, best, drawstyle="steps-post", color=_ACCENT, lw=2, label="best so far")
    axes.set(xlabel="epochs spent by the whole search")
    axes.legend(fontsize="small", loc="lower right", edgecolor="none")
    axes.set_title("What the budget bought", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
