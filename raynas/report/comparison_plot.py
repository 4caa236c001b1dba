"""Regret against epochs for every method of a comparison (extra ``plot``)."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raynas.errors import UsageError

# Told apart in grey print too: colour and dash go together. (Okabe and Ito's colours.)
_COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_DASHES = ("-", "--", "-.", ":")

Curve = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]
"""Epochs, mean regret from there on in percent, half its 95 % interval."""


def draw_regret(curves: Mapping[str, Curve], path: Path, *, metric: str, seeds: int) -> None:
    """Write a picture; both axes logarithmic, a regret of 0 drawn at the bottom.

    Args:
        curves: By method, in the order of the legend.
        path: ``.svg``, ``.png`` or ``.pdf``.
        metric: What the regret is of.
        seeds: Runs behind each curve.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("plots need matplotlib: pip install 'raynas[plot]'") from None
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    positive = [m[m > 0].min() for _, m, _ in curves.values() if (m > 0).any()]
    floor = min(positive, default=0.01) / 2
    for number, (name, (epochs, mean, half)) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        dash = _DASHES[number // len(_COLOURS) % len(_DASHES)]
        shown = np.maximum(mean, floor)
        axes.step(epochs, shown, dash, where="post", color=colour, label=name, lw=1.6)
        low, high = np.maximum(mean - half, floor), np.maximum(mean + half, floor)
        axes.fill_between(epochs, low, high, step="post", color=colour, alpha=0.15, lw=0)
    axes.set(xscale="log", yscale="log", xlabel="epochs spent")
    axes.set_ylabel(f"regret in {metric}, percentage points")
    axes.set_title(f"mean of {seeds} seeds, band: 95 % interval", fontsize="medium")
    axes.legend(fontsize="small", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
