"""Colours and figures of every plot.

Plots are drawn in these colours and no others: a report replaces each by a CSS variable, so that
the same drawing reads in light and in dark.
"""

from typing import TYPE_CHECKING

from raynas.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#1a1a1a"
"""Text and axes."""

MUTED = "#6b7280"
"""Less important lines, ticks, captions."""

GRID = "#e2e5ea"
"""Grid lines and fills that must not speak."""

ACCENT = "#d95f02"
"""The one thing a plot is about."""

SERIES = ("#2171b5", "#d95f02", "#1b9e77", "#7570b3", "#e7298a", "#a6761d", "#66a61e", "#5b6470")
"""Things told apart; readable to the colour-blind as far as eight can be."""

LEVELS = ("#c6dbef", "#6baed6", "#2171b5", "#08306b")
"""One hue, darker the higher: survives grey print."""


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure without background, in these colours.

    Args:
        width: Inches.
        height: Inches.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("plots need matplotlib: pip install 'raynas[plot]'") from None
    with rc_context(
        {
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": MUTED,
            "xtick.color": MUTED,
            "ytick.color": MUTED,
        }
    ):
        figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0.0)
    return figure
