"""Do low levels know what will be good at high ones? How far they order architectures alike.

Only architectures that reached both levels can be compared, and those were promoted: among all, the
lower level may well tell more apart than it does among them.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from raynas.diagnostics.diagnostic import Base, Finding, Record, Value
from raynas.diagnostics.drawing import rule
from raynas.diagnostics.subject import SearchSubject
from raynas.diagnostics.wording import counted, figure, known
from raynas.errors import ConfigError
from raynas.predictor.metrics import kendall_tau
from raynas.report.palette import ACCENT, INK, MUTED, SERIES, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOP = 3
"""How many of the best at the higher level are looked for at the lower."""


class Levels(Base[SearchSubject]):
    """Kendall's τ between levels, and how many of the best a cut at the lower would have lost."""

    title = "Would the best have been lost at a lower level?"

    def check(self, subject: SearchSubject) -> None:
        """Refuse a search in which fewer than two architectures reached any second level."""
        if not level_rows(subject.table("architectures.parquet"), subject.levels):
            raise ConfigError(
                f"levels: fewer than two architectures of {subject.folder} have reached a second "
                "level, so there is nothing to compare"
            )

    def conclude(self, subject: SearchSubject, results: Sequence[Value]) -> Finding:
        """Make a row a pair of levels."""
        rows = level_rows(subject.table("architectures.parquet"), subject.levels)
        return Finding(rows, sentences(rows), {"top": TOP})

    def draw(self, rows: Sequence[Record]) -> "Figure":
        """Draw τ of each pair of levels, and what would have been lost."""
        drawing = new_figure(6.5, 1.4 + 0.42 * len(rows))
        axes = drawing.subplots()
        for place, row in enumerate(rows):
            tau = row["kendall_tau"]
            colour = ACCENT if row["lost"] else SERIES[0]
            if tau is not None:
                axes.plot([0, tau], [place, place], color=colour, lw=2)
                axes.plot(tau, place, "o", color=colour, ms=6)
            axes.text(
                1.08,
                place,
                f"{row['lost']} of the best {row['top']} lost",
                va="center",
                fontsize="small",
                color=colour if row["lost"] else MUTED,
            )
        axes.axvline(0, color=MUTED, lw=0.8)
        labels = [f"{r['low_epochs']} → {r['high_epochs']} epochs (n = {r['both']})" for r in rows]
        axes.set_yticks(range(len(rows)), labels, color=INK)
        axes.set(xlim=(min(-0.1, *(r["kendall_tau"] or 0 for r in rows)) - 0.05, 1.05))
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel("Kendall's τ of accuracy at the two levels")
        rule(axes, axis="x")
        return drawing


def level_rows(architectures: pd.DataFrame, levels: Sequence[int]) -> list[Record]:
    """Return a row for each pair of levels that two architectures or more reached both.

    Had only as large a share gone on from the lower level as really rose from it to the next, taken
    from the best of those that reached both: so many of the `TOP` best at the higher level are
    ``lost``.

    Args:
        architectures: `architectures.parquet`.
        levels: Epochs of each level.
    """
    rows = []
    for low in range(1, len(levels)):
        rose = int((architectures["level"] > low).sum())
        share = rose / max(1, int((architectures["level"] >= low).sum()))
        for high in range(low + 1, len(levels) + 1):
            columns = [f"accuracy_level_{level}" for level in (low, high)]
            both = architectures[["id", *columns]].dropna()
            if len(both) < 2:
                continue
            first, second = (both[column].tolist() for column in columns)
            rows.append(
                {
                    "low_level": low,
                    "high_level": high,
                    "low_epochs": levels[low - 1],
                    "high_epochs": levels[high - 1],
                    "both": len(both),
                    "kendall_tau": known(kendall_tau(first, second)),
                    "share": share,
                    **lost(first, second, share),
                }
            )
    return rows


def lost(first: Sequence[float], second: Sequence[float], share: float) -> dict[str, int]:
    """Return how many are kept at the lower level, and how many of the best are not among them.

    Args:
        first: Accuracy at the lower level.
        second: At the higher, of the same architectures.
        share: Share of them that goes on, rounded up; ties in the order they come.
    """
    count = len(first)
    kept = min(count, max(1, math.ceil(share * count - 1e-9)))
    top = min(TOP, kept)
    best = sorted(range(count), key=lambda i: -second[i])[:top]
    going_on = set(sorted(range(count), key=lambda i: -first[i])[:kept])
    return {"kept": kept, "top": top, "lost": sum(i not in going_on for i in best)}


def sentences(rows: Sequence[Record]) -> list[str]:
    """Say how alike neighbouring levels order, and how many of the best a cut would have lost."""
    steps = [row for row in rows if row["high_level"] == row["low_level"] + 1]
    told = []
    if steps:
        parts = [
            f"{row['low_epochs']} to {row['high_epochs']} epochs {figure(row['kendall_tau'])} "
            f"({row['both']})"
            for row in steps
        ]
        told.append(
            f"Kendall's τ from level to level (architectures that reached both): "
            f"{', '.join(parts)}."
        )
    worst = max(rows, key=lambda row: (row["lost"] / row["top"], row["both"]))
    if worst["lost"]:
        told.append(
            f"Had only the best {worst['kept']} of {worst['both']} after "
            f"{counted(worst['low_epochs'], 'epoch')} gone on, {worst['lost']} of the best "
            f"{worst['top']} after {counted(worst['high_epochs'], 'epoch')} would have been lost."
        )
    else:
        told.append(
            f"No cut at a lower level would have lost one of the best "
            f"{counted(TOP, 'architecture')}."
        )
    return told
