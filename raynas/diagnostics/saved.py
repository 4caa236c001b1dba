"""What pausing saved: epochs trained, against those of training every architecture in full."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from raynas.diagnostics.diagnostic import Base, Finding, Record, Value
from raynas.diagnostics.drawing import legend, rule
from raynas.diagnostics.subject import SearchSubject
from raynas.diagnostics.wording import counted, percent
from raynas.report.palette import ACCENT, GRID, INK, LEVELS, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Saved(Base[SearchSubject]):
    """Epochs spent and saved, by the level at which architectures are now."""

    title = "What did pausing save?"

    def conclude(self, subject: SearchSubject, results: Sequence[Value]) -> Finding:
        """Make a row a level."""
        rows = saved_rows(subject.table("architectures.parquet"), subject.levels)
        return Finding(rows, sentences(rows, subject.levels[-1]))

    def draw(self, rows: Sequence[Record]) -> "Figure":
        """Draw a bar a level: epochs spent, and epochs that stayed unspent."""
        drawing = new_figure(6.5, 1.6 + 0.4 * len(rows))
        axes = drawing.subplots()
        for place, row in enumerate(rows):
            colour = ACCENT if row["level"] == rows[-1]["level"] else LEVELS[1]
            axes.barh(place, row["spent"], color=colour, label="spent" if place == 0 else None)
            axes.barh(
                place,
                row["saved"],
                left=row["spent"],
                color=GRID,
                label="not spent" if place == 0 else None,
            )
            total = row["spent"] + row["saved"]
            axes.annotate(
                f"{row['spent']} of {total}",
                (total, place),
                (5, 0),
                textcoords="offset points",
                va="center",
                fontsize="small",
            )
        labels = [_label(row, rows[-1]["level"]) for row in rows]
        axes.set_yticks(range(len(rows)), labels, color=INK)
        axes.set(xlabel="epochs")
        axes.margins(x=0.15)
        legend(axes, ncols=2)
        rule(axes, axis="x")
        return drawing


def _label(row: Record, top: int) -> str:
    name = "trained in full" if row["level"] == top else f"paused at level {row['level']}"
    if row["level"] == 0:
        name = "failed before level 1" if row["failed"] else "level 0"
    return f"{name} ({row['architectures']})"


def saved_rows(architectures: pd.DataFrame, levels: Sequence[int]) -> list[Record]:
    """Return a row a level: who rests there, epochs spent on them, and what the rest would cost.

    One that failed would have failed in a full training too, so it saves nothing.

    Args:
        architectures: `architectures.parquet`.
        levels: Epochs of each level.
    """
    rows = []
    for level in range(len(levels) + 1):
        of = architectures[(architectures["level"] == level) & (architectures["epochs"] > 0)]
        if not len(of) and level == 0:
            continue
        going = of[of["status"] != "failed"]
        rows.append(
            {
                "level": level,
                "epochs_per_level": 0 if level == 0 else levels[level - 1],
                "architectures": len(of),
                "failed": len(of) - len(going),
                "spent": int(of["epochs"].sum()),
                "saved": int((levels[-1] - going["epochs"]).sum()),
            }
        )
    return rows


def sentences(rows: Sequence[Record], full: int) -> list[str]:
    """Say what was spent, and what full training of all would have cost."""
    count, spent = (sum(row[key] for row in rows) for key in ("architectures", "spent"))
    saved = sum(row["saved"] for row in rows)
    return [
        f"{counted(count, 'architecture')} took {counted(spent, 'epoch')}; {full} each would have "
        f"taken {spent + saved}, so pausing saved {saved} ({percent(saved / (spent + saved), 0)}).",
        f"For the same {counted(spent, 'epoch')}, {spent // full} could have been trained in full.",
    ]
