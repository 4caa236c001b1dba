"""What the figures of a report have in common."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from raynas.report import palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 6.6
"""Width of a figure in inches: with text of 9 to 10 points it fills the page and can be read."""


MOST_POINTS = 2500
"""More points than this are not told apart in one plot, and would make a page of megabytes."""


def thinned(rows: pd.DataFrame) -> pd.DataFrame:
    """Return at most `MOST_POINTS` rows, evenly spread, the first and the last among them."""
    if len(rows) <= MOST_POINTS:
        return rows
    return rows.iloc[np.linspace(0, len(rows) - 1, MOST_POINTS).astype(int)]


def steps(rows: pd.DataFrame, column: str | int) -> pd.DataFrame:
    """Return the rows where a column changes, and the last: all that a line of steps needs."""
    values = rows[column]
    changed = values.ne(values.shift())
    changed.iloc[-1] = True
    return rows[changed]


def tidy(axes: "Axes", *, grid: str = "y") -> None:
    """Leave of the frame only two sides, and draw a faint grid (``x``, ``y``, ``both``, ``""``)."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(palette.MUTED)
    axes.tick_params(colors=palette.MUTED, labelsize=9)
    axes.xaxis.label.set_color(palette.INK)
    axes.yaxis.label.set_color(palette.INK)
    axes.set_axisbelow(True)
    if grid in ("x", "both"):
        axes.xaxis.grid(True, color=palette.GRID, lw=0.7)
    if grid in ("y", "both"):
        axes.yaxis.grid(True, color=palette.GRID, lw=0.7)


def legend(axes: "Axes", place: Any = "best", columns: int = 1) -> None:
    """Add a legend without a frame (`place` as matplotlib's `loc`)."""
    axes.legend(fontsize=9, loc=place, frameon=False, ncols=columns)


def legend_above(axes: "Axes", columns: int = 4) -> None:
    """Add a legend above the axes, where it hides nothing."""
    axes.legend(
        fontsize=9,
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        frameon=False,
        ncols=columns,
        columnspacing=1.2,
        handlelength=1.4,
    )


def legend_of_all(figure: "Figure", axes: "Axes", columns: int = 4) -> None:
    """Add the legend of one of the axes above all of them."""
    handles, labels = axes.get_legend_handles_labels()
    place: Any = "outside upper left"  # matplotlib's stubs lack the places outside
    figure.legend(handles, labels, fontsize=9, loc=place, frameon=False, ncols=columns)


def level_colour(level: int) -> str:
    """Return the colour of a level, from 1; all above the fourth share one."""
    return palette.LEVELS[min(max(level, 1), len(palette.LEVELS)) - 1]


def colours(names: Iterable[str]) -> dict[str, str]:
    """Return a colour for each name, in order; they repeat after the eighth."""
    return {
        name: palette.SERIES[place % len(palette.SERIES)]
        for place, name in enumerate(dict.fromkeys(names))
    }
