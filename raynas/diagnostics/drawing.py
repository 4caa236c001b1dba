"""What the plots of diagnostics share: their style, and the names of edges."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from raynas.report.palette import GRID, INK, MUTED, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@contextmanager
def style() -> Iterator[None]:
    """Draw in the colours of the palette and no others."""
    from cycler import cycler
    from matplotlib import rc_context

    with rc_context(
        {
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.titlecolor": INK,
            "axes.edgecolor": MUTED,
            "axes.facecolor": "none",
            "axes.prop_cycle": cycler(color=SERIES),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": "medium",
            "axes.titlelocation": "left",
            "xtick.color": MUTED,
            "ytick.color": MUTED,
            "grid.color": GRID,
            "legend.frameon": False,
            "legend.fontsize": "small",
            "hatch.color": INK,
        }
    ):
        yield


def legend(axes: "Axes", *, ncols: int = 1) -> None:
    """Put a legend above the axes, where no line runs."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.2, ncols=ncols)


def whole_numbers(axes: "Axes") -> None:
    """Label epochs and counts at whole numbers alone."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def rule(axes: "Axes", *, axis: Literal["x", "y", "both"] = "y") -> None:
    """Draw a grid behind everything."""
    axes.set_axisbelow(True)
    axes.grid(axis=axis, color=GRID, lw=0.8)


def edge_label(kind: str, source: int, target: int) -> str:
    """Return what plots call an edge."""
    return f"{kind} {source}→{target}"


def grouped_bars(
    axes: "Axes", groups: Sequence[str], series: Sequence[tuple[str, Sequence[float]]]
) -> None:
    """Draw bars side by side, a group for each name.

    Args:
        axes: Where.
        groups: Name of each group.
        series: Name and heights of what stands in each group; NaN draws nothing.
    """
    width = 0.8 / max(1, len(series))
    for number, (label, heights) in enumerate(series):
        places = [group - 0.4 + width * (number + 0.5) for group in range(len(groups))]
        colour = SERIES[number % len(SERIES)]
        axes.bar(places, heights, width * 0.92, color=colour, label=label)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_xlim(-0.6, len(groups) - 0.4)
