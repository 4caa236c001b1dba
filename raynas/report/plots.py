"""Plots of a run, from its Parquet views (extra ``plot``)."""

import json
from collections.abc import Sequence
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
COST_LABELS = {
    "num_params": "parameters",
    "flops": "multiply-accumulates of one image",
    "latency_ms": "latency, ms",
    "latency_ms_b32": "latency of 32 images, ms",
}


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


def front_figure(run: Path) -> "Figure":
    """Draw accuracy against every cost that is an objective, the front highlighted.

    Every trained architecture is a point at the accuracy of the level it rose to, coloured by it.
    The front is of the highest level only. With one cost it is a staircase; with several it is the
    same points in each picture, and dominated in one may be on it for another.

    Raises:
        RunFolderError: the run has no results yet, or was for accuracy alone.
        UsageError: matplotlib is not installed.
    """
    try:
        architectures = pd.read_parquet(run / "architectures.parquet")
        best = json.loads((run / "best.json").read_text())
    except FileNotFoundError:
        raise RunFolderError(f"{run}: no results to plot yet") from None
    costs = best.get("objectives", ["accuracy"])[1:]
    if not costs:
        raise RunFolderError(f"{run}: was for accuracy alone, so there is no front to draw")
    return draw_front(architectures, [row["id"] for row in best["front"]], costs)


def draw_front(
    architectures: pd.DataFrame, members: Sequence[int], costs: Sequence[str]
) -> "Figure":
    """Draw `front_figure` from tables.

    Args:
        architectures: As in `architectures.parquet`.
        members: Ids of the front.
        costs: Columns that are minimised.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("plots need matplotlib: pip install 'raynas[plot]'") from None
    figure = Figure(figsize=(4.5 * len(costs) + 1, 3.8), layout="constrained")
    panels = figure.subplots(1, len(costs), sharey=True, squeeze=False)[0]
    front = architectures[architectures["id"].isin(members)]
    for axes, cost in zip(panels, costs, strict=True):
        _draw_front(axes, architectures, front, cost, stairs=len(costs) == 1)
    _finish_front(panels)
    return figure


def _draw_front(
    axes: "Axes", architectures: pd.DataFrame, front: pd.DataFrame, cost: str, *, stairs: bool
) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator, NullLocator

    trained = architectures[architectures["level"] > 0]
    for level in sorted(trained["level"].unique()):
        members = trained[trained["level"] == level]
        colour = _LEVEL_COLOURS[min(int(level), len(_LEVEL_COLOURS)) - 1]
        label = f"level {level} ({len(members)})"
        axes.plot(members[cost], 100 * members["accuracy"], "o", color=colour, ms=3.5, label=label)
    front = front.sort_values(cost)
    axes.plot(
        front[cost],
        100 * front["accuracy"],
        marker="o",
        ls="-" if stairs else "",
        drawstyle="steps-post" if stairs else "default",
        color=_ACCENT,
        lw=1.6,
        ms=6,
        label=f"front ({len(front)})",
    )
    axes.set(xscale="log", xlabel=COST_LABELS.get(cost, cost))
    if trained[cost].max() < 10 * trained[cost].min():  # no power of ten to stand below the axis
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.spines[["top", "right"]].set_visible(False)


def _finish_front(panels: "Sequence[Axes]") -> None:
    panels[0].set_ylabel("validation accuracy, %")
    panels[0].set_title("What accuracy costs", fontsize="medium")
    panels[-1].legend(fontsize="small", loc="lower right", edgecolor="none")


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
